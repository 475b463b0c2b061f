import Protocol
package import Settings

/// The actions that belong to the node and to no kind of agent. In a process with several agents the
/// first of them offers these; where a node has several processes, the coordinator names one agent.
package final class NodeActions: Sendable {
    private let shutdown: ShutdownVerb

    /// - `control`: how things are stopped and started, and `times`: how long that may take.
    package init(
        _ config: Config, control: any ThingControl = NodeControl(),
        times: ShutdownVerb.Times = ShutdownVerb.Times()
    ) {
        shutdown = ShutdownVerb(config.local.nonEssential, control: control, times: times)
    }

    package var verbs: [any Verb] { [shutdown] }

    /// Takes over what the node's own file lists now.
    package func apply(_ config: Config) { shutdown.list(config.local.nonEssential) }

    /// The actions that nothing is set up for, and which are not offered.
    static func withheld(_ config: Config) -> Set<String> {
        config.local.nonEssential.isEmpty ? [ShutdownVerb.action] : []
    }
}
