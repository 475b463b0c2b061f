import Protocol

/// `policies:`, `breaker:` and `alerts:`.
extension Schema {
    static let rules: [Key] = [
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
        ] + knobs(of: plainPolicy)

    /// The settings of a ladder where nothing else is said.
    static let plainPolicy = Policy(type: "", severity: .ok, ladder: [])

    private static func oneOrMore(_ kind: Kind) -> Kind {
        .either([kind, .list(kind, most: listLimit, example: "[a, b]")])
    }
}
