import Testing

@testable import Protocol

/// A message with every field set, and how it is read: the object, or the error.
private struct Kind: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var complete: String
    /// Decodes, and returns what the message says of itself.
    var read: @Sendable (String) -> Result<JSON.Object, MessageError>

    static let all = [alert, heartbeat, command, result]

    static let alert = Kind(
        testDescription: "alert",
        complete: """
            {"id":"a-1","agent_id":"agent-1","type":"thermal","severity":"critical","node":"nova",\
            "resource":"cpu","message":"hot","value":87.5,"unit":"°C","threshold":85.0,\
            "cause":"test","drill":true,"details":{"temperature":87.5,"x":[1]},\
            "timestamp":"2024-01-01T00:00:00.123Z"}
            """,
        read: { text in
            outcome(text) { (bytes) throws(MessageError) in
                try Alert(decoding: bytes, node: "nova").object
            }
        })

    static let heartbeat = Kind(
        testDescription: "heartbeat",
        complete: """
            {"agent_id":"agent-1","agent_type":"thermal_sentinel","node":"nova",\
            "timestamp":"2024-01-01T00:00:00Z","cpu_temp":65.5,"gpu_temp":-7.25,\
            "metadata":{"verbs":["throttle_10"]}}
            """,
        read: { text in
            outcome(text) { (bytes) throws(MessageError) in
                try Heartbeat(decoding: bytes, node: "nova").object
            }
        })

    static let command = Kind(
        testDescription: "command",
        complete: """
            {"action_id":"nova:x:1","action_type":"throttle_50","operation":"renew",\
            "parameters":{"resource":"cpu"},"timestamp":"2024-01-01T00:00:00Z","node":"nova",\
            "agent_type":"thermal_sentinel","epoch":7,"deadline":"2024-01-01T00:00:30Z",\
            "lease":120,"incident":"nova:thermal:1","dry_run":true}
            """,
        read: { text in
            outcome(text) { (bytes) throws(MessageError) in
                try Command(decoding: bytes, node: "nova").object
            }
        })

    static let result = Kind(
        testDescription: "result",
        complete: """
            {"action_id":"nova:x:1","action_type":"throttle_50","agent_id":"agent-1","node":"nova",\
            "status":"done","outcome":"transient_failure","reason":"busy","duration_ms":12.5,\
            "effect":{"a":1},"undo":{"b":2},"dry_run":true,"incident":"nova:thermal:1",\
            "timestamp":"2024-01-01T00:00:00Z"}
            """,
        read: { text in
            outcome(text) { (bytes) throws(MessageError) in
                try CommandResult(decoding: bytes, node: "nova").object
            }
        })

    private static func outcome(
        _ text: String,
        _ read: (UnsafeRawBufferPointer) throws(MessageError) -> JSON.Object
    ) -> Result<JSON.Object, MessageError> {
        Array(text.utf8).withUnsafeBytes { bytes in
            do throws(MessageError) { return .success(try read(bytes)) } catch {
                return .failure(error)
            }
        }
    }

    func error(_ text: String) -> MessageError? {
        if case .failure(let error) = read(text) { error } else { nil }
    }

    /// The complete message with one member changed.
    func with(_ name: String, _ value: JSON?) throws -> String {
        var object = try #require(JSON.parse(complete).object)
        object[name] = value
        return JSON.object(object).text
    }

    func members() throws -> [(name: String, value: JSON)] {
        try #require(JSON.parse(complete).object).members
    }
}

@Suite("Messages")
struct MessageTests {
    @Test("come back as they went, members in their order", arguments: Kind.all)
    fileprivate func roundTrip(kind: Kind) throws {
        let object = try kind.read(kind.complete).get()
        #expect(JSON.object(object).text == kind.complete)
    }

    @Test("keep members they do not know", arguments: Kind.all)
    fileprivate func unknownMembers(kind: Kind) throws {
        let extra = #""zone":null,"trace":{"id":[1,2.5,"x"]},"hop":3}"#
        let text = kind.complete.dropLast() + "," + extra
        let object = try kind.read(String(text)).get()
        #expect(JSON.object(object).text == text)
    }

    @Test("name the field of a wrong type", arguments: Kind.all)
    fileprivate func wrongTypes(kind: Kind) throws {
        for member in try kind.members() {
            // A string is the wrong type for what is no string, and the other way round.
            let wrong: [JSON] =
                member.value.string == nil
                ? ["x", .array([1]), member.value.object == nil ? [:] : 5]
                : [5, true, .array([]), [:]]
            for value in wrong {
                let error = try #require(kind.error(kind.with(member.name, value)))
                #expect(error.field == member.name)
                #expect(error.reason.contains("is expected, not "), "\(error)")
            }
        }
    }

    @Test("count null as absent; only what is required may not be", arguments: Kind.all)
    fileprivate func nulls(kind: Kind) throws {
        let required: Set = [
            "type", "severity", "agent_id", "agent_type", "action_id", "action_type", "status",
            "outcome",
        ]
        for member in try kind.members() {
            let error = kind.error(try kind.with(member.name, .null))
            #expect(error == kind.error(try kind.with(member.name, nil)))
            guard let error else { continue }
            #expect(required.contains(member.name))
            #expect(error.field == member.name && error.reason == "is missing")
        }
        let needed = try kind.members().filter {
            try kind.error(kind.with($0.name, .null)) != nil
        }
        #expect(!needed.isEmpty)
    }

    @Test("of another node than the subject's are refused", arguments: Kind.all)
    fileprivate func nodeMismatch(kind: Kind) throws {
        let error = try #require(kind.error(kind.with("node", "lyra")))
        #expect(
            error
                == MessageError(
                    field: "node", reason: #""lyra" is not the subject's node "nova""#))
        #expect(kind.error(try kind.with("node", "Nova\n"))?.field == "node")
    }

    @Test("must be one object", arguments: Kind.all)
    fileprivate func wholes(kind: Kind) {
        for (text, reason) in [
            ("[]", "a JSON object is expected, not an array"),
            ("null", "a JSON object is expected, not null"),
            ("", "not valid JSON at byte 0: the text ends where a value is expected"),
            ("{", "not valid JSON at byte 1: a member name is expected"),
            (#"{"value":NaN}"#, "not valid JSON at byte 9: a value is expected"),
        ] { #expect(kind.error(text) == MessageError(field: "", reason: reason)) }
    }

    @Test("have a limit of size, and garbage is not even looked at", arguments: Kind.all)
    fileprivate func oversize(kind: Kind) throws {
        let room = Limits.messageBytes - kind.complete.utf8.count
        let spaces = String(repeating: " ", count: room)
        _ = try kind.read(kind.complete + spaces).get()
        #expect(
            kind.error(kind.complete + spaces + " ")
                == MessageError(field: "", reason: "65537 bytes is more than the 65536 allowed"))
        let garbage = String(repeating: "\u{0}[", count: 5 * 1024 * 1024)
        #expect(
            kind.error(garbage)
                == MessageError(
                    field: "", reason: "10485760 bytes is more than the 65536 allowed"))
    }

    @Test("have a limit of nesting that what wraps them does not reach", arguments: Kind.all)
    fileprivate func nesting(kind: Kind) throws {
        func nested(_ levels: Int) throws -> String {
            let array =
                String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
            return try kind.with("deep", JSON.parse(array))
        }
        let deepest = try kind.read(nested(Limits.messageDepth - 1)).get()
        _ = try JSON.parse(JSON.array([.array([.object(deepest)])]).text)
        #expect(
            kind.error(try nested(Limits.messageDepth))?.reason.contains(
                "nested deeper than 32 levels") == true)
    }

    static let badAlerts: [(String, String, String)] = [
        ("severity", #""bad""#, #""bad" is not one of ok, warning, critical, emergency"#),
        ("type", #""Thermal""#, "is not a name"), ("type", #""""#, "is not a name"),
        ("type", #""a.b""#, "is not a name"), ("agent_id", #""a\r\nPUB x""#, "is not a name"),
        ("value", "1e308", "is not a temperature"), ("value", "-274", "is not a temperature"),
        ("timestamp", #""yesterday""#, "is not an RFC 3339 time such as"),
        ("timestamp", #""9999-12-31T23:59:59Z""#, "of the years 1678 to 2261"),
        ("id", #""a\u0000b""#, "control characters"), ("id", #""a\nb""#, "control characters"),
        ("resource", #""cpu\u0085""#, "control characters"),
        ("unit", #""\u007f""#, "control characters"),
    ]

    @Test("alerts: values outside their range name field and reason", arguments: badAlerts)
    func badAlert(field: String, value: String, reason: String) throws {
        let error = try #require(Kind.alert.error(Kind.alert.with(field, JSON.parse(value))))
        #expect(error.field == field)
        #expect(error.reason.contains(reason), "\(error)")
    }

    @Test("the path of an inner field")
    func innerPath() throws {
        for (value, reason): (JSON, String) in [
            (["temperature": "hot"], "a number is expected, not a string"),
            (["temperature": 1e308], "1e+308 is outside -100.0…1000.0 °C"),
        ] {
            let error = Kind.alert.error(try Kind.alert.with("details", value))
            #expect(error == MessageError(field: "details.temperature", reason: reason))
        }
        let sensor = Kind.alert.error(try Kind.alert.with("details", ["sensor": 1]))
        #expect(sensor?.field == "details.sensor")
    }

    @Test("lengths are counted in bytes and exact")
    func lengths() throws {
        let limits = [
            ("message", Limits.textBytes), ("id", Limits.identifierBytes),
            ("resource", Limits.resourceBytes), ("type", 63), ("agent_id", 63),
        ]
        for (field, limit) in limits {
            let text = String(repeating: "a", count: limit)
            _ = try Kind.alert.read(Kind.alert.with(field, .string(text))).get()
            #expect(
                Kind.alert.error(try Kind.alert.with(field, .string(text + "a")))?.field == field)
        }
        let wide = String(repeating: "é", count: Limits.resourceBytes / 2 + 1)
        #expect(
            Kind.alert.error(try Kind.alert.with("resource", .string(wide)))?.field == "resource")
    }

    @Test("an alert is about its resource, else its sensor, and says so again when read back")
    func resources() throws {
        let cases: [(String, String)] = [
            (#"{"type":"t","severity":"ok"}"#, ""),
            (#"{"type":"t","severity":"ok","details":{"sensor":"gpu"}}"#, "gpu"),
            (#"{"type":"t","severity":"ok","resource":"","details":{"sensor":"gpu"}}"#, "gpu"),
            (#"{"type":"t","severity":"ok","resource":"a b","details":{"sensor":"gpu"}}"#, "a b"),
        ]
        for (text, resource) in cases {
            let alert = try decode(text, as: Alert.init(decoding:node:))
            #expect(alert.resource == resource)
            let again = try decode(
                JSON.object(alert.object).text, as: Alert.init(decoding:node:))
            #expect(again == alert)
        }
    }

    @Test("the id of the longest incident is an identifier")
    func longestIncident() throws {
        let name = String(repeating: "n", count: 63)
        let resource = String(repeating: "r", count: Limits.resourceBytes)
        let incident = "\(name):\(name):\(resource):\(Int64.min)"
        #expect(incident.utf8.count <= Limits.identifierBytes)
    }

    @Test("leases are seconds, whole or not, and bounded")
    func leases() throws {
        for (text, duration): (String, Duration?) in [
            ("0", .zero), ("120", .seconds(120)), ("0.25", .milliseconds(250)),
            ("1e-9", .nanoseconds(1)), ("31622400", .seconds(31_622_400)), ("null", nil),
        ] {
            let message = try Kind.command.with("lease", JSON.parse(text))
            let command = try decode(message, as: Command.init(decoding:node:))
            #expect(command.lease == duration)
            let again = try decode(
                JSON.object(command.object).text, as: Command.init(decoding:node:))
            #expect(again == command)
        }
        for text in ["-1", "31622400.5", "1e300", "\"2m\""] {
            let message = try Kind.command.with("lease", JSON.parse(text))
            #expect(Kind.command.error(message)?.field == "lease")
        }
    }

    @Test("a done result needs an outcome, others do not")
    func outcomes() throws {
        for status in CommandResult.Status.allCases {
            let text = #"{"action_id":"x","status":"\#(status.rawValue)"}"#
            if status == .done {
                #expect(
                    Kind.result.error(text) == MessageError(field: "outcome", reason: "is missing"))
            } else {
                #expect(try decode(text, as: CommandResult.init(decoding:node:)).outcome == nil)
            }
        }
    }

    @Test("an agent's id may be as long as its kind and its node together", arguments: [127, 128])
    func agentIDs(_ length: Int) {
        let id = "thermal-sentinel-" + String(repeating: "n", count: length - 17)
        let text = Kind.heartbeat.complete.replacing("agent-1", with: id)
        let isRead = if case .success = Kind.heartbeat.read(text) { true } else { false }
        #expect(isRead == (length <= Name.agentLimit))
    }
}
