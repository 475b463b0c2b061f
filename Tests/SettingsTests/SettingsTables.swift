import Protocol

@testable import Settings

/// The tables of docs/configuration.md: one for the top level, one for each section.
func settingsTables() -> String {
    var top: [(path: String, key: Key)] = []
    var sections: [(key: Key, rows: [(path: String, key: Key)])] = []
    for key in Schema.root.keys {
        let rows = rows(key.kind, key.name)
        if rows.isEmpty { top.append((key.name, key)) } else { sections.append((key, rows)) }
    }
    var text = "\n### Top level\n\n" + table(top)
    for (key, rows) in sections {
        text += "\n### `\(key.name)`\n\n\(key.doc)"
        if !key.otherwise.isEmpty { text += " Without it: \(key.otherwise)." }
        text += "\n\n" + table(rows)
    }
    return text + "\n"
}

/// The keys below a kind; alternatives are explained in the text and not repeated for each severity.
private func rows(_ kind: Kind, _ path: String) -> [(path: String, key: Key)] {
    switch kind {
    case .section(let section):
        section.keys.flatMap { key -> [(path: String, key: Key)] in
            let inner = rows(key.kind, "\(path).\(key.name)")
            return inner.isEmpty ? [("\(path).\(key.name)", key)] : inner
        }
    case .list(.section(let section), _, _, _): rows(.section(section), path + "[]")
    case .dictionary(_, .section(let section), _): rows(.section(section), path + ".NAME")
    default: []
    }
}

private func table(_ rows: [(path: String, key: Key)]) -> String {
    var text = "| key | value | default | variable | meaning |\n|---|---|---|---|---|\n"
    for (path, key) in rows {
        let fallback =
            key.isRequired
            ? "required" : key.fallback.map { "`\(yaml($0))`" } ?? key.otherwise
        let variable = key.variable.map { "`\($0)`" } ?? ""
        let cells = ["`\(path)`", value(key.kind), fallback, variable, key.doc]
        text += "| " + cells.map(escaped).joined(separator: " | ") + " |\n"
    }
    return text
}

private func escaped(_ cell: String) -> String {
    cell.split(separator: "|").joined(separator: "\\|")
}

/// A default as a person would write it.
private func yaml(_ json: JSON) -> String {
    switch json {
    case .array(let elements): "[" + elements.map(yaml).joined(separator: ", ") + "]"
    case .object(let object):
        "{" + object.members.map { "\($0.name): \(yaml($0.value))" }.joined(separator: ", ") + "}"
    case .string(let text): text
    default: json.text
    }
}

/// What may be written, in a few words.
private func value(_ kind: Kind) -> String {
    switch kind {
    case .flag: "true, false"
    case .integer(let range): range.count == 1 ? "\(range.lowerBound)" : bounds(range)
    case .number(let range, let unit):
        "\(numberText(range.lowerBound)) to \(numberText(range.upperBound)) \(unit)"
    case .duration(let range):
        "\(durationText(range.lowerBound)) to \(durationText(range.upperBound))"
    case .size(let range): "\(sizeText(range.lowerBound)) to \(sizeText(range.upperBound))"
    case .text(let rule): rule.what == "a path" ? "a path" : "\(rule.what): \(rule.rule)"
    case .choice(let choice): choice.values.joined(separator: ", ")
    case .list(let element, _, _, _): "list, each " + element.expectation
    case .section: "mapping"
    case .dictionary(let rule, _, _): "mapping of \(rule.what) to a value"
    case .either(let kinds):
        kinds.map { kind in
            switch kind {
            case .list(let element, _, _, _): "list, each \(element.expectation)"
            case .section: "mapping"
            default: kind.expectation
            }
        }.joined(separator: ", or ")
    case .json: "mapping of anything"
    }
}

private func bounds(_ range: ClosedRange<Int>) -> String {
    "\(range.lowerBound) to \(range.upperBound)"
}
