import Protocol
package import Settings

/// What is posted: lines of a header, and a body.
package struct WebhookRequest: Sendable, Equatable {
    package var headers: [String]
    package var body: [UInt8]
}

extension Escalation {
    /// The request in a format.
    package func request(_ format: Config.WebhookFormat) -> WebhookRequest {
        switch format {
        case .json: json
        case .ntfy: ntfy
        case .slack: slack
        }
    }

    /// The event's members, with the texts for people beside them.
    private var json: WebhookRequest {
        var object: JSON.Object = [
            "source": "skos", "event": "escalation", "title": .string(title),
            "text": .string(text),
        ]
        object["repeated"] = isRepeated ? true : nil
        object.append(event, except: ["source", "event", "title", "text", "repeated"])
        return WebhookRequest(
            headers: ["Content-Type: application/json"], body: JSON.object(object).encoded)
    }

    /// ntfy's own headers, and plain text. A drill is no reason to wake anybody.
    private var ntfy: WebhookRequest {
        let isReal = event["drill"]?.bool != true && event["dry_run"]?.bool != true
        let (priority, tag) =
            switch severity {
            case _ where !isReal: ("2", "information_source")
            case "emergency": ("5", "rotating_light")
            case "critical": ("4", "warning")
            default: ("3", "warning")
            }
        return WebhookRequest(
            headers: [
                "Content-Type: text/plain; charset=utf-8", "Title: \(title)",
                "Priority: \(priority)", "Tags: \(tag),skos",
            ], body: Array(text.utf8))
    }

    /// Slack's `text`, in which three characters have a meaning.
    private var slack: WebhookRequest {
        var escaped = ""
        for character in "*\(title)*\n\(text)" {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            default: escaped.append(character)
            }
        }
        return WebhookRequest(
            headers: ["Content-Type: application/json"],
            body: JSON.object(["text": .string(escaped)]).encoded)
    }
}
