import Foundation
import Synchronization
import Testing

/// The built program under test: `SKOS_BINARY`, or what this build made.
private let program: String? = {
    let named = ProcessInfo.processInfo.environment["SKOS_BINARY"]
    return [named, ".build/release/skos", ".build/debug/skos"].compactMap { $0 }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
        .map { URL(fileURLWithPath: $0).path }
}()

/// Three namespaces with the whole program, NATS included, in A.
private final class Fleet: Sendable {
    let tunnels: Tunnels

    init(_ settings: (Tunnels) throws -> String = Fleet.policies) async throws {
        tunnels = try Tunnels()
        let policy = try settings(tunnels)
        try policy.write(
            toFile: "\(tunnels.directory.path)/config.yaml", atomically: false, encoding: .utf8)
        let path = tunnels.directory.path
        try tunnels.launch(
            "nats", in: "a", ["nats-server", "-js", "-sd", "\(path)/js", "-a", "127.0.0.1"])
        try await wait(for: "NATS") {
            (try? tunnels.exec("a", "bash", "-c", "</dev/tcp/127.0.0.1/4222")) != nil
        }
        for service in [["coordinator"], ["agent", "mesh"]] {
            try tunnels.launch(
                service[0], in: "a", [try #require(program)] + service, environment: environment,
                log: "\(path)/\(service[0]).log")
        }
        try await wait(for: "healthy peers") {
            let peers = try run("nodes", "-o", "json").components(separatedBy: "\"healthy\"")
            return peers.count == 3
        }
    }

    /// What to do about each type of alert.
    static func policies(_ tunnels: Tunnels) -> String {
        """
        policies:
          - match: {type: [tunnel_down, config_drift], severity: [warning, critical]}
            actions: [restart_wireguard]
            cooldown: 1s
            stay_clear: 1s
          - match:
              type: [peer_unreachable, peer_one_way, peer_filtered, endpoint_moved]
              severity: [warning, critical]
            actions: [ping_peer, restart_wireguard]
            cooldown: 1s
            stay_clear: 1s
            verify: 2s

        """
    }

    private var environment: [String: String] {
        let path = tunnels.directory.path
        return [
            "NATS_URL": "nats://127.0.0.1:4222", "NODE_NAME": "nova", "SKOS_HOST_ROOT": path,
            "SKOS_STATE_DIR": "\(path)/state", "SKOS_CONFIG": "\(path)/config.yaml",
            "MONITOR_INTERVAL": "1", "HEARTBEAT_INTERVAL": "1",
        ]
    }

    /// Runs `skos ARGUMENTS…` in A to its end.
    func run(_ arguments: String...) throws -> String {
        let settings = environment.map { "\($0.key)=\($0.value)" }
        let (_, output) = try commandList(
            ["ip", "netns", "exec", tunnels.space("a"), "env"] + settings
                + [try #require(program)] + arguments)
        return output
    }

    /// The audit's records, oldest first.
    func audit() throws -> [[String: Any]] {
        try run("audit", "export", "-").split(separator: "\n").compactMap { line in
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8))
            return (object as? [String: Any])?["record"] as? [String: Any]
        }
    }

    /// The alerts in the audit, oldest first.
    func alerts() throws -> [[String: Any]] {
        try audit().compactMap { $0["alert"] as? [String: Any] }
    }

    /// Waits for an alert; generous, for a busy machine.
    @discardableResult
    func alert(
        _ type: String, _ resource: String, _ severities: [String] = ["warning", "critical"]
    ) async throws -> [String: Any] {
        var found: [String: Any]?
        try await wait(for: "\(type) of \(resource): \(severities)") {
            found = try alerts().last {
                $0["type"] as? String == type && $0["resource"] as? String == resource
                    && severities.contains($0["severity"] as? String ?? "")
            }
            return found != nil
        }
        return found ?? [:]
    }

    func wait(for what: String, _ condition: () throws -> Bool) async throws {
        for _ in 0..<400 {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(300))
        }
        let log =
            (try? String(contentsOfFile: "\(tunnels.directory.path)/agent.log", encoding: .utf8))
        Issue.record("never happened: \(what)\n\(log?.suffix(3000) ?? "")")
        throw CancellationError()
    }

    /// What the agent and the audit have said must never name a private key.
    func hasLeaked() throws -> Bool {
        let path = tunnels.directory.path
        var text = try run("audit", "export", "-") + run("nodes", "-o", "json")
        for name in ["agent.log", "coordinator.log"] {
            text += (try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)) ?? ""
        }
        text +=
            (try? String(contentsOfFile: "\(path)/state/mesh.journal", encoding: .utf8)) ?? ""
        return text.contains(tunnels.secret)
    }
}

/// How a tunnel can break, as the facts about WireGuard have it.
struct Break: Sendable, CustomTestStringConvertible {
    var name: String
    /// The alert types that may be raised, and the cause that one of them names.
    var type: String
    var cause: String?
    var isInterface = false
    /// Whether the fault is healed by the program; else `mend` does it.
    var isHealed = false
    var harm: @Sendable (Tunnels) throws -> Void
    var mend: @Sendable (Tunnels) throws -> Void = { _ in }

    var testDescription: String { name }
}

@Suite(
    "Broken tunnels under the whole program",
    .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"),
    .enabled(if: program != nil, "skos is not built"))
struct TunnelTests {
    @Test("a lost peer's route moves to the other way, and comes back to the letter with the peer")
    func failover() async throws {
        let fleet = try await Fleet { tunnels in
            try tunnels.connectOtherWay()
            return """
                mesh:
                  actions: {peer_unreachable: [failover_route]}
                  stay_clear: 1s
                  verify: 2s
                  lease: 20s
                local:
                  mesh:
                    routes:
                      - prefix: 10.77.0.0/24
                        peer: "\(tunnels.key("b"))"
                        via: 10.99.3.2
                        device: \(tunnels.otherCable)
                        metric: 50

                """
        }
        let tunnels = fleet.tunnels
        let space = tunnels.space("a")
        func routes() throws -> String {
            try tunnels.ip("-n", space, "route", "show", "10.77.0.0/24")
        }
        let before = try routes()
        #expect(before.contains("dev \(tunnels.tunnel("a"))"))
        let cable = tunnels.cable("a", "b")
        try tunnels.ip("-n", space, "link", "set", cable, "down")
        try await fleet.alert("peer_unreachable", tunnels.resource("b"))
        try await fleet.wait(for: "the other way") {
            try routes().contains("via 10.99.3.2 dev \(tunnels.otherCable) ")
        }
        // Longer than it may take to help: the symptom lasts, and so does the other way.
        try await fleet.wait(for: "the call for a human") {
            try fleet.audit().contains { $0["change"] as? String == "escalated" }
        }
        #expect(try routes().contains("via 10.99.3.2"))
        try tunnels.ip("-n", space, "link", "set", cable, "up")
        try await fleet.alert("peer_unreachable", tunnels.resource("b"), ["ok"])
        try await fleet.wait(for: "the old way") { try routes() == before }
        #expect(try fleet.run("audit", "verify").contains("all as they were written"))
    }

    static let breaks: [Break] = [
        Break(
            name: "A's link goes down", type: "peer_unreachable", cause: "underlay",
            harm: { try $0.ip("-n", $0.space("a"), "link", "set", $0.cable("a", "b"), "down") },
            mend: { try $0.ip("-n", $0.space("a"), "link", "set", $0.cable("a", "b"), "up") }),
        Break(
            name: "A's firewall drops what it sends", type: "peer_one_way", cause: "local_send",
            harm: { try $0.drop("a", "output", from: "10.99.1.2") }, mend: { try $0.undrop("a") }),
        Break(
            name: "B's link goes down", type: "peer_unreachable",
            harm: {
                // B's end without A's noticing: its address is gone, and nobody answers.
                try $0.ip(
                    "-n", $0.space("b"), "addr", "flush", "dev", $0.cable("b", "a"))
            },
            mend: {
                try $0.ip(
                    "-n", $0.space("b"), "addr", "add", "10.99.1.2/24", "dev", $0.cable("b", "a"))
            }),
        Break(
            name: "B's program is killed", type: "peer_unreachable", cause: "remote",
            harm: { $0.stop("b") }),
        Break(
            name: "B does not know A any more", type: "peer_unreachable", cause: "remote",
            harm: {
                try $0.exec("b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "remove")
            },
            mend: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "allowed-ips",
                    "10.88.0.1/32")
            }),
        Break(
            name: "B's firewall drops what it gets", type: "peer_one_way", cause: "remote",
            harm: { try $0.drop("b", "input") }, mend: { try $0.undrop("b") }),
        Break(
            name: "A's tunnel is switched off", type: "tunnel_down", cause: "interface_down",
            isInterface: true, isHealed: true,
            harm: { try $0.ip("-n", $0.space("a"), "link", "set", $0.tunnel("a"), "down") }),
        Break(
            name: "A's program is killed", type: "tunnel_down", cause: "gone", isInterface: true,
            harm: { $0.stop("a") }),
        Break(
            name: "a blackhole in the place of B", type: "peer_unreachable", cause: "local_route",
            harm: { try $0.ip("-n", $0.space("a"), "route", "add", "blackhole", "10.88.0.2/32") },
            mend: { try $0.ip("-n", $0.space("a"), "route", "del", "blackhole", "10.88.0.2/32") }),
        Break(
            name: "A's allowed IPs are wrong", type: "config_drift", isHealed: true,
            harm: {
                try $0.writeFile($0.text())
                try $0.exec(
                    "a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "allowed-ips",
                    "10.88.0.77/32")
            }),
        Break(
            name: "B's allowed IPs are wrong", type: "peer_filtered", cause: "remote",
            harm: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "allowed-ips",
                    "10.88.0.77/32")
            },
            mend: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "allowed-ips",
                    "10.88.0.1/32")
            }),
        Break(
            name: "B's tunnel is switched off", type: "peer_filtered", cause: "remote",
            harm: { try $0.ip("-n", $0.space("b"), "link", "set", $0.tunnel("b"), "down") },
            mend: { try $0.ip("-n", $0.space("b"), "link", "set", $0.tunnel("b"), "up") }),
        Break(
            name: "B moves", type: "endpoint_moved",
            harm: {
                // Removing the first address of a network removes its others, so in this order.
                try $0.ip(
                    "-n", $0.space("b"), "addr", "del", "10.99.1.2/24", "dev", $0.cable("b", "a"))
                try $0.ip(
                    "-n", $0.space("b"), "addr", "add", "10.99.1.9/24", "dev", $0.cable("b", "a"))
                // A hears of it from B, once B has given its old address up.
                try $0.launch("moved", in: "b", ["ping", "-q", "-i", "0.5", "10.88.0.1"])
            }),
    ]

    @Test("is named, healed where that is possible, and C notices nothing", arguments: breaks)
    func isNamed(_ fault: Break) async throws {
        let fleet = try await Fleet()
        let tunnels = fleet.tunnels
        let resource = fault.isInterface ? tunnels.tunnel("a") : tunnels.resource("b")
        let log = "\(tunnels.directory.path)/ping"
        let ping = try tunnels.launch(
            "ping", in: "a", ["ping", "-q", "-i", "0.1", "10.88.0.3"], log: log)
        try fault.harm(tunnels)
        let alert = try await fleet.alert(fault.type, resource)
        let details = alert["details"] as? [String: Any] ?? [:]
        if let cause = fault.cause { #expect(details["cause"] as? String == cause) }
        #expect(details["interface"] as? String == tunnels.tunnel("a"))
        if !fault.isInterface { #expect(details["peer"] as? String == tunnels.key("b")) }
        try fault.mend(tunnels)
        let cannotBeMended = ["B's program is killed", "A's program is killed", "B moves"]
        if !cannotBeMended.contains(fault.name) {
            try await fleet.alert(fault.type, resource, ["ok"])
        }
        if fault.isHealed {
            try await fleet.wait(for: "the word that it was healed") {
                try fleet.audit().contains {
                    $0["action_type"] as? String == "restart_wireguard"
                        || ($0["result"] as? [String: Any])?["outcome"] as? String == "succeeded"
                }
            }
            try tunnels.exec("a", "ping", "-c", "1", "-W", "5", "10.88.0.2")
        }
        kill(ping.processIdentifier, SIGINT)
        ping.waitUntilExit()
        // C's own packets, but for those that A's own interface took with it.
        if !fault.isInterface {
            let text = try String(contentsOfFile: log, encoding: .utf8)
            let line = try #require(
                text.split(separator: "\n").first { $0.contains("transmitted") })
            let counts = line.split(separator: " ").compactMap { Int($0) }
            #expect(counts[0] - counts[1] <= 1, "\(line)")
        }
        let others = try fleet.alerts().filter {
            $0["resource"] as? String == tunnels.resource("c") && $0["severity"] as? String != "ok"
        }
        #expect(others.isEmpty, "\(others)")
        #expect(try !fleet.hasLeaked())
        #expect(try fleet.run("audit", "verify").contains("all as they were written"))
    }
}
