package import Protocol

/// Everything an agent must not forget: what the records of its journal add up to.
package struct Ledger: Sendable, Equatable {
    package enum Phase: Sendable, Equatable {
        /// Its undo is written; whether it has been executed is known to nobody but a running process.
        case planned
        /// Executed, and in force until it is undone.
        case active
        /// Executed without success: what it may have changed must be restored.
        case restoring
        /// Nothing of it is in force.
        case finished
    }

    package struct Entry: Sendable, Equatable {
        package var action: PlannedAction
        package var phase: Phase
        /// `nil` when it is kept until somebody takes it back.
        package var lease: Lease?
        /// What was answered and is answered again to a repeat: done, then undone.
        package var results: [CommandResult] = []

        /// Whether the node may be in a state that it has not been in before the action.
        package var mayBeInForce: Bool { phase != .finished }
    }

    /// By action id.
    package private(set) var entries: [String: Entry] = [:]
    /// The ids, oldest first.
    package private(set) var order: [String] = []
    package private(set) var highestEpoch: Int64?
    /// What was reported and has not cleared.
    package private(set) var raised: [AlertKeeper.Key: Severity] = [:]

    package init() {}

    package subscript(id: String) -> Entry? { entries[id] }

    /// The entries, oldest first.
    package var ordered: [Entry] { order.compactMap { entries[$0] } }

    /// Takes a record into account; returns whether it makes sense after those before it.
    package mutating func apply(_ record: JournalRecord) -> Bool {
        switch record {
        case .planned(let action):
            guard entries[action.id] == nil else { return false }
            insert(Entry(action: action, phase: .planned))
            raise(action.epoch)
        case .done(let id, let result, let lease):
            guard var entry = entries[id], entry.phase == .planned else { return false }
            let isReversible = entry.action.isReversible
            entry.phase =
                !isReversible ? .finished : result.outcome == .succeeded ? .active : .restoring
            entry.lease = lease
            entry.results = [result]
            if entry.phase == .finished { entry.action.undo = JSON.Object() }
            entries[id] = entry
        case .renewed(let id, let lease):
            guard entries[id]?.phase == .active else { return false }
            entries[id]?.lease = lease
        case .undone(let id, let result):
            guard var entry = entries[id], entry.phase != .finished else { return false }
            entry.phase = .finished
            entry.lease = nil
            entry.results.append(result)
            entry.action.undo = JSON.Object()
            entries[id] = entry
        case .closed(let id, let result, let keepUntil):
            guard entries[id] == nil else { return false }
            let action = PlannedAction(
                id: id, verb: result.actionType, family: "", isReversible: false,
                undo: JSON.Object(), incident: result.incident, keepUntil: keepUntil)
            insert(Entry(action: action, phase: .finished, results: [result]))
        case .epoch(let epoch): raise(epoch)
        case .raised(let key, let severity): raised[key] = severity > .ok ? severity : nil
        }
        return true
    }

    private mutating func insert(_ entry: Entry) {
        entries[entry.action.id] = entry
        order.append(entry.action.id)
    }

    /// Remembers a term, when it is the highest so far.
    package mutating func raise(_ epoch: Int64?) {
        guard let epoch else { return }
        highestEpoch = max(highestEpoch ?? epoch, epoch)
    }

    /// Takes back a record that could not be written.
    package mutating func remove(_ id: String) {
        entries[id] = nil
        order.removeAll { $0 == id }
    }

    /// Drops what nobody can ask for any more.
    package mutating func forget(at now: Timestamp) {
        guard entries.values.contains(where: { $0.isForgettable(at: now) }) else { return }
        order.removeAll { entries[$0]?.isForgettable(at: now) ?? true }
        entries = entries.filter { !$0.value.isForgettable(at: now) }
    }

    /// The shortest sequence of records that adds up to this.
    package var records: [JournalRecord] {
        var records: [JournalRecord] = []
        if let highestEpoch { records.append(.epoch(highestEpoch)) }
        for (key, severity) in raised.sorted(by: { $0.key < $1.key }) {
            records.append(.raised(key, severity))
        }
        for entry in ordered { records += entry.records }
        return records
    }
}

extension Ledger.Entry {
    fileprivate func isForgettable(at now: Timestamp) -> Bool {
        phase == .finished && action.keepUntil <= now
    }

    fileprivate var records: [JournalRecord] {
        let id = action.id
        if action.family.isEmpty, phase == .finished, let result = results.first {
            return [.closed(id: id, result, keepUntil: action.keepUntil)]
        }
        var records = [JournalRecord.planned(action)]
        for result in results {
            records.append(
                result.status == .undone
                    ? .undone(id: id, result) : .done(id: id, result, lease))
        }
        return records
    }
}
