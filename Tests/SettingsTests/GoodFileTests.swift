import Protocol
import Testing

@testable import Settings

@Suite struct GoodFileTests {
    /// What holds where nothing is said.
    static var defaults: Config {
        var config = Config()
        config.nodeName = (try? load("version: 1"))?.config.nodeName ?? ""
        config.policySet.policies =
            [
                Policy(type: "thermal", severity: .warning, ladder: [Rung(action: "throttle_10")]),
                Policy(
                    type: "thermal", severity: .critical,
                    ladder: [Rung(action: "throttle_50"), Rung(action: "redistribute")]),
                Policy(
                    type: "thermal", severity: .emergency,
                    ladder: [Rung(action: "shutdown_non_essential"), Rung(action: "failover")]),
            ] + AgentSettingsTests.defaultPolicies
        return config
    }

    @Test func withoutAFileTheDefaultsHold() throws {
        let loaded = try ConfigLoader.load(file: nil, environment: [:])
        #expect(loaded.config == Self.defaults)
        #expect(loaded.file == nil)
        #expect(loaded.warnings.isEmpty)
    }

    @Test func theSeedsFileIsTheDefault() throws {
        let loaded = try load(
            """
            thermal:
              thresholds:
                warning: 75
                critical: 85
                emergency: 95
              actions:
                warning:
                  - throttle_10
                critical:
                  - throttle_50
                  - redistribute
                emergency:
                  - shutdown_non_essential
                  - failover
            """)
        #expect(loaded.config == Self.defaults)
        #expect(loaded.warnings.isEmpty)
        #expect(loaded.file == "config.yaml")
    }

    @Test func everyKeyIsRead() throws {
        let config = try load(Self.everything).config
        var expected = Config()
        expected.nodeName = "nova"
        expected.heartbeatInterval = .seconds(2)
        expected.monitorInterval = .milliseconds(500)
        expected.repeatInterval = .seconds(30)
        expected.stateDirectory = "/tmp/state"
        expected.hostRoot = "/host"
        expected.nats.urls = ["nats://a:4222", "tls://b"]
        expected.nats.credentialsFile = "/etc/skos.creds"
        expected.log.level = .debug
        expected.log.format = .json
        expected.thermal.thresholds = .init(warning: 60.5, critical: 70, emergency: 80)
        expected.thermal.clear = .init(warning: 50, critical: 60, emergency: 75)
        expected.thermal.holdFor = .seconds(90)
        expected.local.allowedActions = ["throttle_10", "throttle_50"]
        expected.local.deniedActions = ["failover"]
        expected.local.dryRun = true
        var nova = Config.Node()
        nova.role = "worker"
        nova.labels = ["rack": "Rack 1", "zone": "a"]
        AgentSettingsTests.expect(in: &expected)
        expected.nodes = ["nova": nova, "lyra": Config.Node()]
        expected.policySet = PolicySet(
            policies: Self.everyPolicy,
            breaker: BreakerPolicy(
                failureThreshold: 2, executionThreshold: 5, window: .seconds(300),
                openFor: .seconds(120)),
            staleAfter: .seconds(120), expireAfter: .seconds(240), heartbeatTimeout: .seconds(12),
            nodes: ["nova", "lyra"], dryRun: true)
        #expect(config == expected)
    }

    private static var everyPolicy: [Policy] {
        func policy(_ type: String, _ severity: Severity) -> Policy {
            Policy(
                type: type, severity: severity,
                ladder: [
                    Rung(action: "cleanup_temp"),
                    Rung(
                        action: "alert_human",
                        parameters: [
                            "to": "on-call", "after": 5, "limit": 0.5, "quiet": false,
                            "no": .null, "list": ["a", 1], "text": "5",
                        ]),
                ],
                cooldown: .zero, maxAttempts: 1, deadline: .seconds(5), verify: .seconds(6),
                stayClear: .seconds(7), lease: .seconds(8), undo: false)
        }
        var warning = Policy(type: "thermal", severity: .warning, ladder: [])
        warning.ladder = [Rung(action: "throttle_20")]
        warning.cooldown = .seconds(30)
        var critical = warning
        critical.severity = .critical
        critical.ladder = [Rung(action: "throttle_50", parameters: ["floor": 800])]
        critical.cooldown = .seconds(10)
        critical.undo = false
        return [policy("disk", .critical), policy("tape", .critical), warning, critical]
            + AgentSettingsTests.policies
    }

    static let everything = general + "\n" + AgentSettingsTests.everything

    private static let general = """
        version: 1
        node: {name: nova}
        nats:
          urls: ["nats://a:4222", tls://b]
          credentials: /etc/skos.creds
        heartbeat_interval: 2
        heartbeat_timeout: 12s
        monitor_interval: 0.5
        repeat_interval: 30s
        state_dir: /tmp/state/
        host_root: /host//
        dry_run: True
        log: {level: debug, format: json}
        thermal:
          thresholds: {warning: 60.5, critical: 7e1, emergency: 80}
          clear: {warning: 50, critical: 60}
          for: 1m30s
          cooldown: 30s
          actions:
            warning: [throttle_20]
            critical:
              actions:
                - action: throttle_50
                  parameters: {floor: 800}
              cooldown: 10s
              undo: false
        policies:
          - match: {type: [disk, tape], severity: critical}
            actions:
              - cleanup_temp
              - action: alert_human
                parameters:
                  {to: on-call, after: 5, limit: 0.5, quiet: false, no: ~, list: [a, 1], text: "5"}
            cooldown: 0
            max_attempts: 1
            deadline: 5s
            verify: 6s
            stay_clear: 7s
            lease: 8s
            undo: false
        breaker: {failure_threshold: 2, execution_threshold: 5, window: 5m, open_for: 2m}
        alerts: {stale_after: 2m, expire_after: 4m}
        nodes:
          nova: {role: worker, labels: {rack: Rack 1, zone: a}}
          lyra:
        local:
          actions: {allow: [throttle_10, throttle_50], deny: [failover]}
          dry_run: true
        """

    @Test func clearThresholdsFollowTheirThresholds() throws {
        let thermal = try load("thermal: {thresholds: {warning: 60, critical: 62}}").config.thermal
        #expect(thermal.thresholds == .init(warning: 60, critical: 62, emergency: 95))
        #expect(thermal.clear == .init(warning: 55, critical: 57, emergency: 90))
    }

    @Test func aSeverityThatIsLeftOutGetsNoActions() throws {
        let set = try load("thermal: {actions: {critical: [throttle_30]}}").config.policySet
        #expect(set.policies.map(\.name).filter { $0.hasPrefix("thermal") } == ["thermal/critical"])
    }

    @Test func writtenPoliciesComeBeforeThoseOfSections() throws {
        let set = try load(
            "policies: [{match: {type: thermal, severity: critical}, actions: [failover]}]"
        ).config.policySet
        #expect(
            set.policies.prefix(4).map(\.name) == [
                "thermal/critical", "thermal/warning", "thermal/critical", "thermal/emergency",
            ])
        #expect(
            set.policy(type: "thermal", severity: .critical)?.ladder == [Rung(action: "failover")])
        #expect(policyTable(set).prefix(4).map(\.isShadowed) == [false, false, true, false])
    }

    @Test func theTableOfPoliciesTellsEverything() throws {
        let rows = policyTable(PolicySet(policies: Self.everyPolicy))
        #expect(rows.first?.cells.count == PolicyRow.headings.count)
        #expect(
            rows[3].cells == [
                "thermal", "critical", #"throttle_50 {"floor":800}"#, "10s", "3", "30s", "1m",
                "10s", "2m", "no", "yes",
            ])
    }

    @Test(arguments: [
        (
            "thermal: {actions: {warning: [throtle_10]}}",
            #"config.yaml:1:31: thermal.actions.warning[0]: no agent of this version knows the action "throtle_10"; did you mean "throttle_10"?"#
        ),
        (
            "heartbeat_timeout: 9s",
            "config.yaml:1:1: heartbeat_timeout: 9s is less than twice heartbeat_interval (5s); agents will often look late"
        ),
        (
            "alerts: {expire_after: 1m}",
            "config.yaml:1:10: alerts.expire_after: 1m is not above repeat_interval (1m); lasting symptoms will expire"
        ),
        (
            "node: {name: nova}\nnodes: {lyra: }",
            #"config.yaml:2:1: nodes: this node, "nova", is not among them"#
        ),
        (
            "local: {actions: {deny: [fail_over]}}",
            #"config.yaml:1:26: local.actions.deny[0]: no agent of this version knows the action "fail_over"; did you mean "failover"?"#
        ),
    ])
    func whatIsOddGetsAWarning(_ text: String, _ warning: String) throws {
        #expect(try load(text).warnings.map(\.description) == [warning])
    }

    @Test func theFingerprintIsOfTheBytes() throws {
        // The published test vector of FNV-1a for "foobar".
        #expect(LoadedConfig.fingerprint(of: Array("foobar".utf8)) == "85944171f73967e8")
        #expect(try load("version: 1").fingerprint != load("version: 1\n").fingerprint)
    }
}
