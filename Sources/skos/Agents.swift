import Antibody
import LoopBreaker
import MeshHealer
import Platform
import Settings
import StorageWatcher
import ThermalSentinel

/// The agents that this program has.
enum Agents {
    /// A kind of agent: its name on the command line, and how to make one.
    struct Kind: Sendable {
        var name: String
        var make: @Sendable (Config) -> any AntibodyModule
    }

    static let kinds = [
        Kind(name: "thermal") { config in
            ThermalModule(hostRoot: HostRoot(config.hostRoot), config: config)
        },
        Kind(name: "storage") { config in
            StorageModule(hostRoot: HostRoot(config.hostRoot), config: config)
        },
        Kind(name: "mesh") { config in
            MeshModule(hostRoot: HostRoot(config.hostRoot), config: config)
        },
        Kind(name: "loop") { config in LoopModule(config: config) },
    ]

    /// The agents with these names, each once.
    static func modules(_ names: [String], _ config: Config) -> [any AntibodyModule] {
        kinds.filter { names.contains($0.name) }.map { $0.make(config) }
    }
}
