package import Protocol
import Runtime
import Synchronization

/// Carries out what the desk decides: calls verbs on a thread of their own, writes the journal on
/// another, hands results to their sender. One for each agent.
package final class ActionRunner: Sendable {
    /// Inputs that wait for the desk at most; further commands are refused as `busy`.
    package static let inboxLimit = 64
    /// How long the disk may take for one write.
    static let diskLimit: Duration = .seconds(10)

    /// What others may see of an agent's actions.
    package struct Status: Sendable {
        package var active: [ActiveAction] = []
        /// Why nothing can be executed now; `nil`: it can.
        package var obstacle: String?
    }

    private struct Inbox {
        var inputs: [ActionDesk.Input] = []
        var commands = 0
    }

    let identity: AgentIdentity
    let verbs: [String: any Verb]
    let clock: SteadyClock
    let results: ResultSender
    let log: Logger
    let verbThread: WorkerThread
    let diskThread: WorkerThread
    private let inbox = Mutex(Inbox())
    private let status = Mutex(Status())
    private let wakeup = Wakeup()
    private let refused: Counter

    init(
        identity: AgentIdentity, verbs: [any Verb], clock: SteadyClock, results: ResultSender,
        log: Logger, metrics: Metrics
    ) {
        self.identity = identity
        self.verbs = Dictionary(
            verbs.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.clock = clock
        self.results = results
        self.log = log
        verbThread = WorkerThread(name: "\(identity.name)-act")
        diskThread = WorkerThread(name: "\(identity.name)-disk")
        refused = metrics.counter(
            "skos_agent_commands_refused_total", "Commands refused because too many waited.",
            labels: ["agent": identity.name])
    }

    /// Names of the actions on offer, in order.
    /// The verbs that heartbeats name.
    package var verbNames: [String] { verbs.values.filter(\.isListed).map(\.name).sorted() }

    package var currentStatus: Status { status.withLock { $0 } }

    /// Commands refused because too many waited.
    package var dropped: UInt64 { refused.value }

    /// Hands a command to the desk without waiting.
    package func offer(_ command: Command) {
        if let type = command.agentType, type != identity.agentType { return }
        let isTaken = inbox.withLock { inbox in
            guard inbox.commands < Self.inboxLimit else { return false }
            inbox.commands += 1
            inbox.inputs.append(.command(command))
            return true
        }
        guard !isTaken else { return wakeup.ring() }
        refused.increment()
        guard command.agentType != nil || verbs[command.actionType] != nil else { return }
        var result = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: identity.node,
            status: .refused, outcome: .transientFailure,
            reason: "busy: \(Self.inboxLimit) commands have not been read yet")
        result.isBusy = true
        result.agentID = identity.agentID
        result.incident = command.incident
        result.timestamp = clock.now().inMilliseconds
        results.put(result)
    }

    /// Hands anything but a command to the desk. Its makers make few.
    package func post(_ input: ActionDesk.Input) {
        inbox.withLock { $0.inputs.append(input) }
        wakeup.ring()
    }

    /// New rules about what may be done here.
    func apply(_ rules: ActionDesk.Rules) { post(.rules(rules)) }

    func takeInputs() -> [ActionDesk.Input] {
        inbox.withLock { inbox in
            defer { inbox = Inbox() }
            return inbox.inputs
        }
    }

    func publish(_ new: Status) { status.withLock { $0 = new } }

    /// Sleeps until there is an input, or the time is over.
    func wait(atMost limit: Duration) async { _ = await wakeup.wait(atMost: limit) }

    var moment: Moment { Moment(wall: clock.now(), boot: SteadyClock.sinceBoot()) }

    /// Works until a stop is complete or the task is cancelled.
    func run(_ start: AgentStart) async {
        var loop = ActionLoop(runner: self, start: start)
        await loop.run()
        verbThread.stop()
        diskThread.stop()
    }

    /// Calls a verb on its own thread; the answer comes as an input, however late.
    func call(_ body: @escaping @Sendable () -> ActionDesk.Input) {
        Task(executorPreference: verbThread) { self.post(body()) }
    }
}

/// What was found of an agent's files at the start.
enum AgentStart: Sendable {
    case opened(AgentState, Ledger)
    /// Not for now; the directory to try again.
    case failed(reason: String, directory: String)
}
