import Protocol

/// Tells what happened, in the order in which it happened, from the records of the audit alone: time,
/// who, what, why, every guard's word, and with what result.
struct StoryTeller: Sendable {
    /// What was asked for: an incident, an alert, an action or a node.
    let id: String
    let records: [JSON.Object]
    /// What the answer had no room for.
    let leftOut: JSON.Object

    init(_ answer: JSON.Object) {
        id = answer.text("id")
        records = answer.list("records")
        leftOut = answer.object("left_out")
    }

    /// The whole story.
    func text(_ style: Style) -> String {
        var text = ""
        let incidents = incidents
        for incident in incidents { text += summary(incident, style) + "\n" }
        if !incidents.isEmpty { text += "\n" }
        text += notice(style)
        var gap = leftOut["after"]?.integer
        var day = ""
        var current: String?
        for record in records {
            if let last = gap, record["sequence"]?.integer ?? 0 > last {
                text += style.paint("… \(count("records", "record")) left out …", .yellow) + "\n"
                gap = nil
            }
            // The date once, so that the times stand in a column.
            let date = record.timeText("time").prefix(10)
            if date != day, !date.isEmpty {
                day = String(date)
                text += style.paint("\(day) (UTC)", .dim) + "\n"
            }
            // With several incidents, it is said where another one goes on.
            let incident = record.text("incident")
            if incidents.count > 1, incident != current {
                let title = incident.isEmpty ? "no incident" : Text.safe(incident)
                text += style.paint("— \(title)", .dim) + "\n"
                current = incident
            }
            text += Self.lines(of: record, style).map { $0 + "\n" }.joined()
        }
        return text
    }

    /// What the story does not tell.
    private func notice(_ style: Style) -> String {
        var parts: [String] = []
        if leftOut["records"] != nil { parts.append(count("records", "record")) }
        if leftOut["repeats"] != nil { parts.append(count("repeats", "repeat") + " of alerts") }
        var text = parts.isEmpty ? "" : "left out: " + parts.joined(separator: ", ")
        if leftOut["shortened"] != nil {
            text += text.isEmpty ? "" : "; "
            text += count("shortened", "long record") + " shortened"
        }
        guard !text.isEmpty else { return "" }
        return style.paint("(\(text); `skos audit export` has everything)", .yellow) + "\n"
    }

    private func count(_ member: String, _ noun: String) -> String {
        let number = leftOut[member]?.integer ?? 0
        return "\(number) \(noun)\(number == 1 ? "" : "s")"
    }

    /// The lines about one record: what happened, and behind it, indented, what belongs to it.
    static func lines(of record: JSON.Object, _ style: Style) -> [String] {
        let narration = Narrator.narrate(record)
        let time = record.time("time").map(Text.clock) ?? "--:--:--.---"
        let kind = Text.safe(record.text("kind")).padded(to: 11)
        let headline = style.paint(Text.safe(narration.headline), narration.colour)
        let margin = String(repeating: " ", count: time.count + 2 + kind.count + 1)
        var lines = [style.paint("\(time)  \(kind)", .dim) + " " + headline]
        for detail in narration.details {
            lines.append(margin + style.paint(Text.safe(detail), .dim))
        }
        return lines
    }

    // MARK: In short

    /// The incidents that the records mention, in order of appearance.
    private var incidents: [String] {
        var found: [String] = []
        for record in records {
            let incident = record.text("incident")
            if !incident.isEmpty, !found.contains(incident) { found.append(incident) }
        }
        return found
    }

    /// One line on an incident: how it stands, since when, and what is in force on the node.
    private func summary(_ incident: String, _ style: Style) -> String {
        let own = records.filter { $0.text("incident") == incident }
        let (word, sentence) = Self.standing(own)
        var text = style.paint("\(Text.safe(incident))", .bold) + "  "
        text += style.paint(word, Mood.colour(word)) + ": " + Text.safe(sentence)
        // What was done before a gap may have been taken back in it.
        let gap = leftOut["after"]?.integer ?? 0
        let inForce = Self.inForce(own.filter { $0["sequence"]?.integer ?? .max > gap })
        if !inForce.isEmpty {
            let list = inForce.map { Text.command("undo", $0) }.joined(separator: ", ")
            text += "\n  in force on the node; to take it back: \(Text.safe(list))"
        }
        return text
    }

    /// How an incident stands after its records, in a word and a sentence.
    static func standing(_ records: [JSON.Object]) -> (word: String, sentence: String) {
        let last = records.last { record in
            switch record.text("kind") {
            // A repeat says nothing new, and an undo comes after the end.
            case "alert": record.text("effect") != "repeated"
            case "decision": record.text("verdict") != "undo"
            case "result": record.text("status") != "undone"
            case "incident": true
            default: false
            }
        }
        guard let last else { return ("open", "nothing has been decided yet") }
        let sentence = Narrator.narrate(last).headline
        switch (last.text("kind"), last.text("change")) {
        case ("incident", "resolved"), ("incident", "expired"), ("incident", "escalated"):
            return (last.text("change"), last.text("reason"))
        case ("incident", _): return ("deciding", sentence)
        case ("decision", _):
            switch last.text("verdict") {
            case "dispatch": return ("acting", sentence)
            case "escalate": return ("escalated", sentence)
            default: return ("deciding", sentence)
            }
        case ("result", _):
            let isDone = last.text("status") == "done" && last.text("outcome") == "succeeded"
            return (isDone ? "verifying" : "deciding", sentence)
        default:
            return (last.text("effect") == "cleared" ? "clearing" : "open", sentence)
        }
    }

    /// The actions that were done and not taken back.
    static func inForce(_ records: [JSON.Object]) -> [String] {
        var actions: [String] = []
        for record in records where record.text("kind") == "result" {
            let action = record.text("action_id")
            let result = record.object("result")
            if record.text("status") == "undone" {
                actions.removeAll { $0 == action }
            } else if record.text("outcome") == "succeeded", result["undo"]?.object != nil,
                !result.flag("dry_run")
            {
                actions.append(action)
            }
        }
        return actions
    }
}
