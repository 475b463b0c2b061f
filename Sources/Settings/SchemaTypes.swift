import Protocol

/// What a value of the configuration may be.
indirect enum Kind: Sendable {
    case flag
    case integer(ClosedRange<Int>)
    /// A finite number; `unit` is what it counts, such as `°C`.
    case number(ClosedRange<Double>, unit: String)
    case duration(ClosedRange<Duration>)
    /// A number of bytes.
    case size(ClosedRange<Int64>)
    case text(TextRule)
    case choice(Choice)
    /// A list of at least one element, so that an empty one never comes to mean everything; unless it
    /// may be empty, where that can only mean none.
    case list(Kind, most: Int, example: String, mayBeEmpty: Bool = false)
    case section(Section)
    /// A mapping from names to values of one kind, with at least one entry.
    case dictionary(names: TextRule, Kind, most: Int)
    /// The kind that has the shape of what was written: scalar, list or mapping. Messages name the
    /// first one.
    case either([Kind])
    /// Parameters handed through as they are: a mapping of anything that JSON can say.
    case json

    /// The outer form by which `either` decides.
    enum Shape: Sendable { case scalar, list, mapping }

    var shape: Shape {
        switch self {
        case .flag, .integer, .number, .duration, .size, .text, .choice, .either: .scalar
        case .list: .list
        case .section, .dictionary, .json: .mapping
        }
    }

    /// How error messages say what is expected.
    var expectation: String {
        switch self {
        case .flag: "true or false"
        case .integer: "a whole number"
        case .number(_, let unit): unit.isEmpty ? "a number" : "a plain number (\(unit))"
        case .duration: "a duration such as 500ms, 30s, 1h30m or 7d"
        case .size: "a size such as 500M or 1G"
        case .text(let rule): rule.what
        case .choice(let choice): "one of " + choice.values.joined(separator: ", ")
        case .list(_, _, let example, _): "a list such as \(example)"
        case .section(let section): "a mapping, with keys such as \(section.keys[0].name)"
        case .dictionary(let rule, _, _): "a mapping whose keys are each \(rule.what)"
        case .either(let kinds): kinds[0].expectation
        case .json: "a mapping"
        }
    }
}

/// One of some words.
struct Choice: Sendable {
    var values: [String]
    /// Other words that the environment may use for a value, in lower case.
    var synonyms: [String: String] = [:]
}

/// What a text must look like.
struct TextRule: Sendable {
    /// Such as `a node name`.
    var what: String
    /// The rule for people, such as `1 to 63 of a-z, 0-9, _ and -`.
    var rule: String
    /// The same as a regular expression for the JSON Schema.
    var pattern: String
    /// Bytes.
    var longest: Int
    /// The rule itself.
    var accepts: @Sendable (String) -> Bool
    /// Why this very text is refused, where the rule would not tell; `nil`: the rule does.
    var objection: @Sendable (String) -> String? = { _ in nil }
    /// What a text that breaks the rule might have meant.
    var suggestion: @Sendable (String) -> String? = { _ in nil }
    /// How to show a value in a message; addresses can hold passwords.
    var shown: @Sendable (String) -> String = { Name.quoted($0) }
}

/// One key of a section.
struct Key: Sendable {
    var name: String
    var kind: Kind
    /// What holds when the key is missing, as it would be written in the file. `nil`: it stays open.
    var fallback: JSON?
    /// What holds when the key is missing and `fallback` is `nil`, in words.
    var otherwise: String
    /// For the documentation and editors: one sentence, the unit included.
    var doc: String
    /// The environment variable that overrides it.
    var variable: String?
    /// Whether the section makes no sense without it.
    var isRequired: Bool
    /// Words that people may try instead; only for did-you-mean.
    var alsoTried: [String]

    init(
        _ name: String, _ kind: Kind, default fallback: JSON? = nil, otherwise: String = "",
        variable: String? = nil, isRequired: Bool = false, alsoTried: [String] = [], _ doc: String
    ) {
        self.name = name
        self.kind = kind
        self.fallback = fallback
        self.otherwise = otherwise
        self.doc = doc
        self.variable = variable
        self.isRequired = isRequired
        self.alsoTried = alsoTried
    }
}

/// A mapping with known keys.
struct Section: Sendable {
    /// At least one.
    var keys: [Key]
    /// Whether it may be written without any key.
    var mayBeEmpty = false

    func key(_ name: String) -> Key? { keys.first { $0.name == name } }
}

extension JSON {
    /// A duration as it is written in the file.
    static func duration(_ duration: Duration) -> JSON { .string(durationText(duration)) }

    /// A size as it is written in the file.
    static func size(_ bytes: Int64) -> JSON { .string(sizeText(bytes)) }

    /// Texts as a list.
    static func texts(_ texts: [String]) -> JSON { .array(texts.map(JSON.string)) }

    /// A number as it is written in the file: without `.0`.
    static func plainNumber(_ value: Double) -> JSON {
        Int64(exactly: value).map(JSON.integer) ?? .number(value)
    }
}
