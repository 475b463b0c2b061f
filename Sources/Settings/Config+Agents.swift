extension Config {
    /// What the storage watcher watches. Thresholds are in percent of what ordinary users can use.
    package struct Storage: Sendable, Equatable {
        /// Of space.
        package var thresholds = Levels(warning: 80, critical: 90, emergency: 95)
        /// A severity is left only below its clear threshold.
        package var clear = Levels(warning: 75, critical: 85, emergency: 90)
        /// Of inodes; as for space where nothing else is said.
        package var inodeThresholds = Levels(warning: 80, critical: 90, emergency: 95)
        package var inodeClear = Levels(warning: 75, critical: 85, emergency: 90)
        /// How long a threshold must be exceeded before an alert is raised (`for:`).
        package var holdFor: Duration = .zero
        /// Mount points that are watched, as patterns: `*` stops at a slash, `**` does not.
        package var include = ["/**"]
        /// Mount points that are not, whatever `include` says.
        package var exclude: [String] = []
        /// A warning is raised when a file system would be full within this time, were it to go on
        /// filling as it does; zero: none.
        package var forecast: Duration = .seconds(3 * 3600)

        package init() {}
    }

    /// What the mesh healer watches.
    package struct Mesh: Sendable, Equatable {
        /// WireGuard interfaces, as shell patterns.
        package var interfaces = ["wg*"]
        /// Time between two echoes through a tunnel.
        package var probeInterval: Duration = .seconds(5)

        package init() {}
    }

    /// What the loop breaker watches, and how much it allows a chain.
    package struct Loop: Sendable, Equatable {
        /// Subjects, with wildcards; none: only programs that ask are judged.
        package var watch = ["synthesis.>"]
        package var limits = LoopLimits()
        /// How long a broken chain or pair stays broken before one trial is let through.
        package var cooldown: Duration = .seconds(60)
        /// The subjects that the relay takes messages from (`synthesis.in.>`); `nil`: no relay.
        package var relay: Relay?

        package init() {}
    }

    /// What a chain of messages may do. A limit of 0 means: none.
    package struct LoopLimits: Sendable, Equatable {
        /// Hops from the first message of a chain.
        package var depth = 10
        /// Messages of one chain.
        package var iterations = 100
        /// Tokens that the messages of one chain say they have used, together.
        package var tokens = 0
        /// Messages that one message may cause.
        package var fanOut = 0
        /// Messages of one chain in a minute.
        package var rate = 0
        /// How often similar content may come again in one chain within ten minutes.
        package var repeats = 3

        package init() {}
    }

    /// Passes messages on for programs that do not ask: `source` to `target`, both ending in `.>`.
    package struct Relay: Sendable, Equatable {
        package var source: String
        package var target: String

        package init(source: String, target: String) {
            self.source = source
            self.target = target
        }
    }
}
