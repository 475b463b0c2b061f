package import Protocol

/// What is known of nodes and agents from their heartbeats: soft state that returns by itself.
package struct Nodes: Sendable {
    package enum Status: String, Sendable {
        case online
        /// No heartbeat for half the timeout.
        case late
        /// No heartbeat for all of it.
        case offline
    }

    package struct Agent: Sendable {
        package var heartbeat: Heartbeat
        package var lastSeen: Timestamp
        package var status: Status
    }

    package struct Node: Sendable {
        /// By agent id.
        package internal(set) var agents: [String: Agent] = [:]
    }

    /// A change that people want to hear of.
    package struct Change: Sendable, Equatable {
        package var node: String
        package var agentID: String
        /// `joined`, `late`, `offline` or `back`.
        package var change: String
        package var lastSeen: Timestamp
    }

    package internal(set) var nodes: [String: Node] = [:]
    /// Agents that were not heard of because a limit was reached.
    package internal(set) var refusedAgents = 0

    /// How many nodes, and agents of one node, are kept track of.
    package static let nodeLimit = 20_000
    package static let agentLimit = 64

    package init() {}

    /// Takes a heartbeat into account; says so when the agent is new or back.
    mutating func heard(_ heartbeat: Heartbeat, at now: Timestamp) -> Change? {
        let previous = nodes[heartbeat.node]?.agents[heartbeat.agentID]?.status
        if previous == nil {
            let node = nodes[heartbeat.node]
            guard node != nil || nodes.count < Self.nodeLimit,
                (node?.agents.count ?? 0) < Self.agentLimit
            else {
                refusedAgents += 1
                return nil
            }
        }
        nodes[heartbeat.node, default: Node()].agents[heartbeat.agentID] = Agent(
            heartbeat: heartbeat, lastSeen: now, status: .online)
        guard previous != .online else { return nil }
        return Change(
            node: heartbeat.node, agentID: heartbeat.agentID,
            change: previous == nil ? "joined" : "back", lastSeen: now)
    }

    /// Finds agents that have become late or offline.
    mutating func sweep(at now: Timestamp, timeout: Duration) -> [Change] {
        var changes: [Change] = []
        for (name, node) in nodes {
            for (id, agent) in node.agents {
                let silence = now - agent.lastSeen
                let status: Status =
                    silence >= timeout ? .offline : silence >= timeout / 2 ? .late : .online
                guard status != agent.status, status != .online else { continue }
                nodes[name]?.agents[id]?.status = status
                changes.append(
                    Change(
                        node: name, agentID: id, change: status.rawValue,
                        lastSeen: agent.lastSeen))
            }
        }
        return changes.sorted { ($0.node, $0.agentID) < ($1.node, $1.agentID) }
    }

    /// Why nobody on the node can execute an action now; `nil` when somebody can.
    package func missingExecutor(of action: String, on name: String) -> String? {
        let kind = ActionTable.kind(of: action)
        let agents = (nodes[name]?.agents ?? [:]).values.sorted {
            $0.heartbeat.agentID < $1.heartbeat.agentID
        }
        // An agent that says which verbs it offers is believed; one that does not say is taken to
        // offer what the table says of its type.
        let able = agents.filter { agent in
            if let verbs = agent.heartbeat.verbs { return verbs.contains(action) }
            return kind?.agentType == agent.heartbeat.agentType
        }
        if able.contains(where: { $0.status != .offline }) { return nil }
        if let agent = able.first {
            return "\(agent.heartbeat.agentID) is offline, last heard at \(agent.lastSeen)"
        }
        guard let agentType = kind?.agentType else { return "no executor" }
        // Nothing was ever heard from this node: the command will tell.
        if agents.isEmpty { return nil }
        return "no executor: no \(agentType) on \(name) offers \(action)"
    }
}
