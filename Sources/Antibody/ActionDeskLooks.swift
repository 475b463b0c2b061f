import Protocol

/// Looks at actions in force: whether somebody else has changed what they have set.
///
/// What somebody else has changed is theirs. The action is over then, and says so with the outcome
/// `superseded`: it is not done again, and taking it back leaves the foreign value alone.
extension ActionDesk {
    /// Time between two looks at one action.
    package static let lookInterval: Duration = .seconds(5)
    /// How many looks in a row must find it changed: one may meet a driver that has a new limit to sort
    /// out, or a program that tries something.
    static let lookLimit = 2

    /// When to look at an action next, and how often it was found changed by now.
    struct Look: Sendable {
        var next: Duration
        var changes = 0
    }

    /// Has an action looked at from now on, if its verb can tell anything.
    mutating func watch(_ id: String, at now: Moment) {
        guard let entry = ledger[id], gate.verbs[entry.action.verb]?.isObservable == true else {
            return
        }
        looks[id] = Look(next: now.boot + Self.lookInterval)
    }

    /// Looks at the action that is due, when there is nothing else to do.
    mutating func startLook(at now: Moment, _ directives: inout [Directive]) {
        guard !isStopping, !looks.isEmpty else { return }
        for id in looks.keys where ledger[id]?.phase != .active || undoTasks[id] != nil {
            looks[id] = nil
        }
        let due = looks.filter { $0.value.next <= now.boot }
            .min { ($0.value.next, $0.key) < ($1.value.next, $1.key) }
        guard let due, let entry = ledger[due.key] else { return }
        let number = begin(.looking(due.key), at: now)
        directives.append(
            .look(
                number, verb: entry.action.verb, undo: entry.action.undo,
                effect: entry.results.first?.effect ?? [:]))
    }

    mutating func looked(_ foreignChange: String?, at now: Moment) {
        guard let job, case .looking(let id) = job.kind else { return }
        self.job = nil
        guard ledger[id]?.phase == .active, undoTasks[id] == nil else { return looks[id] = nil }
        let changes = foreignChange == nil ? 0 : (looks[id]?.changes ?? 0) + 1
        guard let foreignChange, changes >= Self.lookLimit else {
            return looks[id] = Look(next: now.boot + Self.lookInterval, changes: changes)
        }
        looks[id] = nil
        scheduleUndo(id, foreignChange, at: now)
        undoTasks[id]?.isSuperseded = true
    }

    /// Whether an action is being executed or taken back right now.
    func isAtWork(on id: String) -> Bool {
        guard let job else { return false }
        if case .looking = job.kind { return false }
        return job.actionID == id
    }
}
