import Protocol

/// The one description of `config.yaml`: its keys, their kinds, units, limits, defaults and meaning.
///
/// Decoding, did-you-mean, `config.schema.json` and the tables of docs/configuration.md all come from
/// here. Defaults are those of the types they end up in.
enum Schema {
    /// The top level of the file.
    static let root = Section(
        keys: general + [nats, log, thermal, storage, mesh, loop] + rules + [nodes, local])

    /// Bounds of durations in sections, so that a slip of a digit is found.
    static let interval: ClosedRange<Duration> = .milliseconds(10) ... .seconds(3600)
    static let span: ClosedRange<Duration> = .zero ... .seconds(7 * 86_400)
    static let positiveSpan: ClosedRange<Duration> = .milliseconds(10) ... .seconds(7 * 86_400)
    /// How old a file must be; people keep some things for years.
    static let ages: ClosedRange<Duration> = .zero ... .seconds(3650 * 86_400)
    /// Entries of a list of actions, servers, severities, patterns and the like.
    static let listLimit = 32
    /// Policies under `policies:`.
    static let policyLimit = 500
    /// Nodes under `nodes:`.
    static let nodeLimit = 5_000
    /// Labels of one node.
    static let labelLimit = 32

    static let config = Config()
    static let set = PolicySet()

    // MARK: The program as a whole

    private static let general: [Key] = [
        Key(
            "version", .integer(1...1), default: 1,
            "The version of this format; there is only one."),
        Key(
            "node",
            .section(
                Section(
                    keys: [
                        Key(
                            "name", .text(.name("a node name")),
                            otherwise: "the host's name", variable: "NODE_NAME",
                            "Who this node is, in subjects and records.")
                    ])),
            "This node."),
        Key(
            "heartbeat_interval", .duration(interval),
            default: .duration(config.heartbeatInterval), variable: "HEARTBEAT_INTERVAL",
            "Time between two heartbeats of an agent."),
        Key(
            "heartbeat_timeout", .duration(positiveSpan),
            default: .duration(set.heartbeatTimeout), variable: "HEARTBEAT_TIMEOUT",
            "An agent is late after half of this without a heartbeat, and offline after all of it."),
        Key(
            "monitor_interval", .duration(interval), default: .duration(config.monitorInterval),
            variable: "MONITOR_INTERVAL", alsoTried: ["poll_interval", "sample_interval"],
            "Time between two samples of a sensor."),
        Key(
            "repeat_interval", .duration(interval), default: .duration(config.repeatInterval),
            "How often an alert is repeated while its symptom lasts."),
        Key(
            "state_dir", .text(.path("a path")), default: .string(config.stateDirectory),
            variable: "SKOS_STATE_DIR", alsoTried: ["state_directory"],
            "Where this node keeps its undo journal and other state."),
        Key(
            "host_root", .text(.path("an absolute path", mustBeAbsolute: true)),
            otherwise: "no prefix", variable: "SKOS_HOST_ROOT",
            "A prefix before the host's /sys, /proc and so on; /host in containers."),
        Key(
            "dry_run", .flag, default: .bool(set.dryRun),
            "Decide and record as always, but let every agent only report what it would do."),
    ]

    private static let nats = Key(
        "nats",
        .section(
            Section(
                keys: [
                    Key(
                        "url", .text(.address), otherwise: "see urls",
                        "The server, where there is one; instead of urls."),
                    Key(
                        "urls",
                        .list(.text(.address), most: listLimit, example: "[nats://localhost:4222]"),
                        otherwise: config.nats.urls.joined(separator: ", "),
                        variable: "NATS_URL", alsoTried: ["servers"],
                        "The servers to try, in any order (in the variable separated by commas)."),
                    Key(
                        "credentials", .text(.path("a path")), otherwise: "none",
                        variable: "NATS_CREDENTIALS", alsoTried: ["creds", "credentials_file"],
                        "A credentials file for NATS."),
                ])),
        "Where NATS is.")

    private static let log = Key(
        "log",
        .section(
            Section(
                keys: [
                    Key(
                        "level",
                        .choice(
                            Choice(
                                values: Config.LogLevel.allCases.map(\.rawValue),
                                synonyms: [
                                    "warn": "warning", "critical": "error", "fatal": "error",
                                    "trace": "debug",
                                ])),
                        default: .string(config.log.level.rawValue), variable: "LOG_LEVEL",
                        "The least that is written."),
                    Key(
                        "format",
                        .choice(Choice(values: Config.LogFormat.allCases.map(\.rawValue))),
                        default: .string(config.log.format.rawValue), variable: "LOG_FORMAT",
                        "One line of text, or one JSON object on a line."),
                ])),
        "What is written to standard error.")

    // MARK: Nodes

    private static let nodes = Key(
        "nodes",
        .dictionary(
            names: .name("a node name"),
            .section(
                Section(
                    keys: [
                        Key(
                            "role", .text(.name("a role")), otherwise: "none",
                            "What the node is for."),
                        Key(
                            "labels",
                            .dictionary(
                                names: .name("a label"), .text(.label), most: labelLimit),
                            otherwise: "none", "Names and values of your own."),
                    ], mayBeEmpty: true)), most: nodeLimit),
        otherwise: "any node may take part",
        "The nodes that may take part.")
}
