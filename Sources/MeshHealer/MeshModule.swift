package import Antibody
package import Platform
package import Protocol
package import Settings

/// The mesh healer: whether WireGuard's tunnels carry, and how to mend them.
package final class MeshModule: AntibodyModule {
    package let name = "mesh"
    package let agentType = "mesh_healer"

    /// The module of this node.
    package init(hostRoot: HostRoot, config: Config) {}

    package func verbs() -> [any Verb] { [] }

    package func sample(at now: Timestamp) async -> Sample { Sample() }

    package func apply(_ config: Config) {}
}
