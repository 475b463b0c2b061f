import Protocol
import Testing

@testable import Settings

/// The sections of the storage watcher, the mesh healer and the loop breaker, and what they may do.
@Suite struct AgentSettingsTests {
    /// Every key of `storage:`, `mesh:`, `loop:` and the rest of `local:`, each with another value than
    /// the default. It continues a text that ends within `local:`.
    static let everything = """
          cleanup_temp: {roots: [/srv/tmp], patterns: ["*.tmp", "[ab]?"], min_age: 2d12h}
          cleanup_logs: {roots: [], patterns: ["*.xz"], min_age: 36h, journal_max: 1G}
          archive_old_data: {roots: [/srv/data, /home], patterns: ["*.csv"], min_age: 1d, to: /mnt/a}
          alert_human: {url: "https://me:secret@ntfy.example.org:8443/skos?x=1", format: ntfy}
          mesh:
            restart: []
            routes:
              - {prefix: 10.88.0.0/24, peer: "\(key)", device: eth1}
              - prefix: fd00::/8
                interface: wg0
                via: fe80::1
                device: br-lan.7
                metric: 4294967295
                table: 51820
          shutdown_non_essential:
            - unit: getty@tty1.service
            - container: indexer_1
            - {name: batch, stop: [/opt/batch, stop, ""], start: [/opt/batch, start]}
            - {name: web, stop: [/bin/a], start: [/bin/b], check: [/bin/c, "x y"]}
        storage:
          thresholds: {warning: 70, critical: 80.5, emergency: 100}
          clear: {critical: 78}
          inode_thresholds: {critical: 85}
          inode_clear: {emergency: 90}
          for: 2m
          mounts: {include: ["/", "/srv/**", "/mnt/*"], exclude: ["/mnt/backup"]}
          forecast: 0
          actions: {warning: [cleanup_temp]}
          verify: 3m
        mesh:
          interfaces: [wg0, "mesh-[a-c]*"]
          probe_interval: 500ms
          actions:
            peer_one_way: [ping_peer]
            config_drift: {actions: [regenerate_config], undo: false}
          cooldown: 20s
        loop:
          watch: []
          limits: {depth: 0, iterations: 50, tokens: 1000000, fan_out: 7, rate: 60, repeats: 2}
          cooldown: 5m
          relay: {from: "agents.in.>", to: "agents.>"}
          actions:
            cycle_detected: [circuit_break]
            no_progress: {actions: [reset_chain], cooldown: 2m}
          max_attempts: 1
        """

    private static let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

    /// What `everything` says, except the policies.
    static func expect(in config: inout Config) {
        config.storage.thresholds = .init(warning: 70, critical: 80.5, emergency: 100)
        config.storage.clear = .init(warning: 65, critical: 78, emergency: 95)
        config.storage.inodeThresholds = .init(warning: 70, critical: 85, emergency: 100)
        config.storage.inodeClear = .init(warning: 65, critical: 80, emergency: 90)
        config.storage.holdFor = .seconds(120)
        config.storage.include = ["/", "/srv/**", "/mnt/*"]
        config.storage.exclude = ["/mnt/backup"]
        config.storage.forecast = .zero
        config.mesh.interfaces = ["wg0", "mesh-[a-c]*"]
        config.mesh.probeInterval = .milliseconds(500)
        config.loop.watch = []
        config.loop.limits.depth = 0
        config.loop.limits.iterations = 50
        config.loop.limits.tokens = 1_000_000
        config.loop.limits.fanOut = 7
        config.loop.limits.rate = 60
        config.loop.limits.repeats = 2
        config.loop.cooldown = .seconds(300)
        config.loop.relay = Config.Relay(source: "agents.in.>", target: "agents.>")
        config.local.cleanupTemp = Config.Cleanup(
            roots: ["/srv/tmp"], patterns: ["*.tmp", "[ab]?"], minAge: .seconds(60 * 3600))
        config.local.cleanupLogs = Config.Cleanup(
            roots: [], patterns: ["*.xz"], minAge: .seconds(36 * 3600))
        config.local.journalMax = 1 << 30
        config.local.archive.roots = ["/srv/data", "/home"]
        config.local.archive.patterns = ["*.csv"]
        config.local.archive.minAge = .seconds(86_400)
        config.local.archive.destination = "/mnt/a"
        config.local.alertHuman.url = "https://me:secret@ntfy.example.org:8443/skos?x=1"
        config.local.alertHuman.format = .ntfy
        config.local.mesh.restart = []
        var first = Config.FailoverRoute(prefix: "10.88.0.0/24", device: "eth1")
        first.peer = key
        var second = Config.FailoverRoute(prefix: "fd00::/8", device: "br-lan.7")
        second.interface = "wg0"
        second.via = "fe80::1"
        second.metric = 4_294_967_295
        second.table = 51820
        config.local.mesh.routes = [first, second]
        config.local.nonEssential = [
            .unit("getty@tty1.service"), .container("indexer_1"),
            .hook(
                name: "batch", stop: ["/opt/batch", "stop", ""], start: ["/opt/batch", "start"],
                check: nil),
            .hook(name: "web", stop: ["/bin/a"], start: ["/bin/b"], check: ["/bin/c", "x y"]),
        ]
    }

    private static let severities: [Severity] = [.warning, .critical, .emergency]

    /// The policies of `everything`.
    static var policies: [Policy] {
        func everySeverity(_ type: String, _ action: String, _ change: (inout Policy) -> Void)
            -> [Policy]
        {
            severities.map { severity in
                var policy = Policy(
                    type: type, severity: severity, ladder: [Rung(action: action)])
                change(&policy)
                return policy
            }
        }
        let storage = Policy(
            type: "storage", severity: .warning, ladder: [Rung(action: "cleanup_temp")],
            deadline: .seconds(300), verify: .seconds(180))
        let mesh: (inout Policy) -> Void = {
            $0.cooldown = .seconds(20)
            $0.stayClear = .seconds(60)
        }
        return [storage] + everySeverity("peer_one_way", "ping_peer", mesh)
            + everySeverity("config_drift", "regenerate_config") {
                mesh(&$0)
                $0.undo = false
            }
            // The cool-down of chains is none of the ladder's.
            + everySeverity("cycle_detected", "circuit_break") { $0.maxAttempts = 1 }
            + everySeverity("no_progress", "reset_chain") {
                $0.maxAttempts = 1
                $0.cooldown = .seconds(120)
            }
    }

    /// The policies of these agents where nothing is said.
    static var defaultPolicies: [Policy] {
        func ladder(_ actions: [String]) -> [Rung] { actions.map { Rung(action: $0) } }
        func types(_ table: [(String, [String])], stayClear: Duration) -> [Policy] {
            table.flatMap { type, actions in
                severities.map {
                    Policy(
                        type: type, severity: $0, ladder: ladder(actions), stayClear: stayClear)
                }
            }
        }
        let storage: [(Severity, [String])] = [
            (.warning, ["cleanup_temp"]), (.critical, ["cleanup_logs", "archive_old_data"]),
            (.emergency, ["emergency_cleanup", "alert_human"]),
        ]
        return storage.map {
            Policy(type: "storage", severity: $0, ladder: ladder($1), deadline: .seconds(300))
        }
            + types(
                [
                    ("tunnel_down", ["restart_wireguard", "regenerate_config"]),
                    ("peer_unreachable", ["ping_peer", "failover_route"]),
                ], stayClear: .seconds(60))
            + types(
                [
                    ("depth_exceeded", ["circuit_break"]),
                    ("iterations_exceeded", ["reset_chain"]),
                ], stayClear: .seconds(10))
    }

    /// The contract of the three agents, word for word.
    @Test func theContractIsTheDefault() throws {
        let loaded = try load(
            """
            storage:
              thresholds: { warning: 80, critical: 90, emergency: 95 }
              mounts: { include: ["/**"], exclude: [] }
              actions: { warning: [cleanup_temp], critical: [cleanup_logs, archive_old_data], emergency: [emergency_cleanup, alert_human] }
            mesh:
              interfaces: ["wg*"]
              probe_interval: 5s
              actions: { tunnel_down: [restart_wireguard, regenerate_config], peer_unreachable: [ping_peer, failover_route] }
            loop:
              watch: ["synthesis.>"]
              limits: { depth: 10, iterations: 100 }
              cooldown: 1m
              actions: { depth_exceeded: [circuit_break], iterations_exceeded: [reset_chain] }
            local:
              cleanup_temp: { roots: ["/tmp", "/var/tmp"], min_age: 1d }
              cleanup_logs: { roots: ["/var/log"], patterns: ["*.gz", "*.[0-9]"], min_age: 1d, journal_max: 500M }
              archive_old_data: { roots: [], min_age: 30d, to: "" }
              alert_human: { url: "", format: json }
              mesh: { restart: ["wg*"], routes: [] }
            """)
        #expect(loaded.config == GoodFileTests.defaults)
        #expect(loaded.warnings.isEmpty)
    }

    @Test func inodesAreLikeSpaceUntilSomethingElseIsSaid() throws {
        let both = try load("storage: {thresholds: {warning: 50}, clear: {critical: 80}}").config
        #expect(both.storage.inodeThresholds == .init(warning: 50, critical: 90, emergency: 95))
        #expect(both.storage.inodeThresholds == both.storage.thresholds)
        #expect(both.storage.inodeClear == .init(warning: 45, critical: 80, emergency: 90))
        #expect(both.storage.inodeClear == both.storage.clear)
        let inodes = try load("storage: {inode_thresholds: {warning: 60}}").config
        #expect(inodes.storage.thresholds == Config.Storage().thresholds)
        #expect(inodes.storage.inodeThresholds == .init(warning: 60, critical: 90, emergency: 95))
        #expect(inodes.storage.inodeClear == .init(warning: 55, critical: 85, emergency: 90))
    }

    /// An alert at 2 % that clears below -3 % would never clear.
    @Test func aClearThresholdCanBeReached() throws {
        let storage = try load("storage: {thresholds: {warning: 2, critical: 6}}").config.storage
        #expect(storage.clear == .init(warning: 1, critical: 3, emergency: 90))
    }

    @Test func aTypeThatIsLeftOutGetsNoActions() throws {
        let set = try load(
            "mesh: {actions: {endpoint_moved: [regenerate_config]}}\nloop: {limits: {depth: 3}}"
        ).config.policySet
        let types = set.policies.map(\.type)
        #expect(types.filter { Schema.meshTypes.contains($0) }.count == 3)
        #expect(set.policy(type: "endpoint_moved", severity: .emergency)?.stayClear == .seconds(60))
        #expect(set.policy(type: "tunnel_down", severity: .critical) == nil)
        // Nothing is said of the actions of the loop breaker.
        #expect(types.filter { Schema.loopTypes.contains($0) }.count == 6)
    }

    @Test func theChainsCooldownIsNotTheLadders() throws {
        let config = try load("loop: {cooldown: 7m}").config
        #expect(config.loop.cooldown == .seconds(420))
        let policy = config.policySet.policy(type: "depth_exceeded", severity: .critical)
        #expect(policy?.cooldown == .seconds(60))
    }

    @Test(arguments: [
        (
            "local: {archive_old_data: {roots: [/srv]}}",
            "config.yaml:1:28: local.archive_old_data.roots: archive_old_data is not offered without to, a directory on another file system"
        ),
        (
            "local: {archive_old_data: {to: /mnt/archive}}",
            "config.yaml:1:28: local.archive_old_data.to: archive_old_data is not offered without roots"
        ),
        (
            "mesh: {actions: {tunnel_down: [restart_wiregard]}}",
            #"config.yaml:1:32: mesh.actions.tunnel_down[0]: no agent of this version knows the action "restart_wiregard"; did you mean "restart_wireguard"?"#
        ),
    ])
    func whatIsOddGetsAWarning(_ text: String, _ warning: String) throws {
        #expect(try load(text).warnings.map(\.description) == [warning])
    }

    /// Nothing of what may be deleted, called or stopped comes from outside of the file.
    @Test func noVariableReachesIntoTheseSections() {
        let sections = ["storage", "mesh", "loop", "local"]
        for (path, key) in allKeys(Schema.root)
        where sections.contains(String(path.prefix { $0 != "." })) {
            #expect(key.variable == nil, "\(path)")
        }
    }
}
