import Protocol

/// The starts of one agent that were heard of late: whether two machines go by one name.
///
/// Every start of an agent has a random id (`start_id`), and a restart never goes back to an earlier one.
/// Two machines with one name, such as clones of one image, do so all the time: their heartbeats, and
/// with them the ids, alternate. So what gives them away is that two starts live at the same time.
///
/// Around a restart that may seem so, too: the last heartbeats of the old start can arrive after the first
/// of the new one, doubled or in another order. Therefore both must have been heard with new heartbeats
/// half a timeout after both were first heard: by then an agent that says no more counts as late, and
/// nothing that it had said before is still under way. And each must have returned twice after another
/// one, lest one bundle of messages that was stuck somewhere for longer passes for a life. An agent in a
/// restart loop has ever new ids, none of which lives beside the next.
///
/// Of many clones the few that are remembered return as well as all would; the others make them no room
/// before they have been silent for the timeout.
package struct Starts: Sendable {
    private struct Start: Sendable {
        var id: String
        /// The number of its newest heartbeat, if it counts them.
        var sequence: Int64?
        var firstSeen: Timestamp
        var lastSeen: Timestamp
        /// How often it was heard after another one.
        var returns = 0
    }

    /// How many starts are remembered.
    static let limit = 4
    /// How long an id may be; SKOS' own have 16 digits.
    static let idLimit = 64
    /// How often each of two starts must have returned.
    static let returnLimit = 2

    private var starts: [Start] = []
    /// The start heard last, also when it is not among those remembered.
    private var last: String?

    /// Whether several machines go by this agent's name.
    package private(set) var isAmbiguous = false

    package init() {}

    /// Whether there is anything that `judge` could find.
    var isMixed: Bool { starts.count > 1 }

    /// Takes a heartbeat into account. One that does not say which start it is of says nothing.
    mutating func heard(_ heartbeat: Heartbeat, at now: Timestamp) {
        guard let id = heartbeat.metadata["start_id"]?.string, id.utf8.count <= Self.idLimit
        else { return }
        let sequence = heartbeat.metadata["sequence"]?.integer
        guard let index = starts.firstIndex(where: { $0.id == id }) else {
            last = id
            guard starts.count < Self.limit else { return }
            return starts.append(
                Start(id: id, sequence: sequence, firstSeen: now, lastSeen: now))
        }
        // Late or doubled: it says nothing about now.
        if let sequence, let newest = starts[index].sequence, sequence <= newest { return }
        starts[index].sequence = sequence
        starts[index].lastSeen = now
        guard last != id else { return }
        last = id
        starts[index].returns = min(starts[index].returns + 1, Self.returnLimit)
    }

    /// Forgets the starts that have not been heard for the timeout, and judges the others.
    mutating func judge(at now: Timestamp, timeout: Duration) {
        starts.removeAll { now - $0.lastSeen >= timeout }
        guard isMixed else { return isAmbiguous = false }
        if isAmbiguous { return }
        let returned = starts.filter { $0.returns >= Self.returnLimit }
        isAmbiguous = returned.contains { one in
            returned.contains { other in
                one.id != other.id
                    && min(one.lastSeen, other.lastSeen) - max(one.firstSeen, other.firstSeen)
                        >= timeout / 2
            }
        }
    }

    /// Leaves out a time in which nobody listened.
    mutating func resume(after gap: Duration) {
        for index in starts.indices {
            starts[index].firstSeen = starts[index].firstSeen + gap
            starts[index].lastSeen = starts[index].lastSeen + gap
        }
    }

    /// Takes what was heard in what is now the future for heard now.
    mutating func stepBack(to now: Timestamp) {
        for index in starts.indices {
            starts[index].firstSeen = min(starts[index].firstSeen, now)
            starts[index].lastSeen = min(starts[index].lastSeen, now)
        }
    }
}

/// Nodes by whose name several machines go.
extension Nodes {
    /// A node became ambiguous, or is no more.
    struct Naming: Sendable, Equatable {
        var node: String
        /// The agent that it was noticed by.
        var agentID: String
        var isAmbiguous: Bool
    }

    /// Why nothing may be asked of a node: whatever it is, several machines would do it.
    package func ambiguity(of name: String) -> String? {
        guard nodes[name]?.ambiguousAgent != nil else { return nil }
        return "two machines call themselves \(name); give each its own NODE_NAME"
    }
}

extension Immunity {
    /// Says once for each episode, and records, that two machines go by one name; and says its end.
    mutating func tell(_ naming: Nodes.Naming, _ turn: inout Turn) {
        let reason = nodes.ambiguity(of: naming.node)
        if let reason {
            reject(
                Rejection(
                    subject: Subjects.heartbeat(naming.node), node: naming.node,
                    field: "metadata.start_id",
                    reason: "\(reason); until then nothing is done there",
                    excerpt: naming.agentID),
                &turn)
        }
        var event: JSON.Object = [
            "node": .string(naming.node), "agent_id": .string(naming.agentID),
        ]
        event["reason"] = reason.map(JSON.string)
        event["timestamp"] = .string(turn.time.description)
        turn.directives.append(
            .publish(type: naming.isAmbiguous ? "node_ambiguous" : "node_unambiguous", event))
    }
}
