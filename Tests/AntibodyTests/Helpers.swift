import Antibody
import Foundation
import Protocol

let identity = AgentIdentity(
    name: "lamp", agentType: "lamp_keeper", node: "nova", startID: "1f", started: at(0),
    bootID: "boot-1")

/// A time in seconds after some morning.
func at(_ seconds: Double) -> Timestamp {
    Timestamp(seconds: 1_700_000_000) + .milliseconds(Int64(seconds * 1000))
}

/// A moment `seconds` after that morning; the node was started 1000 s before.
func moment(_ seconds: Double) -> Moment {
    Moment(wall: at(seconds), boot: .milliseconds(Int64(1_000_000 + seconds * 1000)))
}

func command(
    _ id: String, _ verb: String = "dim_50", _ operation: Command.Operation = .execute,
    epoch: Int64? = 1, deadline: Double? = 30, lease: Duration? = .seconds(120)
) -> Command {
    var command = Command(actionID: id, actionType: verb, node: "nova", operation: operation)
    command.epoch = epoch
    command.deadline = deadline.map(at)
    command.lease = lease
    command.timestamp = at(0)
    return command
}

let facts = [
    VerbFacts(name: "dim_10", family: "dim", isReversible: true),
    VerbFacts(name: "dim_50", family: "dim", isReversible: true),
    VerbFacts(name: "ring", family: "bell", isReversible: false),
]

func result(
    _ id: String, _ status: CommandResult.Status, _ outcome: CommandResult.Outcome? = nil
) -> CommandResult {
    CommandResult(
        actionID: id, actionType: "dim_50", node: "nova", status: status, outcome: outcome)
}

func planned(_ id: String, epoch: Int64? = nil, isReversible: Bool = true) -> JournalRecord {
    .planned(
        PlannedAction(
            id: id, verb: "dim_50", family: "dim", isReversible: isReversible,
            undo: ["level": 100, "note": "line\nbreak"], incident: "i1", epoch: epoch,
            keepUntil: at(3630)))
}

/// A directory that goes with the value.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        path = NSTemporaryDirectory() + "skos-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
