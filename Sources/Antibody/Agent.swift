import Bus
import Protocol
import Runtime
import Settings
import Synchronization

/// One module at work: its monitor, its heartbeats and its actions.
final class Agent: Sendable {
    let identity: AgentIdentity
    let runner: ActionRunner
    private let module: any AntibodyModule
    private let start: AgentStart
    private let monitor: Monitor
    private let alerts: AlertSender
    private let link: BusLink
    private let clock: SteadyClock
    private let log: Logger
    private let metrics: Metrics
    private let heartbeats: Counter
    private let settings: Mutex<Config>
    private let beat = Wakeup()
    private let isStopping = Mutex(false)
    private let saidGoodbye = Mutex(false)

    /// Opens the agent's files and asks the module what it can do; `shared` are verbs that this agent
    /// offers beside the module's.
    ///
    /// - Throws: `FileLockFailure.held` when an agent of this kind runs on this node already.
    init(
        _ module: any AntibodyModule, shared: [any Verb], config: Config, link: BusLink,
        alerts: AlertSender, results: ResultSender, sampleLimit: Duration, clock: SteadyClock,
        log: Logger, metrics: Metrics
    ) async throws {
        self.module = module
        self.metrics = metrics
        identity = AgentIdentity(of: module, node: config.nodeName, clock: clock)
        self.link = link
        self.clock = clock
        self.alerts = alerts
        self.log = log.named("agent.\(module.name)")
        settings = Mutex(config)
        heartbeats = metrics.counter(
            "skos_agent_heartbeats_total", "Heartbeats sent.", labels: ["agent": module.name])
        monitor = Monitor(
            module: module, config: config, limit: sampleLimit, clock: clock, log: self.log,
            metrics: metrics)
        start = try await Self.open(config.stateDirectory, identity)
        runner = ActionRunner(
            identity: identity, verbs: await monitor.verbs() + shared, clock: clock,
            results: results, log: self.log, metrics: metrics)
        runner.apply(Self.rules(config, module))
        link.onUp(beat)
    }

    private static func open(
        _ directory: String, _ identity: AgentIdentity
    ) async throws -> AgentStart {
        let thread = WorkerThread(name: "\(identity.name)-open")
        defer { thread.stop() }
        do {
            let (state, ledger) = try await withTimeLimit(ActionRunner.diskLimit, on: thread) {
                try AgentState.open(directory: directory, identity: identity)
            }
            return .opened(state, ledger)
        } catch let failure as FileLockFailure {
            if case .held = failure { throw failure }
            return .failed(reason: failure.description, directory: directory)
        } catch {
            return .failed(reason: "\(error)", directory: directory)
        }
    }

    private static func rules(
        _ config: Config, _ module: any AntibodyModule
    ) -> ActionDesk.Rules {
        ActionDesk.Rules(
            allowed: config.local.allowedActions, denied: config.local.deniedActions,
            withheld: NodeActions.withheld(config).union(module.withheld(config)),
            dryRun: config.local.dryRun || config.policySet.dryRun)
    }

    /// Takes over new settings, but for the node's name and the state directory.
    func apply(_ config: Config) {
        settings.withLock { $0 = config }
        monitor.apply(config)
        runner.apply(Self.rules(config, module))
        beat.ring()
    }

    /// Carries out actions until a stop is complete.
    func act() async { await runner.run(start) }

    /// Asks `act` to return: takes back what is in force, unless it is to be kept.
    func stop(keepingActions: Bool) {
        isStopping.withLock { $0 = true }
        runner.post(.stop(keepingActions: keepingActions))
        beat.ring()
    }

    /// Whether the fleet was told, as far as it can hear, that the agent stops.
    var hasSaidGoodbye: Bool { saidGoodbye.withLock { $0 } }

    /// What an earlier process of this agent has raised and not cleared.
    private var raised: [AlertKeeper.Key: Severity] {
        if case .opened(_, let ledger) = start { ledger.raised } else { [:] }
    }

    /// Watches the node until the task is cancelled.
    func watch() async {
        module.recall(raised)
        await monitor.run(AlertKeeper(identity: identity, raised: raised)) { report in
            // First: what the fleet has heard should be known to the next process, should this one stop now.
            if report.isChange { runner.post(.raised(report.key, report.alert.severity)) }
            alerts.put(report)
            guard report.isChange else { return }
            log.info(
                "alert",
                [
                    "type": report.key.type, "resource": report.key.resource,
                    "severity": report.alert.severity.rawValue, "id": report.alert.id ?? "",
                    "reason": report.alert.message ?? "",
                ])
        }
    }

    /// Lets the module listen, until the task is cancelled.
    func listen() async {
        await module.run(
            Surroundings(
                link: link, node: identity.node, clock: clock, log: log, metrics: metrics,
                raised: raised.keys.sorted(), lookAgain: { [monitor] in monitor.lookAgain() }))
    }

    /// Sends heartbeats until the task is cancelled: it reads what others have left for it and waits for
    /// none of them.
    func beatOn() async {
        var writer = HeartbeatWriter(identity: identity, verbs: runner.verbNames)
        var next = SteadyClock.sinceBoot()
        while !Task.isCancelled {
            let interval = settings.withLock { $0.heartbeatInterval }
            if let step = clock.follow() {
                log.info("the time has become known", ["step": step])
            }
            let now = SteadyClock.sinceBoot()
            // In step with the first one; after a pause there is one, not one for each that was missed.
            next = now < next ? min(next, now + interval) : max(next + interval, now)
            let isLast = isStopping.withLock { $0 }
            send(writer.next(facts(at: now)))
            if isLast { saidGoodbye.withLock { $0 = true } }
            // Rung when the connection comes up, so that the fleet hears of this agent at once.
            _ = await beat.wait(atMost: max(next - SteadyClock.sinceBoot(), .milliseconds(10)))
        }
    }

    private func send(_ heartbeat: [UInt8]) {
        // Heartbeats of an hour ago are of no use: while NATS is away, none are kept.
        guard let connection = link.connection else { return }
        do throws(BusError) {
            try connection.publish(Subjects.heartbeat(identity.node), heartbeat)
            heartbeats.increment()
        } catch {
            log.debug("heartbeat not sent", ["reason": error])
        }
    }

    private func facts(at uptime: Duration) -> HeartbeatWriter.Facts {
        let config = settings.withLock { $0 }
        let last = monitor.latest
        let status = runner.currentStatus
        var facts = HeartbeatWriter.Facts(now: clock.now(), interval: config.monitorInterval)
        facts.sample = last.sample
        facts.sampleAge = last.sampledAt.map { uptime - $0 }
        facts.isHung = last.isHung
        facts.active = status.active
        let rules = Self.rules(config, module)
        facts.withheld = rules.withheld
        facts.obstacle = status.obstacle
        facts.dropped = last.dropped + runner.dropped
        facts.drift = clock.drift()
        facts.isDryRun = rules.dryRun
        facts.isStopping = isStopping.withLock { $0 }
        return facts
    }
}
