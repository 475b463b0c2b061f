import Protocol

/// The one description of `config.yaml`: its keys, their kinds, units, limits, defaults and meaning.
///
/// Decoding, did-you-mean, `config.schema.json` and the tables of docs/configuration.md all come from
/// here. Defaults are those of the types they end up in.
enum Schema {
    /// The top level of the file.
    static let root = Section(
        keys: general + [nats, log, thermal] + rules + [nodes, local])

    /// Bounds of durations in sections, so that a slip of a digit is found.
    static let interval: ClosedRange<Duration> = .milliseconds(10) ... .seconds(3600)
    static let span: ClosedRange<Duration> = .zero ... .seconds(7 * 86_400)
    static let positiveSpan: ClosedRange<Duration> = .milliseconds(10) ... .seconds(7 * 86_400)
    /// Entries of a list of actions, servers or severities.
    static let listLimit = 32
    /// Policies under `policies:`.
    static let policyLimit = 500
    /// Nodes under `nodes:`.
    static let nodeLimit = 5_000
    /// Labels of one node.
    static let labelLimit = 32

    private static let config = Config()
    private static let set = PolicySet()
    private static let policy = Policy(type: "", severity: .ok, ladder: [])

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

    // MARK: Rules

    private static let rules: [Key] = [
        Key(
            "policies",
            .list(
                .section(Section(keys: policyKeys)), most: policyLimit,
                example: "[{match: {type: thermal, severity: critical}, actions: [throttle_50]}]"),
            otherwise: "none",
            "Rules for any type of alert; they come before those of the sections."),
        Key(
            "breaker",
            .section(
                Section(
                    keys: [
                        Key(
                            "failure_threshold", .integer(1...1000),
                            default: .integer(Int64(set.breaker.failureThreshold)),
                            "Failures within the window that open it."),
                        Key(
                            "execution_threshold", .integer(1...10_000),
                            default: .integer(Int64(set.breaker.executionThreshold)),
                            "Executions within the window, whatever their outcome, that open it."),
                        Key(
                            "window", .duration(positiveSpan),
                            default: .duration(set.breaker.window),
                            "The time over which both are counted."),
                        Key(
                            "open_for", .duration(positiveSpan),
                            default: .duration(set.breaker.openFor),
                            "How long it stays open before one trial is let through."),
                    ])),
            "The breaker that each action on each node has, against healing loops. While it is open, "
                + "a human is asked; an action that has had all its attempts in an incident is "
                + "passed instead, and the next one is tried."),
        Key(
            "alerts",
            .section(
                Section(
                    keys: [
                        Key(
                            "stale_after", .duration(positiveSpan),
                            default: .duration(set.staleAfter),
                            "An alert older than this is recorded and not acted on."),
                        Key(
                            "expire_after", .duration(positiveSpan),
                            default: .duration(set.expireAfter),
                            "A symptom not repeated for this long ends its incident."),
                    ])),
            "How old an alert may be."),
    ]

    private static let policyKeys: [Key] =
        [
            Key(
                "match",
                .section(
                    Section(
                        keys: [
                            Key(
                                "type", oneOrMore(.text(.name("an alert type"))),
                                isRequired: true, "The alert's type, or several."),
                            Key(
                                "severity", oneOrMore(.choice(severities)), isRequired: true,
                                "The alert's severity, or several."),
                        ])),
                isRequired: true, "The alerts it is for."),
            Key(
                "actions", actions, isRequired: true, alsoTried: ["ladder", "rungs", "steps"],
                "What to do, in the order in which it is tried."),
        ] + knobs(withDefaults: true)

    private static func oneOrMore(_ kind: Kind) -> Kind {
        .either([kind, .list(kind, most: listLimit, example: "[a, b]")])
    }

    private static let severities = Choice(
        values: Severity.allCases.filter { $0 != .ok }.map(\.rawValue))

    /// A ladder: actions by name, or with parameters.
    private static let actions = Kind.list(
        .either([
            .text(.action),
            .section(
                Section(
                    keys: [
                        Key(
                            "action", .text(.action), isRequired: true,
                            alsoTried: ["name", "verb"], "The action."),
                        Key(
                            "parameters", .json, otherwise: "none",
                            alsoTried: ["params", "args"],
                            "What the agent is told with the command."),
                    ])),
        ]), most: listLimit, example: "[throttle_50, redistribute]")

    /// How a ladder is gone down; the same for every section that has actions.
    private static func knobs(withDefaults: Bool) -> [Key] {
        func knob(_ name: String, _ kind: Kind, _ fallback: JSON, _ doc: String) -> Key {
            Key(
                name, kind, default: withDefaults ? fallback : nil,
                otherwise: withDefaults ? "" : "as in the section", doc)
        }
        return [
            knob(
                "cooldown", .duration(span), .duration(policy.cooldown),
                "Least time between two attempts of one action on one node."),
            knob(
                "max_attempts", .integer(1...100), .integer(Int64(policy.maxAttempts)),
                "How often one action may be attempted in one incident."),
            knob(
                "deadline", .duration(positiveSpan), .duration(policy.deadline),
                "How long after it was issued a command may be executed."),
            knob(
                "verify", .duration(positiveSpan), .duration(policy.verify),
                "How long the symptom may last after an action before the next one is tried."),
            knob(
                "stay_clear", .duration(span), .duration(policy.stayClear),
                "How long the symptom must stay away before the incident is resolved."),
            knob(
                "lease", .duration(positiveSpan), .duration(policy.lease),
                "How long a node keeps an action without hearing from the coordinator."),
            knob(
                "undo", .flag, .bool(policy.undo),
                "Whether the node's changes are undone when the incident ends."),
        ]
    }

    // MARK: Thermal

    private static let thermal = Key(
        "thermal",
        .section(
            Section(
                keys: [
                    Key(
                        "thresholds",
                        .section(
                            Section(keys: levels(areClear: false))),
                        "An alert of a severity is raised at or above its threshold."),
                    Key(
                        "clear",
                        .section(
                            Section(keys: levels(areClear: true))),
                        "A severity is left only below its clear threshold."),
                    Key(
                        "for", .duration(span), default: .duration(config.thermal.holdFor),
                        "How long a threshold must be exceeded before an alert is raised."),
                    Key(
                        "actions",
                        .section(
                            Section(
                                keys: severities.values.map { severity in
                                    Key(
                                        severity, .either([actions, .section(severitySection)]),
                                        otherwise: thermalActions[severity].map {
                                            "\($0.text); nothing where others are given"
                                        } ?? "",
                                        "The actions at \(severity), in the order they are tried.")
                                })),
                        default: .object(thermalActions),
                        "What to do; a severity that is left out gets no actions."),
                ] + knobs(withDefaults: true))),
        "Temperatures, in degrees Celsius.")

    /// The actions of the thermal sentinel where nothing else is said.
    static let thermalActions: JSON.Object = [
        "warning": ["throttle_10"],
        "critical": ["throttle_50", "redistribute"],
        "emergency": ["shutdown_non_essential", "failover"],
    ]

    /// How far below its threshold a clear threshold lies where nothing else is said, in °C.
    static let clearMargin = 5.0

    private static let severitySection = Section(
        keys: [
            Key("actions", actions, isRequired: true, "The actions, in the order they are tried.")
        ]
            + knobs(withDefaults: false))

    /// The thresholds, or the clear thresholds, of the three severities.
    private static func levels(areClear: Bool) -> [Key] {
        let defaults = config.thermal.thresholds
        let values = [defaults.warning, defaults.critical, defaults.emergency]
        return zip(severities.values, values).map { severity, value in
            areClear
                ? Key(
                    severity, temperature, otherwise: "5 below its threshold",
                    "Below this it is no longer \(severity).")
                : Key(
                    severity, temperature, default: .plainNumber(value),
                    variable: severity.uppercased() + "_TEMP",
                    "From this on it is \(severity).")
        }
    }

    /// Wide enough for every sensor, narrow enough to find a value in another unit.
    private static let temperature = Kind.number(-50...200, unit: "°C")

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

    private static let local = Key(
        "local",
        .section(
            Section(
                keys: [
                    Key(
                        "actions",
                        .section(
                            Section(
                                keys: [
                                    Key(
                                        "allow",
                                        .list(
                                            .text(.action), most: listLimit,
                                            example: "[throttle_50]"),
                                        otherwise: "all that its agents know",
                                        "The actions this node executes, and no others."),
                                    Key(
                                        "deny",
                                        .list(
                                            .text(.action), most: listLimit,
                                            example: "[throttle_50]"),
                                        otherwise: "none",
                                        "Actions this node never executes; stronger than allow."),
                                ])),
                        "What this node executes."),
                    Key(
                        "dry_run", .flag, default: .bool(config.local.dryRun),
                        "Let this node's agents only report what they would do."),
                ])),
        "What may be executed here; only ever taken from this node's own file.")
}
