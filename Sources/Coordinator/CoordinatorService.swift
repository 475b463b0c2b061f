import Bus
import Immunity
import Protocol
package import Runtime
package import Settings
import Synchronization

/// The coordinator: one term after the other, until it is asked to stop or another coordinator takes
/// over.
package final class CoordinatorService: Service {
    package let name = "coordinator"
    private let configuration: Mutex<LoadedConfig>
    private let changes: AsyncStream<ConfigWatcher.Change>?
    private let logger = Logger("coordinator")
    private let metrics: Metrics
    private let meters: CoordinatorMeters
    private let clock: SteadyClock
    private let running = Mutex(Running())

    private struct Running {
        var session: Session?
        var isStopping = false
        var refusal: String?
    }

    /// `changes` are edits of the configuration; `nil` when there is no file to edit.
    package init(
        _ configuration: LoadedConfig, changes: AsyncStream<ConfigWatcher.Change>?,
        metrics: Metrics = Metrics(), clock: SteadyClock = SteadyClock()
    ) {
        self.configuration = Mutex(configuration)
        self.changes = changes
        self.metrics = metrics
        self.clock = clock
        meters = CoordinatorMeters(metrics)
    }

    package func shutdown() async {
        let session = running.withLock { running in
            running.isStopping = true
            return running.session
        }
        session?.end()
    }

    package func run() async throws {
        let config = configuration.withLock { $0.config }
        let control = try await connect(config, "coordinator", .batched)
        let bulk = try await connect(config, "coordinator-bulk", .buffered)
        defer {
            control.close()
            bulk.close()
        }
        let watching = Task { await watch() }
        defer { watching.cancel() }
        var nodes = Nodes()
        var backoff = Backoff(
            base: .milliseconds(250), limit: .seconds(10), seed: UInt64(clock.now().seconds))
        while !running.withLock({ $0.isStopping }) {
            do {
                let session = try await Session.begin(context(control, bulk), nodes: nodes)
                guard adopt(session) else { break }
                backoff.reset()
                defer { nodes = session.engine.nodes }
                try await session.run()
                session.end()
            } catch {
                release()
                try await handle(error, retryingAfter: backoff.next())
            }
        }
        try? await control.flush(timeout: .seconds(2))
    }

    private func context(_ control: Connection, _ bulk: Connection) -> Session.Context {
        let configuration = configuration.withLock { $0 }
        return Session.Context(
            control: control, bulk: bulk, logger: logger, meters: meters, metrics: metrics,
            clock: clock,
            actor: "coordinator-\(configuration.config.nodeName)", configuration: configuration)
    }

    private func adopt(_ session: Session) -> Bool {
        let isWanted = running.withLock { running in
            running.session = session
            return !running.isStopping
        }
        if !isWanted { session.end() }
        return isWanted
    }

    private func release() {
        let session = running.withLock { running in
            defer { running.session = nil }
            return running.session
        }
        session?.end()
    }

    private func handle(_ error: any Error, retryingAfter wait: Duration) async throws {
        if let failure = error as? CoordinatorFailure, !failure.isTransient { throw failure }
        if let failure = error as? BusError, failure.isFenced {
            throw CoordinatorFailure(
                isTransient: false,
                description: "another coordinator has taken over the audit: this one stands down")
        }
        logger.error("term ended; nothing is decided until the next one", ["error": "\(error)"])
        try await Task.sleep(for: wait)
    }

    private func connect(
        _ config: Config, _ name: String, _ writes: Connection.Options.Writes
    ) async throws -> Connection {
        var options = Connection.Options(urls: config.nats.urls, name: "skos-\(name)")
        options.credentialsFile = config.nats.credentialsFile
        options.writes = writes
        options.retryOnFailedConnect = true
        let logger = logger
        let urls = config.nats.urls.joined(separator: ",")
        options.onFailedAttempt = { error in
            logger.warning("NATS not reachable yet", ["url": urls, "error": error.description])
        }
        let connection = try await Connection.connect(options)
        logger.info(
            "connected to NATS",
            ["connection": name, "url": connection.connectedURL ?? urls])
        return connection
    }

    private func watch() async {
        guard let changes else { return }
        for await change in changes {
            switch change {
            case .applied(let loaded):
                configuration.withLock { $0 = loaded }
                running.withLock { $0.session }?.configure(loaded)
            case .refused(let error):
                running.withLock { $0.session }?.refuse(error.description)
            }
        }
    }
}
