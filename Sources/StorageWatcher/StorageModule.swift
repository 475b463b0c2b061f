package import Antibody
package import Platform
package import Protocol
package import Settings

/// The storage watcher: how full this node's file systems are, and how to make room.
package final class StorageModule: AntibodyModule {
    package let name = "storage"
    package let agentType = "storage_watcher"

    /// The module of this node.
    package init(hostRoot: HostRoot, config: Config) {}

    package func verbs() -> [any Verb] { [] }

    package func sample(at now: Timestamp) async -> Sample { Sample() }

    package func apply(_ config: Config) {}
}
