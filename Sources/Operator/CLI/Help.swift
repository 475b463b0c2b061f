/// The help, as text.
package struct Help: Sendable {
    /// Columns that help is wrapped at.
    private static let width = 96

    private let grammar: Grammar

    package init(_ grammar: Grammar) { self.grammar = grammar }

    /// The help on a verb or a group of verbs; on the program for no words.
    package func text(on path: [String]) -> String {
        guard !path.isEmpty else { return program() }
        let verbs = grammar.verbs(under: path)
        if let verb = verbs.first, verb.path == path { return text(on: verb) }
        return "usage: skos \(path.joined(separator: " ")) VERB\n\n" + list(verbs)
            + "\n`skos help \(path.joined(separator: " ")) VERB` says more about each of them.\n"
    }

    private func program() -> String {
        var text = """
            skos: an immune system for fleets of Linux nodes

            usage: skos VERB [ARGUMENTS] [FLAGS]

            Services, which run until they are stopped:

            """
        text += list(grammar.verbs.filter(\.isService)) + "\nVerbs:\n"
        text += list(grammar.verbs.filter { !$0.isService }) + "\nFlags of every verb:\n"
        text += flags(Grammar.common + [Flag("version", "print the version")])
        text += """

            Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not reachable.
            `skos help VERB` says more about each of them.

            """
        return text
    }

    private func text(on verb: Verb) -> String {
        let words = ["skos"] + verb.path + verb.parameters.map(\.synopsis)
        var text = "usage: \(words.joined(separator: " ")) [FLAGS]\n\n"
        text += Self.wrap(verb.summary.prefix(1).uppercased() + verb.summary.dropFirst() + ".")
        if !verb.details.isEmpty { text += "\n" + Self.wrap(verb.details) }
        if !verb.parameters.isEmpty {
            text += "\nArguments:\n"
            text += Self.columns(
                verb.parameters.map {
                    ($0.synopsis, $0.summary + Self.choices($0.choices))
                })
        }
        if !verb.flags.isEmpty { text += "\nFlags:\n" + flags(verb.flags) }
        text += "\nFlags of every verb:\n" + flags(Grammar.common)
        if !verb.examples.isEmpty {
            text += "\nExamples:\n" + verb.examples.map { "    \($0)\n" }.joined()
        }
        return text
    }

    private func list(_ verbs: [Verb]) -> String {
        Self.columns(verbs.map { ($0.name, $0.summary) })
    }

    private func flags(_ flags: [Flag]) -> String {
        Self.columns(flags.map { ($0.synopsis, $0.summary + Self.choices($0.choices)) })
    }

    private static func choices(_ choices: [String]) -> String {
        choices.isEmpty ? "" : " (\(choices.joined(separator: ", ")))"
    }

    /// Two columns, the second wrapped.
    private static func columns(_ rows: [(String, String)]) -> String {
        let first = rows.reduce(0) { max($0, $1.0.count) }
        var text = ""
        for (name, summary) in rows {
            let lines = lines(summary, width: width - first - 6)
            let margin = String(repeating: " ", count: first - name.count)
            text += "    \(name)\(margin)  \(lines.first ?? "")\n"
            for line in lines.dropFirst() {
                text += String(repeating: " ", count: first + 6) + line + "\n"
            }
        }
        return text
    }

    /// Paragraphs are separated by empty lines.
    private static func wrap(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { paragraph in
            lines(String(paragraph), width: width).map { $0 + "\n" }.joined()
        }.joined()
    }

    private static func lines(_ text: String, width: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            let last = lines[lines.count - 1]
            if last.isEmpty {
                lines[lines.count - 1] = String(word)
            } else if last.count + 1 + word.count <= width {
                lines[lines.count - 1] = last + " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }
}
