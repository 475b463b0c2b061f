package import Protocol

/// What is known of a verb without calling it.
package struct VerbFacts: Sendable, Equatable {
    package var name: String
    package var family: String
    package var isReversible: Bool
    package var isRepeatable: Bool
    package var isObservable: Bool

    package init(
        name: String, family: String, isReversible: Bool, isRepeatable: Bool = false,
        isObservable: Bool = false
    ) {
        self.name = name
        self.family = family
        self.isReversible = isReversible
        self.isRepeatable = isRepeatable
        self.isObservable = isObservable
    }
}

/// Decides what a command is to an agent: the guards of the receiving side, in a fixed order. Pure.
package struct CommandGate: Sendable, Equatable {
    /// How far ahead a deadline may be; ids are remembered until then.
    package static let deadlineHorizon: Duration = .seconds(24 * 3600)

    package enum Verdict: Sendable, Equatable {
        /// Meant for another agent; nothing is said about it.
        case notOurs
        /// From a coordinator that has been replaced, about an action whose present owner must not be
        /// confused by an answer.
        case ignore(reason: String)
        /// Not to be done, and why; a transient reason may be gone at the next attempt.
        case refuse(reason: String, isTransient: Bool)
        /// Known already: the answer is given again.
        case answer
        case execute(dryRun: Bool)
        case renew
        case undo
    }

    /// What is known of a command's action already.
    package enum Known: Sendable, Equatable {
        case unknown, waiting, recorded(Ledger.Phase)
    }

    package let identity: AgentIdentity
    /// What this agent can do here, by name.
    package let verbs: [String: VerbFacts]
    /// Actions this node executes; `nil`: all that its agents know.
    package var allowed: Set<String>?
    /// Actions this node never executes.
    package var denied: Set<String> = []
    /// Verbs of this agent that nothing is set up for on this node, and which are not offered for now.
    package var withheld: Set<String> = []
    /// Whether this node only reports what it would do.
    package var dryRun = false
    /// Why nothing can be executed now, such as a journal that cannot be written.
    package var obstacle: String?

    package init(identity: AgentIdentity, verbs: [VerbFacts]) {
        self.identity = identity
        precondition(
            verbs.allSatisfy { !$0.name.isEmpty && !$0.family.isEmpty },
            "verbs and families have names")
        self.verbs = Dictionary(
            verbs.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Decides about a command that has arrived on this node's subject.
    ///
    /// The order: node, agent, known verb, repeat, epoch, then for an execution: allowed here, deadline,
    /// able to act. An undo passes all of the last three: what has been done may always be taken back.
    package func judge(
        _ command: Command, known: Known, highestEpoch: Int64?, at now: Timestamp
    ) -> Verdict {
        guard command.node == identity.node else { return .notOurs }
        if let type = command.agentType, type != identity.agentType { return .notOurs }
        let isNew = command.operation == .execute && known == .unknown
        guard let verb = verbs[command.actionType], !isNew || !withheld.contains(verb.name)
        else {
            // It may have been offered when the action was begun.
            if known != .unknown, command.operation == .undo { return .undo }
            guard command.agentType != nil else { return .notOurs }
            return permanent(
                "\(Name.quoted(command.actionType)) is not a verb of \(identity.agentID) on this node"
            )
        }
        if command.operation == .execute, known != .unknown { return .answer }
        if let epoch = command.epoch, let highestEpoch, epoch < highestEpoch {
            let reason = "epoch \(epoch) is over: \(highestEpoch) has been seen"
            return command.operation == .execute ? permanent(reason) : .ignore(reason: reason)
        }
        switch command.operation {
        case .execute: return judgeExecution(command, at: now)
        case .renew: return judgeRenewal(command, known: known, at: now)
        case .undo:
            return verb.isReversible || known == .unknown || known == .waiting
                ? .undo : permanent("\(verb.name) cannot be undone")
        }
    }

    private func judgeExecution(_ command: Command, at now: Timestamp) -> Verdict {
        let verb = command.actionType
        guard !denied.contains(verb) else {
            return permanent("\(verb) is denied on this node (local.actions.deny)")
        }
        guard allowed?.contains(verb) ?? true else {
            return permanent("\(verb) is not allowed on this node (local.actions.allow)")
        }
        if let late = lateness(of: command, at: now) { return late }
        // Nothing is written and nothing changed by a dry run.
        if command.dryRun || dryRun { return .execute(dryRun: true) }
        if let obstacle { return .refuse(reason: obstacle, isTransient: true) }
        return .execute(dryRun: false)
    }

    private func judgeRenewal(_ command: Command, known: Known, at now: Timestamp) -> Verdict {
        if let late = lateness(of: command, at: now) { return late }
        switch known {
        case .recorded(.active): return .renew
        case .unknown:
            return permanent("\(Name.quoted(command.actionID)) is not in force on this node")
        case .waiting, .recorded: return .answer
        }
    }

    /// Why it is too late for a command, or far too early; `nil` when it is neither.
    package func lateness(of command: Command, at now: Timestamp) -> Verdict? {
        guard let deadline = command.deadline else { return nil }
        if now > deadline {
            return .refuse(
                reason: "the deadline \(deadline) has passed: it is \(now.inMilliseconds) here",
                isTransient: true)
        }
        guard deadline - now <= Self.deadlineHorizon else {
            return permanent(
                "the deadline \(deadline) is more than \(Self.deadlineHorizon) ahead: it is "
                    + "\(now.inMilliseconds) here")
        }
        return nil
    }

    private func permanent(_ reason: String) -> Verdict {
        .refuse(reason: reason, isTransient: false)
    }
}
