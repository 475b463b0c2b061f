package import Protocol

/// The agent's decisions about actions: what to execute, when to take it back, what to answer. Pure and
/// deterministic; the shell around it (`ActionRunner`) calls verbs, writes the journal and publishes.
///
/// One verb runs at a time. Before it executes anything, the desk commits the plan with its undo; what
/// the desk knows of actions is exactly what a restart would read from the journal.
package struct ActionDesk: Sendable {
    /// Commands that wait while another is executed; more are refused as `busy`.
    package static let queueLimit = 16
    /// Actions in force at one time; more are refused as `busy`.
    package static let activeLimit = 64
    /// Ids that are remembered; past that, those whose deadline has passed are forgotten first.
    package static let rememberedLimit = 1024
    /// How long an id is remembered past its deadline, or without one: clocks may be set back an hour.
    package static let rememberedFor: Duration = .seconds(3600)
    /// The lease of a reversible action that was commanded by hand, without epoch and lease.
    package static let defaultLease: Duration = .seconds(120)
    /// How long one call of a verb may take before its outcome counts as unknown.
    package static let verbLimit: Duration = .seconds(30)
    /// Pauses between tries to undo: doubled each time, from the first to the last of these.
    package static let undoPauses: ClosedRange<Duration> = .seconds(1)...(.seconds(60))
    /// Results that are told again after a restart are those of commands whose deadline passed less than
    /// this ago: the coordinator waits that long at least.
    package static let retellFor: Duration = .seconds(60)

    package enum Input: Sendable, Equatable {
        case command(Command)
        /// The answer of the verb call that a directive with this number asked for.
        case planned(Int, Result<VerbPlan, VerbFailure>)
        case executed(Int, Result<JSON.Object, VerbFailure>)
        case undone(Int, Result<JSON.Object, VerbFailure>)
        /// What somebody else has changed about an action in force; `nil`: nothing.
        case looked(Int, foreignChange: String?)
        /// The last `commit` could not be written; what followed it was not carried out.
        case commitFailed(reason: String)
        /// What this node allows has changed.
        case rules(Rules)
        /// Whether the journal can be written now; `nil`: it can.
        case obstacle(String?)
        /// An alert was reported, or has cleared.
        case raised(AlertKeeper.Key, Severity)
        case tick
        /// No new work from now on. Unless they are to be kept, all actions are taken back.
        case stop(keepingActions: Bool)
    }

    /// What may be executed on this node; only ever from its own file.
    package struct Rules: Sendable, Equatable {
        /// `nil`: everything its agents know.
        package var allowed: Set<String>?
        package var denied: Set<String>
        /// Verbs that nothing is set up for.
        package var withheld: Set<String>
        /// Only report what would be done.
        package var dryRun: Bool

        package init(
            allowed: Set<String>? = nil, denied: Set<String> = [], withheld: Set<String> = [],
            dryRun: Bool = false
        ) {
            self.allowed = allowed
            self.denied = denied
            self.withheld = withheld
            self.dryRun = dryRun
        }
    }

    package enum Directive: Sendable, Equatable {
        /// Must be on the disk before anything that follows; otherwise `commitFailed`.
        case commit([JournalRecord])
        /// Should be on the disk; what follows is done even when it cannot be written.
        case append([JournalRecord])
        case plan(Int, verb: String, VerbCall)
        case execute(Int, verb: String, VerbPlan)
        case undo(Int, verb: String, undo: JSON.Object, remaining: [JSON.Object])
        /// Look whether an action in force still holds what it has set.
        case look(Int, verb: String, undo: JSON.Object, effect: JSON.Object)
        case publish(CommandResult)
        /// To be published although it was before, for whoever has not heard it: no news.
        case repeated(CommandResult)
        case ignored(actionID: String, reason: String)
    }

    /// The verb call under way.
    struct Job: Sendable {
        enum Kind: Sendable {
            case planning(Command, dryRun: Bool)
            case executing(Command)
            case undoing(String)
            case looking(String)
        }

        var kind: Kind
        var number: Int
        var started: Duration
        /// Its time is over and its outcome has been reported as unknown.
        var isOverdue = false
        /// Why it is to be taken back as soon as it is done.
        var undoReason: String?

        var actionID: String {
            switch kind {
            case .planning(let command, _), .executing(let command): command.actionID
            case .undoing(let id), .looking(let id): id
            }
        }
    }

    /// An action that is to be taken back.
    struct UndoTask: Sendable {
        /// The reason of what somebody has asked for.
        static let asked = "asked to"

        var reason: String
        /// Since boot.
        var nextTry: Duration
        var pause: Duration = ActionDesk.undoPauses.lowerBound
        /// Why the last try failed.
        var failure: String?
        /// Whether somebody else has changed what it had set.
        var isSuperseded = false
    }

    package internal(set) var gate: CommandGate
    package internal(set) var ledger: Ledger
    /// Accepted, and waiting for what is being executed.
    var queue: [Command] = []
    var job: Job?
    /// By action id.
    var undoTasks: [String: UndoTask] = [:]
    /// Of actions in force: when to look at them next.
    var looks: [String: Look] = [:]
    var jobCount = 0
    var isStopping = false
    let identity: AgentIdentity

    /// A desk that goes on from what the journal says. Call `resume` before anything else.
    package init(gate: CommandGate, ledger: Ledger) {
        self.gate = gate
        self.ledger = ledger
        identity = gate.identity
    }

    /// Goes on from a journal that could not be read at the start; nothing has been executed since.
    package mutating func adopt(_ ledger: Ledger, at now: Moment) -> [Directive] {
        self.ledger = ledger
        return resume(at: now)
    }

    /// Whether a stop is complete: nothing runs and nothing is to be taken back.
    package var isSettled: Bool { job == nil && undoTasks.isEmpty && queue.isEmpty }

    /// Decides what becomes of an earlier process' actions: what was being executed is taken back, for
    /// nobody knows how far it came, and so is what another boot left; other leases go on.
    package mutating func resume(at now: Moment) -> [Directive] {
        var directives: [Directive] = []
        for entry in ledger.ordered {
            let id = entry.action.id
            switch entry.phase {
            case .planned: interrupted(entry, at: now, &directives)
            case .active:
                let isOtherBoot = entry.lease.map { $0.boot != identity.bootID } ?? false
                if isOtherBoot {
                    scheduleUndo(id, "the node was restarted", at: now)
                } else {
                    watch(id, at: now)
                }
            case .restoring: scheduleUndo(id, "it failed", at: now)
            case .finished: break
            }
            let isRecent = entry.action.keepUntil - Self.rememberedFor + Self.retellFor > now.wall
            if entry.phase == .active || (entry.phase == .finished && isRecent) {
                directives += entry.results.map(Directive.repeated)
            }
        }
        endLeases(at: now)
        advance(at: now, &directives)
        return directives
    }

    private mutating func interrupted(
        _ entry: Ledger.Entry, at now: Moment, _ directives: inout [Directive]
    ) {
        let id = entry.action.id
        let isRepeatable = gate.verbs[entry.action.verb]?.isRepeatable ?? false
        var result = result(
            of: entry.action, .done, isRepeatable ? .transientFailure : .permanentFailure, at: now)
        result.reason =
            "interrupted: the agent ended while executing it, how far it came is not known"
        record(.done(id: id, result, nil), &directives)
        directives.append(.publish(result))
        if entry.action.isReversible {
            scheduleUndo(id, "the agent ended while executing it", at: now)
        }
    }

    /// Takes in what has happened and returns what is to be done about it, in order.
    package mutating func handle(_ input: Input, at now: Moment) -> [Directive] {
        var directives: [Directive] = []
        ledger.forget(at: now.wall)
        switch input {
        case .command(let command): handle(command, at: now, &directives)
        case .planned(let number, let result):
            if job?.number == number { planned(result, at: now, &directives) }
        case .executed(let number, let result):
            if job?.number == number { executed(result, at: now, &directives) }
        case .undone(let number, let result):
            if job?.number == number { undone(result, at: now, &directives) }
        case .looked(let number, let foreignChange):
            if job?.number == number { looked(foreignChange, at: now) }
        case .commitFailed(let reason): commitFailed(reason, at: now, &directives)
        case .rules(let rules):
            gate.allowed = rules.allowed
            gate.denied = rules.denied
            gate.withheld = rules.withheld
            gate.dryRun = rules.dryRun
        case .obstacle(let reason): setObstacle(reason)
        case .raised(let key, let severity):
            if ledger.raised[key] ?? .ok != severity {
                record(.raised(key, severity), &directives)
            }
        case .tick: break
        case .stop(let keepingActions): stop(keepingActions, at: now, &directives)
        }
        endLeases(at: now)
        reportOverdue(at: now, &directives)
        advance(at: now, &directives)
        return directives
    }

    /// Takes note of why nothing can be executed now, and starts nothing: for use while directives are
    /// being carried out.
    package mutating func setObstacle(_ reason: String?) { gate.obstacle = reason }

    /// When something happens by itself, since boot; `nil`: not before the next input.
    package var nextDue: Duration? {
        var due: [Duration] = []
        for (id, entry) in ledger.entries where entry.phase == .active && undoTasks[id] == nil {
            if let lease = entry.lease { due.append(lease.until) }
            if job == nil, !isStopping, let look = looks[id] { due.append(look.next) }
        }
        if let job {
            if !job.isOverdue { due.append(job.started + Self.verbLimit) }
        } else {
            due += undoTasks.values.map(\.nextTry)
        }
        return due.min()
    }

    /// What heartbeats and `skos status` say about the actions in force.
    package func activeActions(at now: Moment) -> [ActiveAction] {
        ledger.ordered.filter(\.mayBeInForce).map { entry in
            let id = entry.action.id
            return ActiveAction(
                id: id, verb: entry.action.verb,
                remaining: entry.phase == .active ? entry.lease.map { $0.until - now.boot } : nil,
                undoReason: undoTasks[id]?.reason, undoFailure: undoTasks[id]?.failure)
        }
    }

    // MARK: Shared by the extensions

    /// Applies a record and asks for it to be written.
    mutating func record(_ record: JournalRecord, _ directives: inout [Directive]) {
        let makesSense = ledger.apply(record)
        precondition(makesSense, "a desk writes only what follows from its own ledger")
        directives.append(.append([record]))
    }

    mutating func begin(_ kind: Job.Kind, at now: Moment) -> Int {
        jobCount += 1
        job = Job(kind: kind, number: jobCount, started: now.boot)
        return jobCount
    }

    mutating func scheduleUndo(_ id: String, _ reason: String, at now: Moment) {
        if undoTasks[id] == nil { undoTasks[id] = UndoTask(reason: reason, nextTry: now.boot) }
    }

    /// Undo members of a family's actions whose traces may be on the node, oldest first: also of those
    /// that are to be taken back, for what they have saved is the state without any of them.
    func inForce(_ family: String) -> [JSON.Object] {
        ledger.ordered.filter { $0.action.family == family && $0.mayBeInForce }.map(\.action.undo)
    }

    /// Undo members of a family's actions that are meant to stay in force, oldest first.
    func remaining(_ family: String) -> [JSON.Object] {
        ledger.ordered.filter { entry in
            entry.action.family == family && entry.phase == .active
                && undoTasks[entry.action.id] == nil
        }.map(\.action.undo)
    }

    func result(
        of action: PlannedAction, _ status: CommandResult.Status,
        _ outcome: CommandResult.Outcome, at now: Moment
    ) -> CommandResult {
        var result = CommandResult(
            actionID: action.id, actionType: action.verb, node: identity.node, status: status,
            outcome: outcome)
        result.agentID = identity.agentID
        result.incident = action.incident
        result.timestamp = now.wall.inMilliseconds
        return result
    }

    func result(
        of command: Command, _ status: CommandResult.Status,
        _ outcome: CommandResult.Outcome? = nil, _ reason: String? = nil, at now: Moment
    ) -> CommandResult {
        var result = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: identity.node,
            status: status, outcome: outcome, reason: reason)
        result.agentID = identity.agentID
        result.incident = command.incident
        result.timestamp = now.wall.inMilliseconds
        return result
    }

    func keepUntil(_ command: Command, at now: Moment) -> Timestamp {
        (command.deadline ?? now.wall) + Self.rememberedFor
    }
}

/// An action that is in force, or may be.
package struct ActiveAction: Sendable, Equatable {
    package var id: String
    package var verb: String
    /// Until its lease runs out; `nil` when it has none, or is being taken back.
    package var remaining: Duration?
    /// Why it is being taken back.
    package var undoReason: String?
    /// Why that has not worked yet.
    package var undoFailure: String?

    package init(
        id: String, verb: String, remaining: Duration? = nil, undoReason: String? = nil,
        undoFailure: String? = nil
    ) {
        self.id = id
        self.verb = verb
        self.remaining = remaining
        self.undoReason = undoReason
        self.undoFailure = undoFailure
    }
}
