package import Antibody
package import Protocol
package import Settings

/// The loop breaker: chains of messages that do not end, and how to stop them.
package final class LoopModule: AntibodyModule {
    package let name = "loop"
    package let agentType = "loop_breaker"

    /// The module of this node.
    package init(config: Config) {}

    package func verbs() -> [any Verb] { [] }

    package func sample(at now: Timestamp) async -> Sample { Sample() }

    package func apply(_ config: Config) {}
}
