import Testing

@testable import Protocol

@Suite("Fields, names, subjects and the table of actions")
struct FieldTests {
    private let fields = Fields(
        ["s": "x", "i": 3, "d": 3.0, "b": true, "a": ["x", 1], "ss": ["x", "y"], "n": .null],
        path: "outer")

    @Test func strings() throws {
        #expect(try fields.strings("ss") == ["x", "y"])
        #expect(try fields.strings("absent") == nil)
        #expect(
            throws: MessageError(
                field: "outer.a[1]", reason: "a string is expected, not a number")
        ) { try fields.strings("a") }
        #expect(
            throws: MessageError(
                field: "outer.s", reason: "an array of strings is expected, not a string")
        ) { try fields.strings("s") }
    }

    @Test func numbers() throws {
        #expect(try fields.integer("i") == 3)
        #expect(try fields.double("i") == 3)
        #expect(throws: MessageError.self) { try fields.integer("d") }
        #expect(throws: MessageError.self) { try fields.double("b") }
        #expect(throws: MessageError.self) { try fields.double("i", in: 4...5) }
        #expect(try fields.double("n") == nil)
    }

    @Test("others are what is not named")
    func others() {
        #expect(fields.others(than: ["s", "i", "d", "b", "a", "n"]) == ["ss": ["x", "y"]])
    }

    @Test(
        "names",
        arguments: [
            ("nova", true), ("a", true), ("0", true), ("thermal-sentinel_1", true), ("-", true),
            (String(repeating: "a", count: 63), true), (String(repeating: "a", count: 64), false),
            ("", false), ("Nova", false), ("a.b", false), ("*", false), (">", false),
            ("a b", false), ("é", false), ("a\n", false), ("a\0", false), ("..", false),
        ])
    func names(name: String, isValid: Bool) { #expect(Name.isValid(name) == isValid) }

    @Test func quoting() {
        #expect(Name.quoted("a\n\u{1b}[1m\u{85}é") == #""a\u{a}\u{1b}[1m\u{85}é""#)
        #expect(Name.quoted(String(repeating: "x", count: 100)).utf8.count == 64 + 2 + 3)
    }

    @Test(
        "the node of a subject",
        arguments: [
            ("skos.alert.nova", "nova"), ("skos.alert.", nil), ("nova", nil), ("", nil),
            ("skos.alert.No", nil), ("skos.alert.a b", nil), ("skos.alert.*", nil),
        ] as [(String, String?)])
    func subjectNode(subject: String, node: String?) { #expect(Subjects.node(of: subject) == node) }

    @Test(
        "throttle_N",
        arguments: [
            ("throttle_1", 1), ("throttle_50", 50), ("throttle_90", 90), ("throttle_0", nil),
            ("throttle_91", nil), ("throttle_050", nil), ("throttle_+5", nil), ("throttle_", nil),
            ("throttle", nil), ("throttle_-5", nil), ("THROTTLE_50", nil),
            ("throttle_99999999999999999999", nil),
        ] as [(String, Int?)])
    func throttle(action: String, percent: Int?) {
        #expect(ActionTable.throttlePercent(action) == percent)
        #expect((ActionTable.kind(of: action) != nil) == (percent != nil))
    }

    @Test("every verb in the table has a valid name and a kind")
    func table() {
        for name in ActionTable.names {
            #expect(Name.isValid(name))
            #expect(ActionTable.kind(of: name) != nil)
        }
        #expect(ActionTable.kind(of: "rm") == nil)
        #expect(ActionTable.kind(of: "failover")?.isDisruptive == true)
    }

    @Test func severities() {
        #expect(Severity.allCases == Severity.allCases.sorted())
        #expect(Severity.ok < .warning && Severity.critical < .emergency)
    }

    @Test("the first policy that matches counts")
    func policies() {
        let set = PolicySet(policies: [
            Policy(type: "a", severity: .warning, ladder: [Rung(action: "x")]),
            Policy(type: "a", severity: .warning, ladder: [Rung(action: "y")]),
        ])
        #expect(set.policy(type: "a", severity: .warning)?.ladder.first?.action == "x")
        #expect(set.policy(type: "a", severity: .critical) == nil)
        #expect(set.policies[0].name == "a/warning")
    }
}
