import Protocol

/// Actions that no incident has asked for, such as a command by hand: of these only the agents know.
extension Nodes {
    /// An agent that says it has an action in force.
    struct Holder {
        var heartbeat: Heartbeat
        /// The action, such as `throttle_50`.
        var verb: String
        var isOffline: Bool
    }

    /// The agents that have an action in force by their last heartbeats, in order of nodes and agents.
    func holders(of actionID: String) -> [Holder] {
        nodes.values.flatMap { node in node.agents.values.compactMap { $0.holder(of: actionID) } }
            .sorted { left, right in
                (left.heartbeat.node, left.heartbeat.agentID)
                    < (right.heartbeat.node, right.heartbeat.agentID)
            }
    }
}

extension Nodes.Agent {
    fileprivate func holder(of actionID: String) -> Nodes.Holder? {
        for entry in heartbeat.metadata["active"]?.array ?? [] {
            guard let entry = entry.object, entry["action_id"]?.string == actionID,
                let verb = entry["action_type"]?.string, Name.isValid(verb)
            else { continue }
            return Nodes.Holder(
                heartbeat: heartbeat, verb: verb, isOffline: status == .offline)
        }
        return nil
    }
}

extension Immunity {
    /// What an operator's undo of an action by hand comes to: in words, and the commands that take it back.
    func undoByHand(of id: String, at now: Timestamp) -> (outcome: String, commands: [Command]) {
        let holders = nodes.holders(of: id)
        let heard = holders.filter { !$0.isOffline }
        guard !heard.isEmpty else {
            guard let holder = holders.first else { return ("nothing in force under \(id)", []) }
            let (agent, node) = (holder.heartbeat.agentID, holder.heartbeat.node)
            return (
                "\(id) is in force on \(node), but \(agent) is offline: start it there, and ask again",
                []
            )
        }
        let places = heard.map { "\($0.verb) on \($0.heartbeat.node)" }
        let commands = heard.prefix(Self.listed).map { holder in
            var command = Command(
                actionID: id, actionType: holder.verb, node: holder.heartbeat.node,
                operation: .undo)
            command.agentType = holder.heartbeat.agentType
            command.timestamp = now.inMilliseconds
            command.epoch = epoch
            return command
        }
        return ("undoing \(id): \(Self.list(places))", Array(commands))
    }
}
