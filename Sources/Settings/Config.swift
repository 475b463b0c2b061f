package import Protocol

/// The whole validated configuration: `config.yaml` with the environment's overrides applied.
///
/// A value of this type satisfies every rule of docs/configuration.md; code that reads it need not
/// check anything again.
package struct Config: Sendable, Equatable {
    /// Where NATS is and who may be told.
    package var nats = NATS()
    /// Who this node is (`NODE_NAME`, `node.name`; default: the host's name).
    package var nodeName = "localhost"
    /// Time between two heartbeats of an agent (`HEARTBEAT_INTERVAL`).
    package var heartbeatInterval: Duration = .seconds(5)
    /// Time between two samples of an agent (`MONITOR_INTERVAL`).
    package var monitorInterval: Duration = .seconds(5)
    /// How often an alert is repeated while its symptom lasts.
    package var repeatInterval: Duration = .seconds(60)
    /// Where the undo journal and other state of this node is kept (`SKOS_STATE_DIR`).
    package var stateDirectory = "/var/lib/skos"
    /// A prefix before `/sys`, `/proc` … of the host; empty outside containers (`SKOS_HOST_ROOT`).
    package var hostRoot = ""
    package var log = Log()
    package var thermal = Thermal()
    package var storage = Storage()
    package var mesh = Mesh()
    package var loop = Loop()
    /// What may be executed on this node; only ever from the node's own file.
    package var local = Local()
    /// The compiled rules of all sections.
    package var policySet = PolicySet()
    /// What is known of the nodes that may take part; `nil`: any node may, and nothing is known.
    package var nodes: [String: Node]?

    package init() {}

    package struct NATS: Sendable, Equatable {
        /// Servers to try, in any order (`NATS_URL`, separated by commas).
        package var urls = ["nats://localhost:4222"]
        /// A credentials file for NATS, or `nil` (`NATS_CREDENTIALS`).
        package var credentialsFile: String?

        package init() {}
    }

    package struct Log: Sendable, Equatable {
        package var level = LogLevel.info
        package var format = LogFormat.text

        package init() {}
    }

    package enum LogLevel: String, Sendable, CaseIterable { case debug, info, warning, error }

    package enum LogFormat: String, Sendable, CaseIterable { case text, json }

    /// Thresholds of the thermal sentinel, in degrees Celsius.
    package struct Thermal: Sendable, Equatable {
        /// An alert of a severity is raised at or above its threshold.
        package var thresholds = Levels(warning: 75, critical: 85, emergency: 95)
        /// A severity is left only below its clear threshold, so that it does not flap.
        package var clear = Levels(warning: 70, critical: 80, emergency: 90)
        /// How long a threshold must be exceeded before an alert is raised (`for:`).
        package var holdFor: Duration = .zero

        package init() {}
    }

    /// One value per severity, ascending: degrees Celsius, or percent.
    package struct Levels: Sendable, Equatable {
        package var warning: Double
        package var critical: Double
        package var emergency: Double

        package init(warning: Double, critical: Double, emergency: Double) {
            self.warning = warning
            self.critical = critical
            self.emergency = emergency
        }
    }

    /// What `nodes:` says of one node.
    package struct Node: Sendable, Equatable {
        /// What the node is for, in the operator's words.
        package var role: String?
        /// Names and values of the operator's own.
        package var labels: [String: String] = [:]

        package init() {}
    }
}
