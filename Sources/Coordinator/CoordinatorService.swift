import Bus
import Immunity
import Notifier
import Protocol
package import Runtime
package import Settings
import Synchronization

/// Why the coordinator must not act.
struct CoordinatorFailure: Error, CustomStringConvertible {
    /// Whether trying again later may help; damaged state is for a human.
    var isTransient: Bool
    var description: String
}

/// The coordinator: one term after the other, until it is asked to stop. While another coordinator leads it
/// stands by.
package final class CoordinatorService: Service {
    package let name = "coordinator"
    private let changes: AsyncStream<ConfigWatcher.Change>?
    private let logger: Logger
    private let metrics: Metrics
    private let meters: CoordinatorMeters
    private let clock: SteadyClock
    private let patience: Duration
    private let standing = Mutex(Standing())
    private let notifier: Notifier
    private let announcer: Announcer
    /// Held while a configuration is handed to the session, so that an older one cannot come after.
    private let handover: Mutex<Session.Configuration>
    private let stops: AsyncStream<Void>
    private let stop: AsyncStream<Void>.Continuation

    /// Where the coordinator stands at the moment.
    private struct Standing {
        var session: Session?
        /// Why there is no session.
        var obstacle = "it is starting"
    }

    /// `changes` are edits of the configuration; `nil` when there is no file to edit. `patience` is how long
    /// another coordinator may take to say that it leads, before this one takes over.
    package init(
        _ configuration: LoadedConfig, changes: AsyncStream<ConfigWatcher.Change>?,
        metrics: Metrics = Metrics(), clock: SteadyClock = SteadyClock(),
        logger: Logger = Logger("coordinator"), patience: Duration = CoordinatorService.patience
    ) {
        handover = Mutex(Session.Configuration(loaded: configuration))
        self.changes = changes
        self.metrics = metrics
        self.clock = clock
        self.logger = logger
        self.patience = patience
        meters = CoordinatorMeters(metrics)
        let announcer = Announcer(clock: clock)
        self.announcer = announcer
        notifier = Notifier(
            configuration.config.local.alertHuman, metrics: metrics,
            log: logger.named("alert_human"), report: { announcer.announce($0) })
        (stops, stop) = AsyncStream.makeStream()
    }

    package func shutdown() async { stop.finish() }

    package func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask { try await self.serve() }
            group.addTask { [notifier] in await notifier.run() }
            group.addTask { [stops] in for await _ in stops {} }
            try await group.next()
        }
    }

    // MARK: Terms

    /// How long a leader may take to answer. A client that listens to everything (`nats sub '>'`) makes a
    /// start take twice as long.
    package static let patience: Duration = .milliseconds(1500)

    /// The first pause after a term that has failed, and the longest.
    private static let pauses: (first: Duration, longest: Duration) = (
        .milliseconds(250), .seconds(10)
    )
    /// How long what was published last may take to leave at the end.
    private static let flushLimit: Duration = .seconds(2)

    private func serve() async throws {
        let config = handover.withLock { $0.loaded.config }
        var links = try await Links.connect(config.nats, logger)
        let watching = Task { await watch() }
        defer { watching.cancel() }
        var past = Past()
        var backoff = Backoff(
            base: Self.pauses.first, limit: Self.pauses.longest, seed: UInt64(clock.now().seconds))
        var standby = Standby(patience: patience, logger: logger)
        var api: Delivery?
        announcer.use(links.control)
        while !Task.isCancelled {
            if links.areClosed {
                // Refused by the server for good, as after new credentials: only new ones may do.
                api = nil
                links.close()
                links = try await Links.connect(config.nats, logger)
                announcer.use(links.control)
            }
            do {
                try await links.ready()
                // While another one leads, that one alone answers.
                try await standby.wait(on: links.control) {
                    api = nil
                    backoff.reset()
                }
                if api == nil { api = try listen(links) }
                let session = try await Session.begin(
                    context(links), &past, known: standby.known)
                adopt(session)
                let began = clock.now()
                defer {
                    session.end()
                    let (now, duration) = (clock.now(), clock.now() - began)
                    past.keep(session.engine.nodes, at: now)
                    standby.hasLed(from: past.lead?.sequence ?? 0, for: duration)
                    if duration > Self.pauses.longest { backoff.reset() }
                }
                do { try await session.run() } catch  where Task.isCancelled {}
                if Task.isCancelled { await session.drain() }
            } catch let error as Superseded {
                api = nil
                standby.isSuperseded(by: error.lead)
                stand(without: error)
            } catch {
                if Task.isCancelled { break }
                try release(error)
                let pause = backoff.next()
                async let pausing: Void? = try? Task.sleep(for: pause)
                if await standby.isLed(links.control) { api = nil }
                await pausing
            }
        }
        api = nil
        try? await links.control.flush(timeout: Self.flushLimit)
        links.close()
    }

    private func context(_ links: Links) -> Session.Context {
        let configuration = handover.withLock { $0 }
        return Session.Context(
            control: links.control, bulk: links.bulk, logger: logger, meters: meters,
            clock: clock, actor: "coordinator-\(configuration.loaded.config.nodeName)",
            configuration: configuration,
            callHuman: { [notifier] in notifier.tell($0, isRepeated: $1) })
    }

    private func listen(_ links: Links) throws(BusError) -> Delivery {
        let api = API(
            coordinator: self, jetStream: links.control.jetStream, metrics: metrics, clock: clock,
            logger: logger)
        return try links.control.subscribe(Subjects.api) { api.answer($0) }
    }

    private func adopt(_ session: Session) {
        standing.withLock { $0.session = session }
        // The configuration may have changed while the session began.
        handover.withLock { session.configure($0) }
    }

    /// Ends a term; throws when there must not be another.
    private func release(_ error: any Error) throws {
        stand(without: error)
        if let failure = error as? CoordinatorFailure, !failure.isTransient { throw failure }
        logger.error("nothing is decided until the next term", ["reason": "\(error)"])
    }

    private func stand(without reason: any Error) {
        standing.withLock { standing in
            standing.session = nil
            standing.obstacle = "\(reason)"
        }
    }

    // MARK: For the API

    /// The session, or why there is none.
    enum Access {
        case session(Session)
        case idle(reason: String)
    }

    var access: Access {
        standing.withLock { standing in
            standing.session.map { .session($0) } ?? .idle(reason: standing.obstacle)
        }
    }

    // MARK: Configuration

    private func watch() async {
        guard let changes else { return }
        for await change in changes {
            handover.withLock { configuration in
                switch change {
                case .applied(let loaded):
                    configuration = Session.Configuration(loaded: loaded)
                    notifier.apply(loaded.config.local.alertHuman)
                case .refused(let error): configuration.refusal = error.description
                }
                if case .session(let session) = access { session.configure(configuration) }
            }
        }
    }
}

/// The coordinator's connections: one for what must be fast, one for heartbeats.
private struct Links {
    var control: Connection
    var bulk: Connection

    static func connect(_ nats: Config.NATS, _ logger: Logger) async throws -> Links {
        Links(
            control: try await connect(nats, "coordinator", logger),
            bulk: try await connect(nats, "coordinator-bulk", logger))
    }

    private static func connect(
        _ nats: Config.NATS, _ name: String, _ logger: Logger
    ) async throws -> Connection {
        var options = Connection.Options(urls: nats.urls, name: "skos-\(name)")
        options.credentialsFile = nats.credentialsFile
        options.writes = .batched
        options.retryOnFailedConnect = true
        let urls = nats.urls.joined(separator: ",")
        options.onFailedAttempt = { error in
            logger.warning("NATS not reachable yet", ["url": urls, "error": error.description])
        }
        let connection = try await Connection.connect(options)
        logger.info(
            "connected to NATS",
            ["connection": name, "url": connection.connectedURL ?? urls])
        return connection
    }

    var areClosed: Bool { control.isClosed || bulk.isClosed }

    /// Waits until the connection is up.
    func ready() async throws(BusError) {
        for await event in control.events() {
            switch event {
            case .connected, .reconnected: return
            case .closed(let reason):
                throw BusError(.closed, "NATS has ended the connection for good: \(reason)")
            case .disconnected, .lameDuck, .slowConsumer, .error: break
            }
        }
    }

    func close() {
        control.close()
        bulk.close()
    }
}
