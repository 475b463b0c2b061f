/// A flag that a verb takes, such as `--limit N`.
package struct Flag: Sendable {
    /// Without the dashes, such as `limit`.
    package var name: String
    /// For `-n`.
    package var short: Character?
    /// What stands for the value in the help, such as `N`; `nil`: the flag takes no value.
    package var value: String?
    package var summary: String
    /// The only values it takes; empty: any.
    package var choices: [String]

    package init(
        _ name: String, short: Character? = nil, value: String? = nil, choices: [String] = [],
        _ summary: String
    ) {
        self.name = name
        self.short = short
        self.value = value
        self.choices = choices
        self.summary = summary
    }

    /// `-n, --limit N`
    var synopsis: String {
        (short.map { "-\($0), " } ?? "    ") + "--\(name)" + (value.map { " \($0)" } ?? "")
    }
}

/// An argument that a verb takes, such as `NODE`.
package struct Parameter: Sendable {
    package enum Count: Sendable {
        case one, optional, oneOrMore
    }

    /// Such as `NODE`.
    package var name: String
    package var count: Count
    package var summary: String
    /// The only values it takes; empty: any.
    package var choices: [String]
    /// Whether it names a file, for completion.
    package var isFile: Bool

    package init(
        _ name: String, _ count: Count, choices: [String] = [], isFile: Bool = false,
        _ summary: String
    ) {
        self.name = name
        self.count = count
        self.summary = summary
        self.choices = choices
        self.isFile = isFile
    }

    /// `NODE`, `[FILE]` or `KIND…`
    var synopsis: String {
        switch count {
        case .one: name
        case .optional: "[\(name)]"
        case .oneOrMore: "\(name)…"
        }
    }
}

/// One thing that `skos` can do.
package struct Verb: Sendable {
    /// Its words on the command line, such as `audit`, `tail`.
    package var path: [String]
    /// One line for the list of verbs.
    package var summary: String
    /// More, for its own help.
    package var details: String
    package var parameters: [Parameter]
    package var flags: [Flag]
    package var examples: [String]
    /// Runs until it is asked to stop, instead of doing one thing.
    package var isService: Bool
    package var run: @Sendable (Context) async throws -> ExitCode

    package init(
        _ path: String, _ summary: String, details: String = "", parameters: [Parameter] = [],
        flags: [Flag] = [], examples: [String] = [], isService: Bool = false,
        run: @escaping @Sendable (Context) async throws -> ExitCode
    ) {
        self.path = path.split(separator: " ").map(String.init)
        self.summary = summary
        self.details = details
        self.parameters = parameters
        self.flags = flags
        self.examples = examples
        self.isService = isService
        self.run = run
    }

    /// `audit tail`
    package var name: String { path.joined(separator: " ") }
}

/// All verbs, and the flags that each of them takes.
package struct Grammar: Sendable {
    package var verbs: [Verb]

    /// Flags of every verb.
    package static let common: [Flag] = [
        Flag(
            "config", short: "c", value: "FILE",
            "the configuration; default: $SKOS_CONFIG, ./config.yaml, /etc/skos/config.yaml"),
        Flag("nats", value: "URL", "the NATS server, instead of the configuration's or NATS_URL"),
        Flag(
            "output", short: "o", value: "FORMAT", choices: ["table", "json"],
            "table for people, json for programs"),
        Flag(
            "timeout", value: "TIME",
            "how long to wait for an answer; default: 5s, for explain and inject --wait 60s"),
        Flag("help", short: "h", "say how it is used"),
    ]

    package init(_ verbs: [Verb]) { self.verbs = verbs }

    /// The first words, in the order of the verbs.
    var firstWords: [String] {
        var words: [String] = []
        for verb in verbs where words.last != verb.path[0] && !words.contains(verb.path[0]) {
            words.append(verb.path[0])
        }
        return words
    }

    /// The verbs that begin with these words.
    func verbs(under path: [String]) -> [Verb] { verbs.filter { $0.path.starts(with: path) } }
}
