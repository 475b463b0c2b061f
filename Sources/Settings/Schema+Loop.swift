import Protocol

/// `loop:`.
extension Schema {
    static let loop = Key(
        "loop",
        .section(
            Section(
                keys: [
                    Key(
                        "watch", texts(.subject, example: #"["synthesis.>"]"#, mayBeEmpty: true),
                        default: .texts(config.loop.watch), alsoTried: ["subjects"],
                        "The subjects whose messages are watched; with none, only programs that ask "
                            + "are judged."),
                    limits,
                    Key(
                        "cooldown", .duration(positiveSpan),
                        default: .duration(config.loop.cooldown),
                        "How long a broken chain or pair stays broken before one trial is let through; "
                            + "not the time between attempts of an action, as elsewhere, which is 1m "
                            + "unless an alert type sets its own."),
                    relay,
                    actions(
                        for: loopTypes, loopActions, own: loopLadder,
                        "What to do about each type of alert, at every severity; a type that is left "
                            + "out gets no actions."),
                ] + knobs(of: plainPolicy).filter { $0.name != "cooldown" })),
        "Chains of messages that do not end.")

    /// The types of the loop breaker's alerts.
    static let loopTypes = [
        "depth_exceeded", "iterations_exceeded", "cycle_detected", "content_repeated",
        "fan_out_exceeded", "rate_exceeded", "tokens_exceeded", "no_progress",
    ]

    /// The actions of the loop breaker where nothing else is said.
    static let loopActions: JSON.Object = [
        "depth_exceeded": ["circuit_break"],
        "iterations_exceeded": ["reset_chain"],
    ]

    /// The section has no ladder's cooldown that one of these could have in its place.
    static let loopLadder = ownLadder(
        knobs(of: nil).map { key in
            var key = key
            if key.name == "cooldown" { key.otherwise = durationText(plainPolicy.cooldown) }
            return key
        })

    private static let limits = Key(
        "limits",
        .section(
            Section(
                keys: [
                    limit("depth", 10_000, \.depth, "Hops from the first message of a chain"),
                    limit("iterations", 1_000_000, \.iterations, "Messages of one chain"),
                    limit(
                        "tokens", 1_000_000_000_000, \.tokens,
                        "Tokens that the messages of one chain say they have used, together"),
                    limit("fan_out", 100_000, \.fanOut, "Messages that one message may cause"),
                    limit("rate", 1_000_000, \.rate, "Messages of one chain in a minute"),
                    limit(
                        "repeats", 1000, \.repeats,
                        "How often similar content may come again in one chain within ten minutes"),
                ])),
        "What a chain may do.")

    private static func limit(
        _ name: String, _ most: Int, _ path: KeyPath<Config.LoopLimits, Int>, _ doc: String
    ) -> Key {
        Key(
            name, .integer(0...most), default: .integer(Int64(config.loop.limits[keyPath: path])),
            doc + "; 0 for no limit.")
    }

    private static let relay = Key(
        "relay",
        .section(
            Section(
                keys: [
                    Key(
                        "from", .text(.relayedSubject), isRequired: true, alsoTried: ["source"],
                        "Where messages are taken from, such as synthesis.in.>."),
                    Key(
                        "to", .text(.relayedSubject), isRequired: true, alsoTried: ["target"],
                        "Where those that are allowed are passed on to, such as synthesis.>."),
                ])),
        otherwise: "nothing is relayed",
        "Passes messages on for programs that do not ask.")
}
