import Bus
import Coordinator
import Foundation
import Protocol
import Runtime
import Synchronization
import TestSupport
import Testing

/// Every bad message: one record, one word to its sender, and no effect on anything else.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct BadInputTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var text: String
        var subject = "skos.alert.nova"
        /// Who hears of it.
        var node = "nova"
        /// What the reason must say.
        var says: String
        /// What the record names as the field at fault.
        var field: String?

        var testDescription: String { name }
    }

    static func alert(_ more: String) -> String {
        #"{"type":"thermal","severity":"critical"\#(more.isEmpty ? "" : ",")\#(more)}"#
    }

    static let cases: [Case] = [
        Case(name: "no JSON", text: "hot!", says: "not valid JSON at byte 0"),
        Case(name: "empty", text: "", says: "not valid JSON at byte 0"),
        Case(name: "cut off", text: #"{"type":"thermal","#, says: "not valid JSON"),
        Case(name: "not UTF-8", text: "{\"type\":\"\u{1}\"}", says: "control character"),
        Case(name: "an array", text: "[]", says: "a JSON object is expected"),
        Case(name: "twice a member", text: alert(#""type":"thermal""#), says: "stands twice"),
        Case(
            name: "deep", text: String(repeating: "[", count: 5000), says: "nested deeper than 32"),
        Case(
            name: "NaN", text: alert(#""value":NaN"#), says: "not valid JSON"),
        Case(
            name: "beyond doubles", text: alert(#""value":1e999"#), says: "outside the range"),
        Case(
            name: "1e308 degrees", text: alert(#""value":1e308"#), says: "not a temperature",
            field: "value"),
        Case(
            name: "1e308 degrees inside", text: alert(#""details":{"temperature":1e308}"#),
            says: "outside", field: "details.temperature"),
        Case(name: "no type", text: #"{"severity":"ok"}"#, says: "is missing", field: "type"),
        Case(
            name: "type of a wrong type", text: #"{"type":7,"severity":"ok"}"#,
            says: "a string is expected", field: "type"),
        Case(
            name: "unknown severity", text: #"{"type":"thermal","severity":"hot"}"#,
            says: "is not one of", field: "severity"),
        Case(
            name: "details of a wrong type", text: alert(#""details":[1]"#),
            says: "an object is expected", field: "details"),
        Case(
            name: "another node inside", text: alert(#""node":"lyra""#), says: "nova",
            field: "node"),
        Case(
            name: "unknown node", text: alert(""), subject: "skos.alert.lyra", node: "lyra",
            says: "unknown node", field: "node"),
        Case(
            name: "not a node's name", text: alert(""), subject: "skos.alert.Nova",
            node: "unknown", says: "does not end with a node", field: "subject"),
        Case(
            name: "a long name", text: alert(""),
            subject: "skos.alert.\(String(repeating: "n", count: 64))", node: "unknown",
            says: "does not end with a node", field: "subject"),
        Case(
            name: "no time", text: alert(#""timestamp":"yesterday""#), says: "RFC 3339",
            field: "timestamp"),
        Case(
            name: "in the far future", text: alert(#""timestamp":"9999-12-31T23:59:59Z""#),
            says: "RFC 3339", field: "timestamp"),
        Case(
            name: "in the future", text: alert(#""timestamp":"2200-01-01T00:00:00Z""#),
            says: "in the future", field: "timestamp"),
        Case(
            name: "65 KiB", text: alert("\"message\":\"\(String(repeating: "x", count: 66_000))\""),
            says: "is more than the 65536 allowed"),
        Case(
            name: "1 MB of garbage", text: String(repeating: "\u{7f}{[\"", count: 250_000),
            says: "is more than the 65536 allowed"),
        Case(
            name: "a message for a later version", text: alert(""),
            subject: "skos.event.anomaly.detected", node: "unknown",
            says: "this version does not handle"),
        Case(
            name: "a result without a name", text: #"{"status":"done"}"#,
            subject: "skos.result.nova", says: "is missing", field: "action_id"),
        Case(
            name: "a heartbeat that is none", text: "boom", subject: "skos.heartbeat.nova",
            says: "not valid JSON"),
    ]

    private static let policies = Lab.policies { $0.nodes = ["nova", "vega"] }

    /// All cases against one coordinator: in the end it must be as if none had been.
    @Test(arguments: NATSServer.binaries)
    func eachIsRejectedOnceAndChangesNothing(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let coordinator = try await lab.coordinator(Self.policies)
            for (index, item) in Self.cases.enumerated() {
                let place = lab.tape.count
                try lab.connection.publish(item.subject, Array(item.text.utf8))
                #expect(await lab.records("rejected", index + 1), "\(item.name)")
                let subject = "skos.rejected.\(item.node)"
                #expect(
                    await eventually {
                        lab.tape.all.dropFirst(place).contains { $0.subject == subject }
                    }, "\(item.name): nobody was told on \(subject)")
                let notes = lab.tape.all.dropFirst(place).filter {
                    $0.subject == "SKOS_AUDIT.rejected" || $0.subject.hasPrefix("skos.rejected.")
                }
                #expect(notes.map(\.subject) == ["SKOS_AUDIT.rejected", subject], "\(item.name)")
                for note in notes {
                    let reason = note["reason"]?.string ?? ""
                    #expect(reason.contains(item.says), "\(item.name): \(reason)")
                    #expect(note["field"]?.string == item.field, "\(item.name)")
                    #expect(note.payload.count < 2000)
                }
            }
            try await Self.expectUnharmed(lab, agent)
            let records = try await lab.verifiedAudit()
            #expect(records.kind("rejected").count == Self.cases.count)
            try await coordinator.stop()
        }
    }

    /// What agents could not read is recorded once, and what others say of it is not answered.
    @Test(arguments: NATSServer.binaries)
    func rejectionsOfAgentsAreRecorded(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await lab.coordinator(Self.policies)
            func say(_ more: String) throws {
                let text =
                    #"{"subject":"skos.command.nova","reason":"not valid JSON","excerpt":"x"\#(more)}"#
                try lab.connection.publish("skos.rejected.nova", Array(text.utf8))
            }
            try say("")
            try say(#","agent_id":"a""#)
            try say(#","agent_id":"b""#)
            try say(#","agent_id":"c","field":"deadline""#)
            #expect(await lab.records("rejected", 2))
            let records = try await lab.verifiedAudit().kind("rejected")
            #expect(records.map { $0["field"]?.string } == [nil, "deadline"])
            #expect(records.allSatisfy { $0["subject"]?.string == "skos.command.nova" })
            #expect(lab.tape.notes("skos.rejected.").count == 4)
        }
    }

    /// An old alert is recorded as an alert, and not acted on.
    @Test(
        arguments: NATSServer.binaries,
        ["2024-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1700-01-01T00:00:00Z"])
    func ancientAlertIsStale(binary: String, time: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(Self.policies)
            try lab.alert(Self.alert(#""timestamp":"\#(time)""#))
            #expect(await eventually { !lab.tape.notes("skos.rejected.nova").isEmpty })
            let records = try await lab.verifiedAudit()
            #expect(records.kind("alert").map { $0["effect"]?.string } == ["stale"])
            #expect(lab.tape.notes("skos.rejected.").count == 1)
            try await Self.expectUnharmed(lab, agent)
        }
    }

    /// Acks come last: what is not acked would come again.
    @Test(arguments: NATSServer.binaries)
    func nothingBadComesAgain(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let first = try await lab.coordinator(Self.policies)
            for item in Self.cases where item.subject.hasPrefix("skos.alert.") {
                try lab.connection.publish(item.subject, Array(item.text.utf8))
            }
            let count = Self.cases.count { $0.subject.hasPrefix("skos.alert.") }
            #expect(await lab.records("rejected", count))
            try await first.stop()
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(Self.policies)
            try await Self.expectUnharmed(lab, agent)
            #expect(try await lab.verifiedAudit().kind("rejected").count == count)
        }
    }

    /// Waits until the stream has nearly all alerts: of more than 10,000 that wait, nats-server drops some.
    private static func pace(_ lab: Lab, after count: Int) async throws {
        let isThere = await eventually {
            let info = try await lab.connection.jetStream.streamInfo("SKOS_ALERTS")
            return info.lastSequence + 5000 >= count
        }
        try #require(isThere)
    }

    /// A flood is counted; only its beginning is recorded, and other nodes' mistakes still are.
    @Test(arguments: NATSServer.binaries)
    func floodOfGarbageStaysBounded(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let metrics = Metrics()
            _ = try await lab.coordinator(Self.policies, metrics: metrics)
            let count = 20_000
            for index in 0..<count {
                try lab.alert("garbage \(index)")
                if index % 1000 == 0 { try await Self.pace(lab, after: index) }
            }
            try lab.alert("garbage of another node", node: "vega")
            let name = "skos_rejections_suppressed_total"
            #expect(
                await eventually {
                    Self.value(of: name, in: metrics.text())
                        + lab.tape.notes("skos.rejected.").count
                        >= count + 1
                })
            let records = try await lab.verifiedAudit().kind("rejected")
            // 50 at once, then 2 a second.
            #expect(records.count < 500)
            #expect(records.contains { $0["node"]?.string == "vega" })
            try await Self.expectUnharmed(lab, agent)
        }
    }

    /// 100,000 alerts with an id each about one symptom: one incident, one action, few records.
    @Test(arguments: NATSServer.binaries)
    func aHundredThousandIdsAreOneSymptom(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(Self.policies)
            let before = Self.residentKilobytes()
            let count = 100_000
            for index in 0..<count {
                try lab.alert(Self.alert(#""id":"id-\#(index)""#))
                if index % 1000 == 0 { try await Self.pace(lab, after: index) }
            }
            #expect(
                await eventually {
                    try await lab.connection.jetStream.consumerInfo("SKOS_ALERTS", "coordinator")
                        .ackFloor == UInt64(count)
                })
            #expect(agent.executions.count == 1)
            let incidents = try await lab.ask("incidents")
            #expect(incidents["incidents"]?.array?.count == 1)
            // One a second at most, and the test takes minutes at the very most.
            #expect(try await lab.verifiedAudit().kind("alert").count < 500)
            // The tape of this test keeps all 100,000 messages, some 300 bytes each.
            #expect(Self.residentKilobytes() - before < 300_000)
        }
    }

    /// 100,000 symptoms of one node, each its own: no more incidents than a node may have.
    @Test(arguments: NATSServer.binaries)
    func incidentsOfOneNodeAreBounded(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(Self.policies)
            for index in 0..<2000 { try lab.alert(Self.alert(#""resource":"r\#(index)""#)) }
            #expect(
                await eventually {
                    try await lab.connection.jetStream.consumerInfo("SKOS_ALERTS", "coordinator")
                        .ackFloor == 2000
                })
            #expect(agent.executions.count == 64)
            try await lab.verifiedAudit()
        }
    }

    private static func expectUnharmed(_ lab: Lab, _ agent: Agent) async throws {
        let place = agent.executions.count
        try lab.alert(alert(#""resource":"fresh""#), node: "vega")
        #expect(await eventually { agent.executions.count == place + 1 })
        #expect(place == 0 || place == 1, "bad messages led to \(place) actions")
    }

    private static func value(of name: String, in text: String) -> Int {
        for line in text.split(separator: "\n") where line.hasPrefix(name + " ") {
            return Int(Double(line.dropFirst(name.count + 1)) ?? 0)
        }
        return 0
    }

    private static func residentKilobytes() -> Int {
        let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") where line.hasPrefix("VmRSS:") {
            return Int(line.filter(\.isNumber)) ?? 0
        }
        return 0
    }
}
