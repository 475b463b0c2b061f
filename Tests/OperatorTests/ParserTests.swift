import Testing

@testable import Operator

/// A grammar with every kind of flag and argument.
private let grammar = Grammar([
    Verb("status", "say how it is") { _ in .done },
    Verb(
        "agent", "run agents",
        parameters: [Parameter("KIND", .oneOrMore, choices: ["thermal", "storage"], "which")],
        isService: true
    ) { _ in .done },
    Verb(
        "audit tail", "the last records",
        flags: [
            Flag("follow", short: "f", "go on"), Flag("count", short: "n", value: "N", "how many"),
        ]
    ) { _ in .done },
    Verb(
        "audit verify", "check it", parameters: [Parameter("FILE", .optional, "an export")]
    ) { _ in .done },
    Verb(
        "inject", "raise an alert", parameters: [Parameter("NODE", .one, "where")],
        flags: [Flag("value", value: "NUMBER", "how much")]
    ) { _ in .done },
])

private func parse(_ line: String) throws -> Request {
    try Parser(grammar).parse(line.split(separator: " ").map(String.init))
}

/// What was understood, in one line: verb, flags in order of their names, arguments.
private func understood(_ line: String) throws -> String {
    switch try parse(line) {
    case .help(let path): return "help " + path.joined(separator: " ")
    case .version: return "version"
    case .run(let invocation):
        let flags = invocation.values.sorted { $0.key < $1.key }.map { name, values in
            "\(name)=\(values.joined(separator: ","))"
        }
        let parts = [invocation.verb.name] + flags + invocation.arguments.map { "'\($0)'" }
        return parts.joined(separator: " ")
    }
}

@Suite struct ParserTests {
    @Test(
        "understands",
        arguments: [
            ("", "help "),
            ("--help", "help "),
            ("-h", "help "),
            ("help", "help "),
            ("help status", "help status"),
            ("help audit", "help audit"),
            ("help audit tail", "help audit tail"),
            ("audit --help", "help audit"),
            ("audit tail -h", "help audit tail"),
            ("--help status", "help status"),
            ("status --help --bogus-not-reached", nil),
            ("--version", "version"),
            ("status", "status"),
            ("-o json status", "status output=json"),
            ("status -o json", "status output=json"),
            ("status -ojson", "status output=json"),
            ("status -o=json", "status output=json"),
            ("status --output=json", "status output=json"),
            ("status --timeout 2s --timeout 3s", "status timeout=2s,3s"),
            ("--config a status --config b", "status config=a,b"),
            ("status -c x", "status config=x"),
            ("audit tail -f -n 5", "audit tail count=5 follow="),
            ("audit tail -fn5", "audit tail count=5 follow="),
            ("audit tail -n5 -f", "audit tail count=5 follow="),
            ("audit verify", "audit verify"),
            ("audit verify file", "audit verify 'file'"),
            ("audit verify -", "audit verify '-'"),
            ("audit verify -- -f", "audit verify '-f'"),
            ("audit verify -- --", "audit verify '--'"),
            ("agent thermal storage", "agent 'thermal' 'storage'"),
            ("inject nova --value -5", "inject value=-5 'nova'"),
            ("inject --value=-5 nova", "inject value=-5 'nova'"),
        ] as [(String, String?)])
    func understands(line: String, expected: String?) throws {
        guard let expected else {
            #expect(throws: UsageError.self) { try understood(line) }
            return
        }
        #expect(try understood(line) == expected)
    }

    @Test(
        "refuses, and says what was meant",
        arguments: [
            ("statsu", #"unknown verb "statsu"; did you mean "status"?"#),
            ("hlep", #"unknown verb "hlep"; did you mean "help"?"#),
            ("xyzzy", #"unknown verb "xyzzy""#),
            ("-o json", "no verb given"),
            (
                "status --outptu json",
                #"unknown flag "--outptu" for status; did you mean --output?"#
            ),
            ("status -x", #"unknown flag "-x" for status"#),
            ("status --config", "--config needs a value"),
            ("status -o", "--output needs a value"),
            ("status -o yaml", #"--output: "yaml" is not one of table, json"#),
            ("status --help=yes", "--help takes no value"),
            ("status now", #"status: "now" is one argument too many"#),
            ("inject", "inject: NODE is missing: where"),
            ("audit", "audit: one of tail, verify must follow"),
            ("audit tial", #"audit: unknown verb "tial"; did you mean "tail"?"#),
            ("agent", "agent: KIND is missing"),
            (
                "agent termal",
                #"unknown KIND "termal"; known: thermal, storage; did you mean "thermal"?"#
            ),
            ("help statsu", #"there is no such verb; did you mean "status"?"#),
            ("audit tail --\u{1B}[31m", #"unknown flag "--\u{1b}[31m""#),
        ])
    func refuses(line: String, message: String) {
        let error = #expect(throws: UsageError.self) { try parse(line) }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
    }

    @Test(
        "durations",
        arguments: [
            ("5", Duration.seconds(5)), ("0.5", .milliseconds(500)), ("5s", .seconds(5)),
            ("250ms", .milliseconds(250)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
            ("0", nil), ("-1", nil), ("25h", nil), ("nan", nil), ("inf", nil), ("5x", nil),
            ("s", nil), ("", nil), ("1e300h", nil),
        ] as [(String, Duration?)])
    func durations(text: String, expected: Duration?) throws {
        var invocation = Invocation(verb: grammar.verbs[0])
        #expect(try invocation.duration("timeout", default: .seconds(9)) == .seconds(9))
        invocation.values["timeout"] = [text]
        if let expected {
            #expect(try invocation.duration("timeout", default: .seconds(9)) == expected)
        } else {
            #expect(throws: UsageError.self) {
                try invocation.duration("timeout", default: .seconds(9))
            }
        }
    }

    @Test(
        "whole numbers within their range",
        arguments: ["0", "11", "x", "", "1.5", "99999999999999999999"])
    func integers(text: String) throws {
        var invocation = Invocation(verb: grammar.verbs[0])
        invocation.values["n"] = [text]
        #expect(throws: UsageError.self) { try invocation.integer("n", in: 1...10, default: 3) }
        invocation.values["n"] = ["7"]
        #expect(try invocation.integer("n", in: 1...10, default: 3) == 7)
    }
}
