import Protocol

/// One record of the audit as people read it.
struct Narration: Sendable, Equatable {
    /// One sentence: who did what, and why.
    var headline: String
    /// What else the record says, a line each: every guard's word, what was sent, what was changed.
    var details: [String] = []
    var colour: Style.Colour?
}

/// Says in sentences what a record of the audit says in JSON. Records may come from another version:
/// what is not known is shown as it is, and nothing is left out silently.
enum Narrator {
    /// The kinds of records there are: the last tokens of their subjects.
    static let kinds = [
        "coordinator", "config", "alert", "decision", "result", "incident", "breaker", "operator",
        "rejected",
    ]

    static func narrate(_ record: JSON.Object) -> Narration {
        switch record.text("kind") {
        case "coordinator": coordinator(record)
        case "config": configuration(record)
        case "alert": alert(record)
        case "decision": decision(record)
        case "result": result(record)
        case "incident": incident(record)
        case "breaker": breaker(record)
        case "operator": operation(record)
        case "rejected": rejection(record)
        default: Narration(headline: JSON.object(record).text)
        }
    }

    private static func coordinator(_ record: JSON.Object) -> Narration {
        Narration(
            headline: "\(record.text("actor")) took over, version \(record.text("version")), "
                + "configuration \(record.text("config"))")
    }

    private static func configuration(_ record: JSON.Object) -> Narration {
        guard record.text("change") == "refused" else {
            return Narration(headline: "configuration \(record.text("config")) is in force")
        }
        let lines = record.text("reason").split(separator: "\n").map(String.init)
        return Narration(
            headline: "an edit of the configuration was refused: \(lines.first ?? "")",
            details: Array(lines.dropFirst()), colour: .red)
    }

    // MARK: Alerts

    private static func alert(_ record: JSON.Object) -> Narration {
        let alert = record.object("alert")
        let severity = alert.text("severity")
        let symptom = Text.symptom(alert.text("type"), alert.text("resource"))
        var headline = "\(symptom) \(severity)"
        let message = alert.text("message")
        if !message.isEmpty { headline += ": \(message)" }
        if message.isEmpty, let value = alert["value"]?.double {
            let unit = unit(alert.text("unit"))
            headline += " at \(Text.number(value))" + (unit.isEmpty ? "" : " \(unit)")
        }
        if alert.flag("drill") { headline += " [drill]" }
        headline += "; \(effect(record))"
        let actor = record.text("actor")
        // The message did not say whose it was.
        let sender = actor == "unknown" ? "somebody at skos.alert.\(record.text("node"))" : actor
        if !sender.isEmpty { headline = "\(sender): " + headline }
        return Narration(headline: headline, colour: Mood.colour(severity))
    }

    private static func unit(_ name: String) -> String {
        name == "celsius" ? "°C" : name == "percent" ? "%" : name
    }

    private static func effect(_ record: JSON.Object) -> String {
        let reason = record.text("reason")
        let until = record.time("until").map { " at \(Text.clock($0))" } ?? ""
        switch record.text("effect") {
        case "opened": return "it opened the incident"
        case "repeated": return "the same symptom again"
        case "worsened": return "worse than before, so a stronger policy takes over"
        case "eased": return "better than before, but not gone"
        case "cleared":
            return until.isEmpty
                ? "the symptom is gone" : "the symptom is gone; resolved\(until) if it stays so"
        case "returned": return "the symptom is back"
        case "no_policy": return "nothing is done: \(reason)"
        case "stale", "out_of_order": return "not acted on: \(reason)"
        case let other: return other.words + (reason.isEmpty ? "" : ": \(reason)")
        }
    }

    // MARK: Decisions

    private static func decision(_ record: JSON.Object) -> Narration {
        let action = record.text("action")
        let reason = record.text("reason")
        let rung = "step \(record.integer("rung") + 1) of \(record.text("policy"))"
        let until = record.time("until").map { " until \(Text.clock($0))" } ?? ""
        let (headline, colour): (String, Style.Colour?) =
            switch record.text("verdict") {
            case "dispatch": ("sends \(action), \(rung): \(reason)", .bold)
            case "wait": ("waits\(until) with \(action), \(rung): \(reason)", .yellow)
            case "skip": ("passes over \(action), \(rung): \(reason)", .yellow)
            case "escalate": ("asks a human: \(reason)", .red)
            case "undo": ("takes back \(action): \(reason)", .bold)
            case let other: ("\(other.words) \(action): \(reason)", nil)
            }
        return Narration(
            headline: headline, details: guards(record) + command(record["command"]?.object),
            colour: colour)
    }

    /// Each guard's word: those that passed on one line, whoever stopped it on its own.
    private static func guards(_ record: JSON.Object) -> [String] {
        let guards = record.list("guards")
        let passed = guards.filter { $0.flag("passed") }.map { guardian in
            let reason = guardian.text("reason")
            return guardian.text("guard") + (reason == "passed" ? "" : " (\(reason))")
        }
        var lines = passed.isEmpty ? [] : ["guards passed: \(passed.joined(separator: ", "))"]
        for guardian in guards where !guardian.flag("passed") {
            lines.append("guard \(guardian.text("guard")) stopped it: \(guardian.text("reason"))")
        }
        return lines
    }

    private static func command(_ command: JSON.Object?) -> [String] {
        guard let command else { return [] }
        var line = "command \(command.text("action_id"))"
        if let parameters = command["parameters"]?.object, !parameters.isEmpty {
            line += " \(facts(parameters))"
        }
        if let deadline = command.time("deadline") { line += ", until \(Text.clock(deadline))" }
        let lease = command.secondsText("lease")
        if !lease.isEmpty { line += ", leased for \(lease)" }
        if command.flag("dry_run") { line += ", dry run" }
        return [line]
    }

    // MARK: Results

    private static func result(_ record: JSON.Object) -> Narration {
        let action = record.text("action")
        let result = record.object("result")
        let reason = record.text("reason")
        let outcome = record.text("outcome")
        let because = reason.isEmpty ? "" : ": \(reason)"
        var headline: String
        var colour: Style.Colour? = outcome == "succeeded" ? .green : .red
        switch record.text("status") {
        case "done" where outcome == "succeeded":
            headline =
                "\(action) \(result.flag("dry_run") ? "would be done" : "succeeded")\(because)"
        case "done": headline = "\(action) failed (\(outcome.words))\(because)"
        case "refused": headline = "\(action) was refused\(because)"
        case "timeout":
            headline = "no result of \(action) came in time; it may or may not have been done"
        case "undone" where outcome == "superseded":
            headline = "\(action) is over\(because); that stays as it is"
            colour = .yellow
        case "undone":
            headline =
                "\(action) was taken back" + (outcome == "succeeded" ? "" : " (\(outcome.words))")
            headline += because
        case let other:
            headline = "\(action) \(other.words)\(because)"
            colour = nil
        }
        if let milliseconds = result["duration_ms"]?.double {
            headline += ", in \(Text.number(milliseconds)) ms"
        }
        if record["incident"]?.string == "" { headline += "; no incident asked for it" }
        let agent = record.flag("timed_out") ? "" : result.text("agent_id")
        if !agent.isEmpty { headline = "\(agent): " + headline }
        var details: [String] = []
        if let effect = result["effect"]?.object, !effect.isEmpty {
            details += listing("effect", effect)
        }
        if let undo = result["undo"]?.object, !undo.isEmpty {
            details += listing("undoing it restores", undo)
        }
        if let until = record.time("until"), outcome == "succeeded" {
            details += [
                "the symptom has until \(Text.clock(until)) to clear; if it is reported again, the next "
                    + "step follows then"
            ]
        }
        return Narration(headline: headline, details: details, colour: colour)
    }

    // MARK: Turns

    private static func incident(_ record: JSON.Object) -> Narration {
        let reason = record.text("reason")
        return switch record.text("change") {
        case "not_verified" where record.flag("lapsed"):
            Narration(headline: "it is to be done again: \(reason)", colour: .yellow)
        case "not_verified": Narration(headline: "it did not help: \(reason)", colour: .yellow)
        case "escalated": Narration(headline: "a human is needed: \(reason)", colour: .red)
        case "resolved": Narration(headline: "resolved: \(reason)", colour: .green)
        case "expired": Narration(headline: "expired: \(reason)", colour: .yellow)
        case let other: Narration(headline: "\(other.words): \(reason)")
        }
    }

    private static func breaker(_ record: JSON.Object) -> Narration {
        let change = record.text("change")
        let until = record.time("until").map { " until \(Text.clock($0))" } ?? ""
        return Narration(
            headline:
                "breaker \(record.text("breaker")) \(change)\(until): \(record.text("reason"))",
            colour: change == "opened" ? .red : .green)
    }

    private static func operation(_ record: JSON.Object) -> Narration {
        let parameters = facts(record.object("parameters"))
        let verb = record.text("verb").words + (parameters.isEmpty ? "" : " (\(parameters))")
        return Narration(
            headline: "\(record.text("actor")) asked for \(verb): \(record.text("outcome"))",
            colour: .bold)
    }

    private static func rejection(_ record: JSON.Object) -> Narration {
        let field = record.text("field")
        let excerpt = record.text("excerpt")
        // No message as such is at fault, but that they come from two machines.
        if field == "metadata.start_id" {
            return Narration(
                headline: record.text("reason"),
                details: ["noticed by the heartbeats of \(excerpt)"], colour: .red)
        }
        return Narration(
            headline: "a message on \(record.text("subject")) was rejected: "
                + (field.isEmpty ? "" : "\(field): ") + record.text("reason"),
            details: excerpt.isEmpty ? [] : ["it began: \(excerpt)"], colour: .yellow)
    }

    /// Lines of a list that are shown.
    private static let listedElements = 8

    /// An object, a line for each element of the lists in it.
    private static func listing(_ title: String, _ object: JSON.Object) -> [String] {
        var plain = JSON.Object()
        var lists: [String] = []
        for (name, value) in object.members {
            let elements = (value.array ?? []).compactMap(\.object)
            guard !elements.isEmpty else {
                plain[name] = value
                continue
            }
            lists += elements.prefix(listedElements).map { "  \(facts($0))" }
            let rest = elements.count - listedElements
            if rest > 0 { lists.append("  … and \(rest) more of \(name)") }
        }
        return [plain.isEmpty ? "\(title):" : "\(title): \(facts(plain))"] + lists
    }

    /// An object on one line: `resource=cpu, percent=50`.
    static func facts(_ object: JSON.Object) -> String {
        object.members.map { name, value in
            switch value {
            // What is read from files ends with a line feed.
            case .string(let text):
                "\(name)=\(text.hasSuffix("\n") ? String(text.dropLast()) : text)"
            case .integer, .number: "\(name)=\(Text.number(value.double ?? 0))"
            default: "\(name)=\(value.text)"
            }
        }.joined(separator: ", ")
    }
}
