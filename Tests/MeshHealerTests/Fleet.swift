import Foundation
import Synchronization
import Testing

/// The built program under test: `SKOS_BINARY`, or what this build made.
let program: String? = {
    let named = ProcessInfo.processInfo.environment["SKOS_BINARY"]
    return [named, ".build/release/skos", ".build/debug/skos"].compactMap { $0 }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
        .map { URL(fileURLWithPath: $0).path }
}()

/// Three namespaces with the whole program, NATS included, in A.
final class Fleet: Sendable {
    /// One of the fleets that may be there at once. Each `wireguard-go` takes inotify instances, of which
    /// a user has 128; without one it ends, and so would what SKOS makes anew.
    private final class Place: Sendable {
        private static let free = Mutex(10)

        static func take() async throws -> Place {
            while true {
                let isTaken = free.withLock { free in
                    guard free > 0 else { return false }
                    free -= 1
                    return true
                }
                if isTaken { return Place() }
                try await Task.sleep(for: .milliseconds(100))
            }
        }

        deinit { Self.free.withLock { $0 += 1 } }
    }

    let tunnels: Tunnels
    private let place: Place

    init(_ settings: (Tunnels) throws -> String) async throws {
        place = try await Place.take()
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

    /// What to do about each type of alert; `others` are one's own ladders, as lines of YAML.
    static func policies(_ others: [String: String] = [:]) -> String {
        var ladders = [
            "tunnel_down": "[restart_wireguard]", "config_drift": "[restart_wireguard]",
        ]
        for type in ["peer_unreachable", "peer_one_way", "peer_filtered", "endpoint_moved"] {
            ladders[type] = "[ping_peer, restart_wireguard]"
        }
        ladders.merge(others) { $1 }
        let lines = ladders.sorted { $0.key < $1.key }.map { "    \($0.key): \($0.value)\n" }
        return """
            mesh:
              cooldown: 1s
              stay_clear: 1s
              verify: 5s
              actions:

            """ + lines.joined()
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

    /// The answer to an action that ended, once there is one; with `reason`, one that says so.
    func result(
        _ action: String, _ outcome: String, _ resource: String, reason: String = ""
    ) async throws -> [String: Any] {
        var found: [String: Any]?
        try await wait(for: "\(action) of \(resource): \(outcome)") {
            let records = try audit()
            // The command names what it is about, and its answer the command.
            let ids = records.compactMap { $0["command"] as? [String: Any] }.filter {
                ($0["parameters"] as? [String: Any])?["resource"] as? String == resource
            }.compactMap { $0["action_id"] as? String }
            found = records.first {
                $0["action"] as? String == action && $0["status"] as? String == "done"
                    && ($0["outcome"] as? String == "succeeded") == (outcome == "succeeded")
                    && ids.contains($0["action_id"] as? String ?? "")
                    && (reason.isEmpty
                        || ($0["reason"] as? String)?.contains(reason) == true)
            }
            return found != nil
        }
        return found ?? [:]
    }

    /// Waits for what becomes of an incident.
    func change(_ change: String, _ incident: Any?) async throws {
        try await wait(for: "\(change) \(incident ?? "")") {
            try audit().contains {
                $0["change"] as? String == change
                    && $0["incident"] as? String == incident as? String
            }
        }
    }

    func wait(for what: String, _ condition: () throws -> Bool) async throws {
        for _ in 0..<300 {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(600))
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
