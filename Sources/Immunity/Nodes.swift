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
        /// Of which starts of it was heard of late.
        package internal(set) var starts = Starts()

        /// What keeps it from acting, by its own word; of one that is offline nothing is known.
        package var obstacle: String? {
            guard status != .offline else { return nil }
            return heartbeat.metadata["obstacle"]?.string?.shortened(to: Limits.identifierBytes)
        }

        /// Takes a heartbeat into account, and keeps what there is room for.
        fileprivate mutating func heard(
            _ heartbeat: Heartbeat, kept: Heartbeat, at now: Timestamp
        ) {
            starts.heard(heartbeat, at: now)
            self.heartbeat = kept
            lastSeen = now
            status = .online
        }
    }

    /// What an agent was before a heartbeat: nothing when it is new.
    fileprivate struct Previous { var status: Status? }

    package struct Node: Sendable {
        /// By agent id.
        package internal(set) var agents: [String: Agent] = [:]
        /// The agent by which it was noticed that several machines go by the node's name.
        package internal(set) var ambiguousAgent: String?

        /// Takes a heartbeat into account and returns the agent's status before, if it had one; `nil`
        /// when there are too many agents.
        fileprivate mutating func heard(
            _ heartbeat: Heartbeat, at now: Timestamp, bytes: inout Int
        ) -> Previous? {
            // Only what is needed of it: its starts are to be changed in place.
            let old = agents[heartbeat.agentID].map {
                (status: $0.status, size: $0.heartbeat.size)
            }
            if old == nil, agents.count >= Nodes.agentLimit { return nil }
            bytes += heartbeat.size - (old?.size ?? 0)
            let kept = heartbeat.fitting(bytes, limit: Nodes.byteLimit)
            let new = Agent(heartbeat: kept, lastSeen: now, status: .online)
            agents[heartbeat.agentID, default: new].heard(heartbeat, kept: kept, at: now)
            return Previous(status: old?.status)
        }

        /// When any of its agents was heard last, if all are offline.
        fileprivate var offlineSince: Timestamp? {
            var latest: Timestamp?
            for agent in agents.values {
                guard agent.status == .offline else { return nil }
                latest = max(latest ?? agent.lastSeen, agent.lastSeen)
            }
            return latest
        }
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
    /// Heartbeats of new agents that were not taken into account because a limit was reached.
    package internal(set) var refusedAgents = 0
    /// Since when heartbeats are listened to.
    private var since: Timestamp?
    /// Bytes of all the messages that are kept.
    private var bytes = 0

    /// How many nodes, and agents of one node, are kept track of. When there are more nodes, those
    /// whose agents have all been offline for longest are forgotten.
    package static let nodeLimit = 20_000
    package static let agentLimit = 64
    /// How many bytes of heartbeats are kept; past that, of their metadata only the verbs. A healthy
    /// fleet of 10,000 agents needs a tenth.
    package static let byteLimit = 64 * 1024 * 1024

    package init() {}

    /// Takes a heartbeat into account; says so when the agent is new or back.
    mutating func heard(_ heartbeat: Heartbeat, at now: Timestamp) -> Change? {
        since = min(since ?? now, now)
        if nodes[heartbeat.node] == nil, nodes.count >= Self.nodeLimit {
            refusedAgents += 1
            return nil
        }
        let previous = nodes[heartbeat.node, default: Node()].heard(
            heartbeat, at: now, bytes: &bytes)
        guard let previous else {
            refusedAgents += 1
            return nil
        }
        guard previous.status != .online else { return nil }
        return Change(
            node: heartbeat.node, agentID: heartbeat.agentID,
            change: previous.status == nil ? "joined" : "back", lastSeen: now)
    }

    /// Takes what was heard in what is now the future for heard now.
    mutating func stepBack(to now: Timestamp) {
        since = since.map { min($0, now) }
        for (name, node) in nodes {
            for (id, agent) in node.agents {
                if agent.lastSeen > now { nodes[name]?.agents[id]?.lastSeen = now }
                nodes[name]?.agents[id]?.starts.stepBack(to: now)
            }
        }
    }

    /// Takes up again after a time in which nobody listened: that nothing was heard then says nothing about
    /// anybody. Who was not offline before has its whole time to be heard again.
    package mutating func resume(after gap: Duration, timeout: Duration) {
        since = gap < timeout ? since.map { $0 + gap } : nil
        for (name, node) in nodes {
            for (id, agent) in node.agents where agent.status != .offline {
                nodes[name]?.agents[id]?.lastSeen = agent.lastSeen + gap
                nodes[name]?.agents[id]?.starts.resume(after: gap)
            }
        }
    }

    /// Finds agents that have become late or offline.
    mutating func sweep(at now: Timestamp, timeout: Duration) -> [Change] {
        since = since ?? now
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
        if nodes.count >= Self.nodeLimit { forget() }
        return changes.sorted { ($0.node, $0.agentID) < ($1.node, $1.agentID) }
    }

    /// Finds nodes by whose name several machines have begun to go, or go no more.
    mutating func findNamesakes(at now: Timestamp, timeout: Duration) -> [Naming] {
        var namings: [Naming] = []
        for (name, node) in nodes
        where node.ambiguousAgent != nil || node.agents.values.contains(where: \.starts.isMixed) {
            var agents = node.agents
            for id in agents.keys { agents[id]?.starts.judge(at: now, timeout: timeout) }
            let found = agents.filter { $0.value.starts.isAmbiguous }.keys.min()
            nodes[name]?.agents = agents
            nodes[name]?.ambiguousAgent = found
            guard (found == nil) != (node.ambiguousAgent == nil),
                let agent = found ?? node.ambiguousAgent
            else { continue }
            namings.append(Naming(node: name, agentID: agent, isAmbiguous: found != nil))
        }
        return namings.sorted { $0.node < $1.node }
    }

    /// Makes room: drops the nodes that have been offline for longest, a tenth of all at most.
    private mutating func forget() {
        let gone = nodes.compactMap { name, node in node.offlineSince.map { ($0, name) } }
            .sorted { $0 < $1 }
        for (_, name) in gone.prefix(Self.nodeLimit / 10) {
            for agent in (nodes[name]?.agents ?? [:]).values { bytes -= agent.heartbeat.size }
            nodes[name] = nil
        }
    }

    /// Whether an agent of a node sends heartbeats.
    package func hears(_ agentID: String, on name: String) -> Bool {
        nodes[name]?.agents[agentID].map { $0.status != .offline } ?? false
    }

    /// The `agent_type` that is to execute an action which no kind of agent owns: of the node's agents
    /// that offer it and are not offline, the first by its id. Several may offer it, and it must be
    /// executed once. `nil` when none is known; then whoever knows the verb is meant.
    package func executor(of action: String, on name: String) -> String? {
        (nodes[name]?.agents ?? [:]).values
            .filter { agent in
                agent.status != .offline && agent.heartbeat.verbs?.contains(action) == true
            }
            .min { $0.heartbeat.agentID < $1.heartbeat.agentID }?
            .heartbeat.agentType
    }

    /// Why nobody on the node can execute an action now; `nil` when somebody can, or when it is too
    /// early to say: after a restart an agent may not have been heard yet, and the command will tell.
    package func missingExecutor(
        of action: String, on name: String, at now: Timestamp, timeout: Duration
    ) -> String? {
        let kind = ActionTable.kind(of: action)
        let agents = (nodes[name]?.agents ?? [:]).values.sorted {
            $0.heartbeat.agentID < $1.heartbeat.agentID
        }
        // An agent that says which verbs it offers is believed; one that does not say is taken to
        // offer what the table says of its type.
        let able = agents.filter { agent in
            if let verbs = agent.heartbeat.verbs {
                return ActionTable.isOffered(action, among: verbs)
            }
            return kind?.agentType == agent.heartbeat.agentType
        }
        if able.contains(where: { $0.status != .offline }) { return nil }
        if let agent = able.first {
            return "\(agent.heartbeat.agentID) is offline, last heard at \(agent.lastSeen)"
        }
        guard let agentType = kind?.agentType else { return "no executor" }
        // Nothing was ever heard from this node: the command will tell.
        if agents.isEmpty { return nil }
        if since.map({ now - $0 < timeout }) ?? true { return nil }
        return "no executor: no \(agentType) on \(name) offers \(action)"
    }
}
