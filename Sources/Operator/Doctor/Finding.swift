import Protocol

/// One thing that `skos doctor` looked at.
package struct Finding: Sendable, Equatable {
    package enum Grade: String, Sendable {
        case ok
        /// It works, but something is missing or odd.
        case warn
        /// It does not work.
        case fail
    }

    /// What it is about, such as `nats`.
    package var topic: String
    package var grade: Grade
    /// What was found.
    package var text: String
    /// What to do about it.
    package var remedy: String?

    package init(_ topic: String, _ grade: Grade, _ text: String, remedy: String? = nil) {
        self.topic = topic
        self.grade = grade
        self.text = text
        self.remedy = remedy
    }

    var json: JSON {
        var object: JSON.Object = [
            "topic": .string(topic), "grade": .string(grade.rawValue), "text": .string(text),
        ]
        object["remedy"] = remedy.map(JSON.string)
        return .object(object)
    }

    /// A line, and what to do about it on another one.
    func lines(_ style: Style, topicWidth: Int) -> String {
        let colour: Style.Colour =
            switch grade {
            case .ok: .green
            case .warn: .yellow
            case .fail: .red
            }
        let word = style.paint(grade.rawValue.padded(to: 4), colour)
        var text = "\(word)  \(topic.padded(to: topicWidth))  \(Text.safe(self.text))\n"
        if let remedy {
            let margin = String(repeating: " ", count: topicWidth + 8)
            text += margin + style.paint("→ \(Text.safe(remedy))", .dim) + "\n"
        }
        return text
    }
}
