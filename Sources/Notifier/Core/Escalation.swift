package import Protocol

/// What a human is asked to look at: the event `skos.event.escalation`, and how to say it.
package struct Escalation: Sendable, Equatable {
    /// Bytes of an event's text that are told; the rest is in the audit.
    static let textLimit = 1000

    /// The incident's id.
    package let incident: String
    /// Members of the event as it was published.
    package let event: JSON.Object
    /// Whether it may have been told before, by a coordinator that ended since.
    package var isRepeated = false

    /// `nil`: the event names no incident.
    package init?(_ event: JSON.Object) {
        guard let incident = event["incident"]?.string, !incident.isEmpty else { return nil }
        self.incident = incident
        self.event = event
    }

    var severity: String { event["severity"]?.string ?? "" }

    /// What the message must not be mistaken for, such as a drill.
    var marks: [String] {
        var marks: [String] = []
        if event["drill"]?.bool == true { marks.append("drill") }
        if event["dry_run"]?.bool == true { marks.append("dry run") }
        if isRepeated { marks.append("repeated") }
        return marks
    }

    /// One line: node, type and severity are names, so it is ASCII and safe in a header.
    var title: String {
        let prefix = marks.map { "[\($0)] " }.joined()
        let (node, type) = (event["node"]?.string ?? "a node", event["type"]?.string ?? "")
        return Self.plain("\(prefix)SKOS: \(node) needs a human: \(type) \(severity)")
    }

    /// A few lines for people.
    var text: String {
        var lines: [String] = []
        if event["drill"]?.bool == true { lines.append("This is a drill: nothing is broken.") }
        if event["dry_run"]?.bool == true {
            lines.append("This is a dry run: SKOS changes nothing by itself.")
        }
        if isRepeated { lines.append("You may have been told this before.") }
        if let message = event["message"]?.string { lines.append(shortened(message)) }
        if let resource = event["resource"]?.string { lines.append("Resource: \(resource)") }
        if let reason = event["reason"]?.string { lines.append("Why you: \(shortened(reason))") }
        lines.append("Since: \(event["timestamp"]?.string ?? "now")")
        lines.append("More: skos explain \(Name.shellWord(incident))")
        return lines.joined(separator: "\n")
    }

    private func shortened(_ text: String) -> String {
        guard text.utf8.count > Self.textLimit else { return text }
        return String(decoding: text.utf8.prefix(Self.textLimit), as: UTF8.self) + "…"
    }

    /// Without what has no place in a header.
    private static func plain(_ text: String) -> String {
        String(
            decoding: text.utf8.prefix(200).map { (0x20...0x7E).contains($0) ? $0 : 0x3F },
            as: UTF8.self)
    }
}
