import Bus
import Protocol
import Runtime
package import Settings
import Synchronization

/// Says when everything is there, what to open, and what to type next.
package final class Welcome: Service {
    /// How long it may take until the coordinator has heard an agent of this node.
    package static let limit: Duration = .seconds(15)
    /// Time between two looks.
    private static let interval: Duration = .milliseconds(20)

    package let name = "welcome"
    private let config: Config
    private let monitoringPort: UInt16?
    private let startedAt: Duration
    private let stop = Wakeup()
    private let isStopping = Atomic<Bool>(false)
    private let log = Logger("up")

    /// - `startedAt`: when the program began, as time since boot.
    package init(_ config: Config, monitoringPort: UInt16?, startedAt: Duration) {
        self.config = config
        self.monitoringPort = monitoringPort
        self.startedAt = startedAt
    }

    package func shutdown() async {
        isStopping.store(true, ordering: .relaxed)
        stop.ring()
    }

    package func run() async throws {
        if await isReady() { greet() }
        while !isStopping.load(ordering: .relaxed), !Task.isCancelled { _ = await stop.wait() }
    }

    /// Whether the coordinator has heard an agent of this node; waits for it, within the limit.
    private func isReady() async -> Bool {
        let isHeard = await Self.poll(config, "nodes", until: knows) { await stop.wait(atMost: $0) }
        if isHeard == false {
            log.warning(
                "the coordinator has not heard an agent of this node yet",
                ["node": config.nodeName, "hint": "`skos status` and `skos doctor` tell more"])
        }
        return isHeard ?? false
    }

    /// Asks the coordinator again and again, within the limit.
    ///
    /// - `pause`: waits for a time; returns whether to give up.
    /// - Returns: whether its answer was as wanted; `nil` when given up.
    static func poll(
        _ config: Config, _ verb: String, until isWanted: (JSON.Object) -> Bool,
        pause: (Duration) async -> Bool
    ) async -> Bool? {
        var options = Connection.Options(urls: config.nats.urls, name: "skos-up")
        options.credentialsFile = config.nats.credentialsFile
        options.retryOnFailedConnect = true
        options.reconnectWait = interval
        options.reconnectJitter = .zero
        options.deadline = limit
        guard let connection = try? await Connection.connect(options) else { return false }
        defer { connection.close() }
        let link = Link(connection: connection, timeout: .seconds(1), tried: "")
        let deadline = SteadyClock.sinceBoot() + limit
        while SteadyClock.sinceBoot() < deadline {
            if let answer = try? await link.ask(verb), isWanted(answer) { return true }
            if await pause(interval) { return nil }
        }
        return false
    }

    private func knows(_ answer: JSON.Object) -> Bool {
        let node = answer["nodes"]?.array?.first {
            $0.object?["node"]?.string == config.nodeName
        }
        return !(node?.object?["agents"]?.array ?? []).isEmpty
    }

    private func greet() {
        log.info(
            "SKOS is up",
            [
                "node": config.nodeName, "after": Text.short(SteadyClock.sinceBoot() - startedAt),
                "state": config.stateDirectory,
            ])
        if let monitoringPort {
            log.info("open http://127.0.0.1:\(monitoringPort) for NATS' own monitoring")
        }
        let node = config.nodeName
        log.info("type `skos status`, or see what would happen:")
        log.info(
            "  skos inject \(node) --type storage --severity warning --value 85 --dry-run --wait")
    }
}

/// Holds back what comes after it until the coordinator answers, so that the first heartbeat of an agent
/// is heard.
package final class CoordinatorGate: Service {
    package let name = "coordinator-gate"
    package let mayFinish = true
    private let config: Config

    package init(_ config: Config) { self.config = config }

    package func start() async throws {
        let answers = await Welcome.poll(config, "status", until: { _ in true }) { pause in
            (try? await Task.sleep(for: pause)) == nil
        }
        // Agents protect their node without a coordinator, too.
        if answers == false { Logger("up").warning("the coordinator does not answer yet") }
    }

    package func run() async throws {}

    package func shutdown() async {}
}
