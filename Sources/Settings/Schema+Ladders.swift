import Protocol

/// What the sections that name actions have in common: ladders, how they are gone down, and levels.
extension Schema {
    static let severities = Choice(
        values: Severity.allCases.filter { $0 != .ok }.map(\.rawValue))

    /// A ladder: actions by name, or with parameters.
    static let actions = Kind.list(
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
    ///
    /// `policy` holds the defaults; without it those of the section around hold. `docs` is what a section
    /// has to say of a knob that is not what all say.
    static func knobs(of policy: Policy?, docs: [String: String] = [:]) -> [Key] {
        let defaults = policy ?? plainPolicy
        func knob(_ name: String, _ kind: Kind, _ fallback: JSON, _ doc: String) -> Key {
            Key(
                name, kind, default: policy == nil ? nil : fallback,
                otherwise: policy == nil ? "as in the section" : "", docs[name] ?? doc)
        }
        return [
            knob(
                "cooldown", .duration(span), .duration(defaults.cooldown),
                "Least time between two attempts of one action on one node."),
            knob(
                "max_attempts", .integer(1...100), .integer(Int64(defaults.maxAttempts)),
                "How often one action may be attempted in one incident."),
            knob(
                "deadline", .duration(positiveSpan), .duration(defaults.deadline),
                "How long after it was issued a command may be executed."),
            knob(
                "verify", .duration(positiveSpan), .duration(defaults.verify),
                "How long the symptom may last after an action before the next one is tried."),
            knob(
                "stay_clear", .duration(span), .duration(defaults.stayClear),
                "How long the symptom must stay away before the incident is resolved."),
            knob(
                "lease", .duration(positiveSpan), .duration(defaults.lease),
                "How long a node keeps an action without hearing from the coordinator."),
            knob(
                "undo", .flag, .bool(defaults.undo),
                "Whether the node's changes are undone when the incident ends."),
        ]
    }

    /// A ladder with settings of its own instead of those of the section around it.
    static let ownLadder = ownLadder(knobs(of: nil))

    static func ownLadder(_ knobs: [Key]) -> Section {
        Section(
            keys: [
                Key(
                    "actions", actions, isRequired: true,
                    "The actions, in the order they are tried.")
            ] + knobs)
    }

    /// The key `actions` of a section that names them for each of `kinds`: severities or alert types.
    ///
    /// `defaults` are the actions where nothing is said, `own` what is written where a kind has settings
    /// of its own.
    static func actions(
        for kinds: [String], _ defaults: JSON.Object, own: Section = ownLadder, _ doc: String
    ) -> Key {
        Key(
            "actions",
            .section(
                Section(
                    keys: kinds.map { kind in
                        Key(
                            kind, .either([actions, .section(own)]),
                            otherwise: defaults[kind].map {
                                "\($0.text); nothing where others are given"
                            } ?? "nothing",
                            "The actions at \(kind), in the order they are tried.")
                    })),
            default: .object(defaults), doc)
    }

    /// The thresholds of the three severities. Without defaults, `otherwise` says what holds; the
    /// variables are the severities with an ending, such as `WARNING_TEMP`.
    static func thresholds(
        _ kind: Kind, _ defaults: Config.Levels?, otherwise: String = "", variables: String? = nil
    ) -> Kind {
        let values = defaults.map { [$0.warning, $0.critical, $0.emergency] }
        return .section(
            Section(
                keys: severities.values.enumerated().map { index, severity in
                    Key(
                        severity, kind, default: (values?[index]).map(JSON.plainNumber),
                        otherwise: otherwise,
                        variable: variables.map { severity.uppercased() + $0 },
                        "From this on it is \(severity).")
                }))
    }

    /// The clear thresholds of the three severities.
    static func clears(_ kind: Kind, otherwise: String) -> Kind {
        .section(
            Section(
                keys: severities.values.map { severity in
                    Key(
                        severity, kind, otherwise: otherwise,
                        "Below this it is no longer \(severity).")
                }))
    }

    /// How far below its threshold a clear threshold lies where nothing else is said, in °C or percent.
    static let clearMargin = 5.0

    /// A list of texts of one kind.
    static func texts(_ rule: TextRule, example: String, mayBeEmpty: Bool = false) -> Kind {
        .list(.text(rule), most: listLimit, example: example, mayBeEmpty: mayBeEmpty)
    }
}
