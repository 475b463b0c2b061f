package import Protocol
import Runtime

/// Who an agent is, in its messages and in its files.
package struct AgentIdentity: Sendable, Equatable {
    /// The name on the command line, such as `thermal`; also of its files.
    package let name: String
    /// The `agent_type` of its messages, such as `thermal_sentinel`.
    package let agentType: String
    package let node: String
    /// Unique for each start of the program: what is numbered by one process is unique in the fleet.
    package let startID: String
    /// When it started.
    package let started: Timestamp
    /// The kernel's name of this boot. When the kernel does not say, a name that no later process has,
    /// so that nothing is taken for a leftover of this boot.
    package let bootID: String

    /// Names for one start of an agent.
    package init(
        name: String, agentType: String, node: String, startID: String, started: Timestamp,
        bootID: String
    ) {
        self.name = name
        self.agentType = agentType
        self.node = node
        self.startID = startID
        self.started = started
        self.bootID = bootID
    }

    /// The identity of a module's agent in a process that starts now.
    init(of module: any AntibodyModule, node: String, clock: SteadyClock) {
        let random = String(UInt64.random(in: .min ... .max), radix: 16)
        self.init(
            name: module.name, agentType: module.agentType, node: node, startID: random,
            started: clock.now(), bootID: SteadyClock.bootID() ?? "unknown-\(random)")
    }

    /// `thermal-sentinel-nova`, as the seed's agents call themselves.
    package var agentID: String {
        String(agentType.map { $0 == "_" ? "-" : $0 }) + "-" + node
    }
}

/// A point in time by both clocks an agent needs.
package struct Moment: Sendable, Equatable {
    /// For deadlines, which others set.
    package var wall: Timestamp
    /// Since the machine started, for leases and pauses: no one can set it.
    package var boot: Duration

    package init(wall: Timestamp, boot: Duration) {
        self.wall = wall
        self.boot = boot
    }
}
