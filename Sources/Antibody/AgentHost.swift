package import Bus
import Protocol
package import Runtime
package import Settings
import Synchronization

/// The agents of one process: any set of modules, on one connection to NATS.
///
/// It works without NATS: agents sample, keep their leases and take actions back; what there is to say
/// is kept, the latest of each thing, until NATS is there.
///
/// A stop takes back every action in force, unless the options say to keep them: nobody may come back
/// to do it, and a node must not be left throttled by a program that is gone. A kill leaves them to the
/// journal, and the next start of the same agent goes on with their leases.
package final class AgentHost: Service {
    package struct Options: Sendable {
        /// Leave actions in force when stopped, for an upgrade that starts again within their leases.
        package var keepsActions = false
        /// How long one look of a module at the node may take before it counts as hung; a module's own
        /// limits are shorter.
        package var sampleLimit: Duration = .seconds(10)
        /// How long running verbs and undos may take in a stop.
        package var stopLimit: Duration = .seconds(3)
        /// How long the last results may take to reach NATS in a stop.
        package var farewellLimit: Duration = .milliseconds(500)
        /// How long stopping and starting what is not essential may take.
        package var shutdownTimes = ShutdownVerb.Times()

        package init() {}
    }

    /// Commands that wait between the bus and the agents; then the server's copies wait in cnats.
    package static let commandCapacity = 64

    package let name = "agents"
    private let modules: [any AntibodyModule]
    private let nodeActions: NodeActions
    private let config: Config
    private let configs: AsyncStream<Config>?
    private let connectionOptions: Connection.Options
    private let options: Options
    private let clock: SteadyClock
    private let log: Logger
    private let metrics: Metrics
    private let link = BusLink()
    private let alerts: AlertSender
    private let results: ResultSender
    private let agents = Mutex<[Agent]>([])
    /// The last settings that came while it runs.
    private let latest = Mutex<Config?>(nil)
    private let stop = Wakeup()
    private let rejected: Counter
    /// Of log lines about messages that are no commands.
    private let complaints = Mutex(RateLimit(10, per: .seconds(10)))

    /// A host for modules of different kinds. `configs` brings new settings while it runs; the node's
    /// name, the state directory and the connection are those of `config`.
    package init(
        _ modules: [any AntibodyModule], config: Config, configs: AsyncStream<Config>? = nil,
        connection: Connection.Options, options: Options = Options(),
        clock: SteadyClock = SteadyClock(), log: Logger = Logger("agents"), metrics: Metrics
    ) {
        let kinds = Set(modules.map(\.name))
        precondition(
            !modules.isEmpty && kinds.count == modules.count,
            "one module of each kind, at least one")
        self.modules = modules
        nodeActions = NodeActions(config, times: options.shutdownTimes)
        self.config = config
        self.configs = configs
        var connection = connection
        connection.retryOnFailedConnect = true
        connectionOptions = connection
        self.options = options
        self.clock = clock
        self.log = log.with(["node": config.nodeName])
        self.metrics = metrics
        alerts = AlertSender(link: link, log: self.log.named("alerts"), metrics: metrics)
        results = ResultSender(link: link, log: self.log.named("results"), metrics: metrics)
        rejected = metrics.counter(
            "skos_agent_commands_rejected_total", "Messages that are no commands.")
    }

    /// Opens the agents' files.
    package func start() async throws {
        var agents: [Agent] = []
        for module in modules {
            // Of one agent of this process, so that they are not executed once by each.
            let shared = agents.isEmpty ? nodeActions.verbs : []
            agents.append(
                try await Agent(
                    module, shared: shared, config: config, link: link, alerts: alerts,
                    results: results, sampleLimit: options.sampleLimit, clock: clock, log: log,
                    metrics: metrics))
        }
        let started = agents
        self.agents.withLock { $0 = started }
        // Came while files were being opened.
        if let config = latest.withLock({ $0 }) { apply(config) }
    }

    package func shutdown() async { stop.ring() }

    /// Takes over new settings in all agents.
    package func apply(_ config: Config) {
        latest.withLock { $0 = config }
        nodeActions.apply(config)
        for agent in agents.withLock({ $0 }) { agent.apply(config) }
    }

    package func run() async throws {
        let agents = agents.withLock { $0 }
        let acting = agents.map { agent in Task { await agent.act() } }
        await withTaskGroup(of: Void.self) { group in
            for agent in agents {
                group.addTask { await agent.watch() }
                group.addTask { await agent.listen() }
                group.addTask { await agent.beatOn() }
            }
            group.addTask { [alerts] in await alerts.run() }
            group.addTask { [results] in await results.run() }
            group.addTask { await self.stayConnected(agents) }
            if let configs {
                group.addTask { for await config in configs { self.apply(config) } }
            }
            _ = await stop.wait()
            await wind(down: agents, acting)
            group.cancelAll()
        }
        for task in acting { task.cancel() }
        // Sends what is on its way out and closes.
        if let connection = link.connection {
            link.use(nil)
            connection.close()
        }
    }

    /// Ends actions, then says so to the fleet while there is still a connection.
    private func wind(down agents: [Agent], _ acting: [Task<Void, Never>]) async {
        for agent in agents { agent.stop(keepingActions: options.keepsActions) }
        do {
            try await withTimeLimit(options.stopLimit) {
                for task in acting { await task.value }
            }
        } catch {
            log.error(
                "not everything is taken back; the next start of these agents goes on with it",
                ["limit": options.stopLimit])
        }
        let end = SteadyClock.sinceBoot() + options.farewellLimit
        func isAllSaid() -> Bool {
            results.isEmpty && alerts.isEmpty && agents.allSatisfy(\.hasSaidGoodbye)
        }
        while link.connection != nil, !isAllSaid(), SteadyClock.sinceBoot() < end, !Task.isCancelled
        {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    // MARK: The connection

    /// Connects, again and again, until the task is cancelled.
    private func stayConnected(_ agents: [Agent]) async {
        var options = connectionOptions
        let isTold = Mutex(false)
        options.onFailedAttempt = { [log] error in
            // Once; the next line about it says that it works.
            let isFirst = isTold.withLock { told in
                defer { told = true }
                return !told
            }
            if isFirst { log.warning("NATS cannot be reached, trying on", ["reason": error]) }
        }
        var backoff = Backoff(base: .milliseconds(500), limit: .seconds(15), seed: 4)
        while !Task.isCancelled {
            do throws(BusError) {
                let connection = try await Connection.connect(options)
                isTold.withLock { $0 = false }
                try await serve(connection, agents)
                backoff.reset()
            } catch {
                if error.code == .cancelled { return }
                log.error("NATS refuses this agent, trying again", ["reason": error])
            }
            link.use(nil)
            do { try await Task.sleep(for: backoff.next()) } catch { return }
        }
    }

    /// Takes commands from a connection until it is closed.
    private func serve(_ connection: Connection, _ agents: [Agent]) async throws(BusError) {
        let commands = try connection.subscribe(
            Subjects.command(config.nodeName), capacity: Self.commandCapacity, overflow: .block)
        link.use(connection)
        log.info("connected", ["url": connection.connectedURL ?? ""])
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await event in connection.events() { self.note(event) }
            }
            for await message in commands { take(message, agents) }
            group.cancelAll()
        }
    }

    private func note(_ event: ConnectionEvent) {
        switch event {
        case .connected: break
        case .disconnected(let reason):
            log.warning("disconnected, trying to come back", ["reason": reason])
        case .reconnected(let url):
            log.info("connected again", ["url": url])
            link.announce()
        case .lameDuck: log.info("the server is going to stop")
        case .closed(let reason): log.warning("connection closed", ["reason": reason])
        case .slowConsumer(let subject, let dropped):
            log.error(
                "commands were lost, too many at once", ["subject": subject, "lost": dropped])
        case .error(let text): log.error("NATS complains", ["reason": text])
        }
    }

    private func take(_ message: BusMessage, _ agents: [Agent]) {
        do throws(MessageError) {
            let command = try message.withPayload { bytes throws(MessageError) in
                try Command(decoding: bytes, node: config.nodeName)
            }
            for agent in agents { agent.runner.offer(command) }
        } catch {
            reject(message, error, agents)
        }
    }

    /// Says on `skos.rejected.<node>` that a message is no command.
    private func tell(of message: BusMessage, _ error: MessageError) {
        let excerpt = message.withPayload { payload in
            String(decoding: payload.prefix(Self.excerptBytes), as: UTF8.self)
        }
        var object: JSON.Object = [
            "node": .string(config.nodeName), "subject": .string(message.subject),
            "reason": .string(error.reason),
            "excerpt": .string(String(Name.quoted(excerpt).dropFirst().dropLast())),
        ]
        object["field"] = error.field.isEmpty ? nil : .string(error.field)
        object["agent_id"] = agents.withLock { $0.first }.map { .string($0.identity.agentID) }
        // Whoever sent nonsense is told if that is possible; nothing depends on it.
        try? link.connection?.publish(
            Subjects.rejected(config.nodeName), JSON.object(object).encoded)
    }

    /// Bytes of a message that is no command that are shown.
    private static let excerptBytes = 120

    /// Says no to what cannot be read: to the sender, when the message has an action id and is for one of
    /// these agents; always in the log and the metric.
    private func reject(_ message: BusMessage, _ error: MessageError, _ agents: [Agent]) {
        rejected.increment()
        let held = complaints.withLock { $0.pass(at: SteadyClock.sinceBoot()) }
        if let held {
            log.warning(
                "a message is no command",
                ["reason": error, "not_logged": held == 0 ? "" : "\(held)"])
        }
        // The coordinator records it. When there are too many, it is not told of them all, either.
        if held != nil { tell(of: message, error) }
        let fields = message.withPayload { try? Fields(message: $0) }
        guard let fields, let id = try? fields.string("action_id", limit: Limits.identifierBytes)
        else { return }
        let type = fields.object["agent_type"]?.string
        let verb = (try? fields.name("action_type")) ?? ""
        let addressee = agents.first { agent in
            type.map { $0 == agent.identity.agentType } ?? (agent.runner.verbs[verb] != nil)
        }
        guard let addressee else { return }
        var result = CommandResult(
            actionID: id, actionType: verb, node: config.nodeName, status: .refused,
            outcome: .permanentFailure, reason: error.description)
        result.agentID = addressee.identity.agentID
        result.timestamp = clock.now().inMilliseconds
        results.put(result)
    }
}
