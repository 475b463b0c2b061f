import Immunity
import Protocol

/// An agent of a simulated node: executes commands once, keeps a journal over restarts, holds leases,
/// and undoes by itself what is not renewed.
struct SimulatedAgent {
    enum Entry {
        /// In force until the lease ends; `nil`: until undone.
        case active(CommandResult, until: Timestamp?)
        /// Answered, and nothing of it is in force.
        case over([CommandResult])
    }

    let node: String
    /// How far its clock is ahead.
    let skew: Duration
    private(set) var journal: [String: Entry] = [:]
    private(set) var highestEpoch: Int64 = .min
    /// How often each action was really executed.
    private(set) var executions: [String: Int] = [:]

    init(node: String, skew: Duration) {
        self.node = node
        self.skew = skew
    }

    /// The actions that still change the node, with whether they have a lease.
    var inForce: [(id: String, isLeased: Bool)] {
        journal.compactMap { id, entry in
            guard case .active(_, let until) = entry else { return nil }
            return (id, until != nil)
        }
        .sorted { $0.id < $1.id }
    }

    mutating func receive(
        _ command: Command, at now: Timestamp, _ dice: inout Dice
    ) -> [CommandResult] {
        if command.operation == .execute, let entry = journal[command.actionID] {
            return answer(entry)
        }
        if let epoch = command.epoch {
            guard epoch >= highestEpoch else {
                return command.operation == .execute
                    ? [result(command, .refused, reason: "epoch \(epoch) is over")] : []
            }
            highestEpoch = epoch
        }
        switch command.operation {
        case .execute: return execute(command, at: now, &dice)
        case .renew: return renew(command, at: now)
        case .undo: return undo(command)
        }
    }

    private func answer(_ entry: Entry) -> [CommandResult] {
        switch entry {
        case .active(let result, _): [result]
        case .over(let results): results
        }
    }

    private mutating func execute(
        _ command: Command, at now: Timestamp, _ dice: inout Dice
    ) -> [CommandResult] {
        if let deadline = command.deadline, now > deadline {
            return [result(command, .refused, .transientFailure, reason: "too late")]
        }
        if dice.chance(1, of: 12) {
            var busy = result(command, .refused, .transientFailure, reason: "busy")
            busy.isBusy = true
            return [busy]
        }
        let accepted = dice.chance(1, of: 2) ? [result(command, .accepted)] : []
        var done = result(command, .done, .succeeded)
        if command.dryRun {
            done.dryRun = true
            journal[command.actionID] = .over([done])
            return accepted + [done]
        }
        executions[command.actionID, default: 0] += 1
        switch dice.roll(1...10) {
        case 1: done.outcome = .transientFailure
        case 2: done.outcome = .permanentFailure
        case 3: break
        default:
            done.undo = ["before": 1]
            journal[command.actionID] = .active(done, until: command.lease.map { now + $0 })
            return accepted + [done]
        }
        journal[command.actionID] = .over([done])
        return accepted + [done]
    }

    private mutating func renew(_ command: Command, at now: Timestamp) -> [CommandResult] {
        switch journal[command.actionID] {
        case .active(let result, _):
            journal[command.actionID] = .active(result, until: command.lease.map { now + $0 })
            return []
        case .over(let results): return results
        case nil: return [result(command, .refused, reason: "not in force on this node")]
        }
    }

    private mutating func undo(_ command: Command) -> [CommandResult] {
        var undone = result(command, .undone)
        undone.isAsked = true
        switch journal[command.actionID] {
        case .active(let result, _): journal[command.actionID] = .over([result, undone])
        case .over(let results):
            if let last = results.last, last.status == .undone { return [last] }
            journal[command.actionID] = .over(results + [undone])
        case nil: journal[command.actionID] = .over([undone])
        }
        return [undone]
    }

    /// Undoes what has not been renewed.
    mutating func expireLeases(at now: Timestamp) -> [CommandResult] {
        var results: [CommandResult] = []
        for (id, entry) in journal.sorted(by: { $0.key < $1.key }) {
            guard case .active(let result, let until?) = entry, until <= now else { continue }
            var undone = result
            undone.status = .undone
            undone.reason = "the lease ran out"
            undone.undo = nil
            // Of some, somebody else has changed what they had set.
            if id.hasSuffix("7") { (undone.outcome, undone.isAsked) = (.superseded, true) }
            journal[id] = .over([result, undone])
            results.append(undone)
        }
        return results
    }

    private func result(
        _ command: Command, _ status: CommandResult.Status,
        _ outcome: CommandResult.Outcome? = nil, reason: String? = nil
    ) -> CommandResult {
        CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: node,
            status: status, outcome: outcome, reason: reason)
    }
}
