import Testing

@testable import Protocol

@Suite("JSON")
struct JSONTests {
    /// Text and the value it means.
    static let good: [(String, JSON)] = [
        ("null", .null), ("true", true), (" false ", false), ("\t\r\n 1 ", 1),
        ("0", 0), ("-0", 0), ("-1", -1),
        ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)),
        ("-9223372036854775809", .number(-9_223_372_036_854_775_808)),
        ("1.0", 1.0), ("1e3", 1000.0), ("1E+3", 1000.0), ("12.5e-1", 1.25), ("-0.0", -0.0),
        ("1e308", 1e308), ("5e-324", .number(.leastNonzeroMagnitude)), ("1e-400", 0.0),
        (#""""#, ""), (#""a""#, "a"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (#""\u0041\u00e9\u20AC""#, "Aé€"), (#""\ud83d\ude00""#, "😀"), (#""😀""#, "😀"),
        (#""\u0000""#, "\0"), ("\"\u{7f}\u{2028}\"", "\u{7f}\u{2028}"),
        (#""plain then \u00b0C and more""#, "plain then °C and more"),
        ("[]", []), ("[ ]", []), ("[1, [2], {}]", [1, [2], [:]]),
        ("{}", [:]), ("{ }", [:]), (#"{"a":1 , "b":{"a":null}}"#, ["a": 1, "b": ["a": .null]]),
        (#"{"":1}"#, ["": 1]), (#"{"\u0061":1}"#, ["a": 1]),
    ]

    @Test("reads what RFC 8259 allows", arguments: good)
    func reads(text: String, value: JSON) throws {
        #expect(try JSON.parse(text) == value)
    }

    @Test("writes what it reads back", arguments: good)
    func roundTrip(text: String, value: JSON) throws {
        #expect(try JSON.parse(value.text) == value)
        #expect(try JSON.parse(value.pretty) == value)
    }

    /// Text, the byte of the fault, and a part of the reason.
    static let bad: [(String, Int, String)] = [
        ("", 0, "the text ends"), ("  ", 2, "the text ends"), ("nul", 0, "a value"),
        ("nulll", 4, "text after"), ("True", 0, "a value"), ("NaN", 0, "a value"),
        ("Infinity", 0, "a value"), ("-Infinity", 1, "a digit"), ("-", 1, "a digit"),
        ("+1", 0, "a value"), ("01", 1, "text after"), ("-01", 2, "text after"),
        ("1.", 2, "a digit"), (".5", 0, "a value"), ("1e", 2, "a digit"), ("1e+", 3, "a digit"),
        ("0x10", 1, "text after"), ("1_000", 1, "text after"),
        ("1e309", 0, "outside the range"), ("-1e309", 0, "outside the range"),
        ("[1e999]", 1, "outside the range"),
        ("'a'", 0, "a value"), ("\"a", 2, "inside a string"), ("\"a\n\"", 2, "control character"),
        ("\"\\n\u{1}\"", 3, "control character"), (#""\x41""#, 2, "unknown escape"),
        (#""\"#, 2, "inside a string"), (#""\u12"#, 3, "inside a string"),
        (#""\u12G4""#, 5, "hexadecimal"), (#""\u+123""#, 3, "hexadecimal"),
        (#""\ud800""#, 7, "surrogate"), (#""\udc00""#, 7, "surrogate"),
        (#""\ud800x""#, 7, "surrogate"), (#""\ud800\n""#, 7, "surrogate"),
        (#""\ud800\u0041""#, 13, "surrogate"), (#""\ud83d\ud83d""#, 13, "surrogate"),
        ("[1,]", 3, "a value"), ("[,1]", 1, "a value"), ("[1 2]", 3, "',' or ']'"),
        ("[1", 2, "',' or ']'"), ("[", 1, "a value"), ("]", 0, "a value"), ("[1}", 2, "',' or"),
        ("{", 1, "a member name"), (#"{"a"}"#, 4, "':'"), (#"{"a":}"#, 5, "a value"),
        (#"{"a":1,}"#, 7, "a member name"), ("{a:1}", 1, "a member name"),
        (#"{"a":1 "b":2}"#, 7, "',' or '}'"), ("{1:2}", 1, "a member name"),
        (#"{"a":1,"a":2}"#, 7, "\"a\" stands twice"),
        (#"{"a":1,"\u0061":2}"#, 7, "\"a\" stands twice"),
        ("1 2", 2, "text after"), ("{} {}", 3, "text after"), ("[]]", 2, "text after"),
        ("\u{feff}1", 0, "a value"), ("1/**/", 1, "text after"), ("\u{b}1", 0, "a value"),
    ]

    @Test("refuses everything else and says where", arguments: bad)
    func refuses(text: String, offset: Int, reason: String) {
        #expect {
            try JSON.parse(text)
        } throws: { error in
            let error = error as? JSONError
            return error?.offset == offset && error?.reason.contains(reason) == true
        }
    }

    static let badUTF8: [[UInt8]] = [
        [0x80], [0xC0, 0xAF], [0xC3], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
        [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFF], [0xFE], [0x41, 0xC3, 0x28],
    ]

    @Test("refuses invalid UTF-8, with and without an escape in the string", arguments: badUTF8)
    func refusesInvalidUTF8(bytes: [UInt8]) {
        for prefix in [#"""#, #""\n"#, #"{"a":""#] {
            #expect(throws: JSONError.self) { try JSON.parse(Array(prefix.utf8) + bytes + [0x22]) }
        }
        #expect(throws: JSONError.self) { try JSON.parse([0x5B] + bytes + [0x5D]) }
    }

    @Test("nesting is bounded exactly, also that of a bomb")
    func depth() throws {
        func nested(_ count: Int) -> String {
            String(repeating: "[", count: count) + String(repeating: "]", count: count)
        }
        _ = try JSON.parse(nested(JSON.depthLimit))
        #expect(throws: JSONError(offset: 64, reason: "nested deeper than 64 levels")) {
            try JSON.parse(nested(JSON.depthLimit + 1))
        }
        #expect(throws: JSONError.self) { try JSON.parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONError.self) {
            try JSON.parse(String(repeating: #"{"a":"#, count: 1_000_000))
        }
        // Depth is counted along one path only.
        let siblings = "[" + Array(repeating: nested(60), count: 100).joined(separator: ",") + "]"
        _ = try JSON.parse(siblings)
    }

    @Test("ten thousand members are read, and a duplicate among them is found")
    func manyMembers() throws {
        let members = (0..<10_000).map { "\"m\($0)\":\($0)" }
        let object = try #require(JSON.parse("{" + members.joined(separator: ",") + "}").object)
        #expect(object.members.count == 10_000)
        #expect(object["m9999"] == 9999)
        for twin in ["m0", "m15", "m16", "m9998"] {
            let text = "{" + (members + ["\"\(twin)\":0"]).joined(separator: ",") + "}"
            #expect(throws: JSONError.self, "\(twin)") { try JSON.parse(text) }
        }
    }

    @Test("a long duplicate name does not make a long error")
    func longDuplicate() {
        let name = String(repeating: "x", count: 20_000)
        #expect {
            try JSON.parse("{\"\(name)\":1,\"\(name)\":2}")
        } throws: { ($0 as? JSONError)?.reason.utf8.count ?? .max < 200 }
    }

    static let written: [(JSON, String)] = [
        (.null, "null"), (.integer(.min), "-9223372036854775808"), (.number(0.1), "0.1"),
        (.number(1), "1.0"), (.number(-0.0), "-0.0"), (.number(1e21), "1e+21"),
        (.number(.infinity), "null"), (.number(.nan), "null"), (.number(-.infinity), "null"),
        ("\u{0}\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""), ("a\"\\/\n\r\t", #""a\"\\/\n\r\t""#),
        ("87.5°C 😀", "\"87.5°C 😀\""), ([], "[]"), ([:], "{}"),
        (["b": 1, "a": [true, "x"]], #"{"b":1,"a":[true,"x"]}"#), (["\n": 1], #"{"\n":1}"#),
    ]

    @Test("writes compact text in the order of the members", arguments: written)
    func writes(value: JSON, text: String) { #expect(value.text == text) }

    @Test("pretty text is indented by two spaces")
    func pretty() {
        let value: JSON = ["a": [1, [:]], "b": ["c": []], "d": "x"]
        #expect(
            value.pretty == """
                {
                  "a": [
                    1,
                    {}
                  ],
                  "b": {
                    "c": []
                  },
                  "d": "x"
                }
                """)
    }

    @Test("objects: order is kept, does not matter to equality, and nil removes")
    func objects() {
        var object: JSON.Object = ["a": 1, "b": 2]
        #expect(object == ["b": 2, "a": 1])
        #expect(object != ["a": 1])
        #expect(object != ["a": 1, "b": 3])
        object["a"] = nil
        object["c"] = 3
        object["b"] = 4
        #expect(JSON.object(object).text == #"{"b":4,"c":3}"#)
        object.append(["b": 9, "z": 1], except: ["b"])
        #expect(JSON.object(object).text == #"{"b":4,"c":3,"z":1}"#)
        #expect(object["absent"] == nil)
    }
}
