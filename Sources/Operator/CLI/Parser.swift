import Settings

/// A command line that was understood.
package struct Invocation: Sendable {
    package var verb: Verb
    /// The values of each flag, in the order given; those of flags without value are empty.
    package var values: [String: [String]] = [:]
    package var arguments: [String] = []

    package init(verb: Verb) { self.verb = verb }

    /// Whether a flag was given.
    package func has(_ flag: String) -> Bool { values[flag] != nil }

    /// The last value given for a flag.
    package func value(_ flag: String) -> String? { values[flag]?.last }

    /// A whole number.
    ///
    /// - Throws: `UsageError` for anything else, or a number out of the range.
    package func integer(
        _ flag: String, in range: ClosedRange<Int>, default fallback: Int
    ) throws(UsageError) -> Int {
        guard let text = value(flag) else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw UsageError(
                "--\(flag): \(Text.quoted(text)) is not a whole number from \(range.lowerBound) "
                    + "to \(range.upperBound)", verb: verb.path)
        }
        return number
    }

    /// A duration: `5s`, `500ms`, `2m`, `1h`, or a plain number of seconds; more than nothing, and at
    /// most a day.
    ///
    /// - Throws: `UsageError` for anything else.
    package func duration(
        _ flag: String, default fallback: Duration
    ) throws(UsageError) -> Duration {
        guard let text = value(flag) else { return fallback }
        let units: [(String, Double)] = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("", 1)]
        for (unit, seconds) in units where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.utf8.count)), number > 0,
                number * seconds <= 86_400
            else { break }
            return .microseconds(Int64(number * seconds * 1e6))
        }
        throw UsageError(
            "--\(flag): \(Text.quoted(text)) is not a duration such as 500ms, 5s or 2m",
            verb: verb.path)
    }
}

/// What a command line asks for.
package enum Request: Sendable {
    case run(Invocation)
    /// The help of the verb, or group of verbs, with these words; empty: the program's.
    case help([String])
    case version
}

/// Reads command lines.
package struct Parser: Sendable {
    private let grammar: Grammar

    package init(_ grammar: Grammar) { self.grammar = grammar }

    /// Understands the words after the program's name.
    ///
    /// Flags may stand anywhere, also before the verb; after `--` nothing is a flag.
    /// - Throws: `UsageError` saying which word is wrong and, where one is near, what was meant.
    package func parse(_ words: [String]) throws(UsageError) -> Request {
        if words.first == "help" {
            return .help(try topic(words.dropFirst().filter { !$0.hasPrefix("-") }))
        }
        var line = Line(words: words)
        let before = try line.takeFlags(Grammar.common + [Flag("version", "")], verb: [])
        if before["version"] != nil { return .version }
        guard let first = line.next() else {
            if before["help"] != nil || words.isEmpty { return .help([]) }
            throw UsageError("no verb given")
        }
        guard let verb = try verb(first, &line) else { return .help([first]) }
        var invocation = Invocation(verb: verb)
        invocation.values = before
        let flags = verb.flags + Grammar.common
        while !line.isAtEnd {
            for (name, values) in try line.takeFlags(flags, verb: verb.path) {
                invocation.values[name, default: []] += values
            }
            if let word = line.next() { invocation.arguments.append(word) }
        }
        if invocation.has("help") { return .help(verb.path) }
        try check(invocation)
        return .run(invocation)
    }

    /// The verb that begins with the word; takes a second word where there is a group of verbs. `nil`:
    /// the group's help is asked for.
    private func verb(_ first: String, _ line: inout Line) throws(UsageError) -> Verb? {
        let under = grammar.verbs(under: [first])
        guard let head = under.first else {
            let hint = didYouMean(first, among: grammar.firstWords + ["help"])
            throw UsageError("unknown verb \(Text.quoted(first))\(hint)")
        }
        if head.path.count == 1 { return head }
        let seconds = under.map { $0.path[1] }
        let list = seconds.joined(separator: ", ")
        guard let second = line.next() else {
            throw UsageError("\(first): one of \(list) must follow", verb: [first])
        }
        if second == "-h" || second == "--help" { return nil }
        if let verb = under.first(where: { $0.path[1] == second }) { return verb }
        let hint = didYouMean(second, among: seconds)
        throw UsageError(
            "\(first): unknown verb \(Text.quoted(second))\(hint); one of \(list) must follow",
            verb: [first])
    }

    private func topic(_ words: [String]) throws(UsageError) -> [String] {
        guard let first = words.first else { return [] }
        guard grammar.verbs(under: [first]).first != nil else {
            let hint = didYouMean(first, among: grammar.firstWords)
            throw UsageError("no help on \(Text.quoted(first)): there is no such verb\(hint)")
        }
        let path = Array(words.prefix(2))
        return grammar.verbs(under: path).isEmpty ? [first] : path
    }

    private func check(_ invocation: Invocation) throws(UsageError) {
        let verb = invocation.verb
        func wrong(_ message: String) -> UsageError {
            UsageError("\(verb.name): \(message)", verb: verb.path)
        }
        for flag in verb.flags + Grammar.common where !flag.choices.isEmpty {
            for value in invocation.values[flag.name] ?? [] where !flag.choices.contains(value) {
                throw wrong(
                    "--\(flag.name): \(Text.quoted(value)) is not one of "
                        + flag.choices.joined(separator: ", ")
                        + didYouMean(value, among: flag.choices))
            }
        }
        var rest = invocation.arguments[...]
        for parameter in verb.parameters {
            let isMissing = rest.isEmpty && parameter.count != .optional
            if isMissing { throw wrong("\(parameter.name) is missing: \(parameter.summary)") }
            let taken = parameter.count == .oneOrMore ? rest : rest.prefix(1)
            rest = rest.dropFirst(taken.count)
            for word in taken
            where !parameter.choices.isEmpty && !parameter.choices.contains(word) {
                throw wrong(
                    "unknown \(parameter.name) \(Text.quoted(word)); known: "
                        + parameter.choices.joined(separator: ", ")
                        + didYouMean(word, among: parameter.choices))
            }
        }
        if let extra = rest.first {
            throw wrong("\(Text.quoted(extra)) is one argument too many")
        }
    }
}

/// The words of a command line, taken from the front.
private struct Line {
    private var words: ArraySlice<String>
    /// Whether `--` was seen.
    private var isLiteral = false

    init(words: [String]) { self.words = words[...] }

    var isAtEnd: Bool { words.isEmpty }

    mutating func next() -> String? { words.popFirst() }

    /// Takes flags until something else comes.
    mutating func takeFlags(
        _ flags: [Flag], verb: [String]
    ) throws(UsageError) -> [String: [String]] {
        var values: [String: [String]] = [:]
        while !isLiteral, let word = words.first, word.hasPrefix("-"), word != "-" {
            words.removeFirst()
            if word == "--" {
                isLiteral = true
            } else if word.hasPrefix("--") {
                try takeLong(word.dropFirst(2), flags, verb, &values)
            } else {
                try takeShort(word.dropFirst(), flags, verb, &values)
            }
        }
        return values
    }

    private mutating func takeLong(
        _ text: Substring, _ flags: [Flag], _ verb: [String], _ values: inout [String: [String]]
    ) throws(UsageError) {
        let name = String(text.prefix { $0 != "=" })
        guard let flag = flags.first(where: { $0.name == name }) else {
            let hint = nearest(to: name, among: flags.map(\.name)).map { "; did you mean --\($0)?" }
            throw unknown("--\(name)", hint ?? "", verb)
        }
        let given = text.count > name.count ? String(text.dropFirst(name.count + 1)) : nil
        if flag.value == nil, given != nil {
            throw UsageError("--\(name) takes no value", verb: verb)
        }
        var taken: [String] = []
        if flag.value != nil {
            if let given { taken = [given] } else { taken = [try value(of: flag, verb)] }
        }
        values[name, default: []] += taken
    }

    /// `-f`, `-n5`, `-n 5`, `-fn5`
    private mutating func takeShort(
        _ text: Substring, _ flags: [Flag], _ verb: [String], _ values: inout [String: [String]]
    ) throws(UsageError) {
        var rest = text
        while let letter = rest.popFirst() {
            guard let flag = flags.first(where: { $0.short == letter }) else {
                throw unknown("-\(letter)", "", verb)
            }
            guard flag.value != nil else {
                values[flag.name, default: []] += []
                continue
            }
            let given = rest.first == "=" ? rest.dropFirst() : rest
            values[flag.name, default: []] +=
                [rest.isEmpty ? try value(of: flag, verb) : String(given)]
            return
        }
    }

    private mutating func value(of flag: Flag, _ verb: [String]) throws(UsageError) -> String {
        guard let word = words.popFirst() else {
            throw UsageError("--\(flag.name) needs a value: \(flag.summary)", verb: verb)
        }
        return word
    }

    private func unknown(_ flag: String, _ hint: String, _ verb: [String]) -> UsageError {
        let whose = verb.isEmpty ? "" : " for \(verb.joined(separator: " "))"
        return UsageError("unknown flag \(Text.quoted(flag))\(whose)\(hint)", verb: verb)
    }
}
