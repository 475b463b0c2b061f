extension Config {
    /// The part of the file that is never taken from the bus: what may be executed, deleted or called
    /// on this node.
    package struct Local: Sendable, Equatable {
        /// Actions this node executes; `nil`: all that its agents know.
        package var allowedActions: Set<String>?
        /// Actions this node never executes; stronger than `allowedActions`.
        package var deniedActions: Set<String> = []
        /// When set, this node's agents only report what they would do.
        package var dryRun = false
        /// What `cleanup_temp` may delete.
        package var cleanupTemp = Cleanup(
            roots: ["/tmp", "/var/tmp"], patterns: ["*"], minAge: .seconds(86_400))
        /// What `cleanup_logs` may delete.
        package var cleanupLogs = Cleanup(
            roots: ["/var/log"], patterns: ["*.gz", "*.[0-9]"], minAge: .seconds(86_400))
        /// To how many bytes `cleanup_logs` cuts systemd's journal; 0: it is left alone.
        package var journalMax: Int64 = 500 << 20
        /// What `archive_old_data` may move, and where to.
        package var archive = Archive()
        /// Whom to tell when a human is needed.
        package var alertHuman = AlertHuman()
        /// What the mesh healer may touch.
        package var mesh = MeshRights()
        /// What `shutdown_non_essential` stops, in this order; without any the action is not offered.
        package var nonEssential: [NonEssential] = []

        package init() {}
    }

    /// Files that an action may delete: below one of the roots, matching one of the patterns, old enough.
    package struct Cleanup: Sendable, Equatable {
        /// Absolute directories; nothing outside them is ever touched, and without any nothing at all.
        package var roots: [String]
        /// Shell patterns (`*`, `?`, `[…]`) for a file's name, without its directory.
        package var patterns: [String]
        /// Least time since a file was last changed.
        package var minAge: Duration

        package init(roots: [String], patterns: [String], minAge: Duration) {
            self.roots = roots
            self.patterns = patterns
            self.minAge = minAge
        }
    }

    /// Old data that may be moved into archives.
    package struct Archive: Sendable, Equatable {
        /// Absolute directories whose files may be archived; none: the action is not offered.
        package var roots: [String] = []
        /// Shell patterns for a file's name.
        package var patterns: [String] = ["*"]
        /// Least time since a file was last changed.
        package var minAge: Duration = .seconds(30 * 86_400)
        /// An absolute directory on another file system; empty: the action is not offered.
        package var destination = ""

        package init() {}
    }

    /// A webhook for what needs a human.
    package struct AlertHuman: Sendable, Equatable {
        /// `http` or `https`; empty: only the event on NATS.
        package var url = ""
        package var format = WebhookFormat.json

        package init() {}
    }

    package enum WebhookFormat: String, Sendable, CaseIterable { case json, ntfy, slack }

    /// What the mesh healer may touch on this node.
    package struct MeshRights: Sendable, Equatable {
        /// Interfaces that may be restarted or configured anew, as shell patterns.
        package var restart = ["wg*"]
        /// Routes that `failover_route` may replace.
        package var routes: [FailoverRoute] = []

        package init() {}
    }

    /// A route that moves to another way while a peer is unreachable.
    package struct FailoverRoute: Sendable, Equatable {
        /// The destination, such as `10.88.0.0/24`.
        package var prefix: String
        /// The peer's public key whose loss it stands in for; empty: any peer of `interface`.
        package var peer = ""
        /// The interface whose peer it stands in for.
        package var interface = ""
        /// The next hop of the other way; empty: directly on `device`.
        package var via = ""
        /// The device of the other way.
        package var device: String
        /// Metric and table of the replaced route, exactly.
        package var metric = 0
        package var table = 254

        package init(prefix: String, device: String) {
            self.prefix = prefix
            self.device = device
        }
    }

    /// Something that a node can do without for a while.
    package enum NonEssential: Sendable, Equatable {
        /// A systemd unit.
        case unit(String)
        /// A container, by name.
        case container(String)
        /// Programs with their arguments: `stop` is run to stop it, `start` to start it again, and
        /// `check`, where there is one, ends with 0 while it runs.
        case hook(name: String, stop: [String], start: [String], check: [String]?)
    }
}
