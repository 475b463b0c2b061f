import Audit
import Bus
import Protocol
import TestSupport
import Testing

@testable import Coordinator

/// Damaged state stops the healer; it says where, and nothing is commanded.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct DamageTests {
    struct Damage: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// What is done to ten good records.
        var change: @Sendable (inout [ChainedRecord]) -> Void
        var says: String
    }

    static let damages: [Damage] = [
        Damage(
            testDescription: "a byte changed",
            change: { records in
                let text = String(decoding: records[4].payload, as: UTF8.self)
                records[4].payload = Array(text.replacing("critical", with: "Critical").utf8)
            }, says: "record 5: edited"),
        Damage(
            testDescription: "a record removed", change: { $0.remove(at: 4) },
            says: "record 5: link"),
        Damage(
            testDescription: "two swapped", change: { $0.swapAt(4, 5) }, says: "record 5: link"),
        Damage(
            testDescription: "the first removed", change: { $0.removeFirst() },
            says: "record 1: link"),
        Damage(
            testDescription: "hashes taken from a record",
            change: { records in (records[4].previous, records[4].hash) = ("", "") },
            says: "record 6: link"),
        Damage(
            testDescription: "one added by somebody, with hashes",
            change: { records in
                records.append(
                    ChainedRecord(
                        sequence: 0, subject: "SKOS_AUDIT.note", previous: AuditChain.genesis,
                        hash: AuditChain.genesis, payload: Array("hello".utf8)))
            }, says: "record 11: link"),
        Damage(
            testDescription: "a good chain of something else",
            change: { records in
                let payload = Array(#"{"kind":"poem"}"#.utf8)
                records = [
                    ChainedRecord(
                        sequence: 1, subject: "SKOS_AUDIT.poem", previous: AuditChain.genesis,
                        hash: AuditChain.hash(previous: AuditChain.genesis, payload: payload),
                        payload: payload)
                ]
            }, says: "record 1: "),
    ]

    private static func auditConfig(maxBytes: Int? = nil) -> StreamConfig {
        var config = StreamConfig(name: "SKOS_AUDIT", subjects: ["SKOS_AUDIT.*"])
        config.denyDelete = true
        config.denyPurge = true
        config.discard = .new
        config.maxBytes = maxBytes
        return config
    }

    /// Makes the audit anew from records, as somebody could who has all permissions.
    private static func rewrite(_ lab: Lab, _ records: [ChainedRecord]) async throws {
        let jetStream = lab.connection.jetStream
        try await jetStream.deleteStream("SKOS_AUDIT")
        _ = try await jetStream.ensureStream(auditConfig())
        for record in records {
            let headers = [
                (AuditChain.previousHeader, record.previous), (AuditChain.hashHeader, record.hash),
            ].filter { !$0.1.isEmpty }
            _ = try await jetStream.publish(record.subject, record.payload, headers: headers)
        }
    }

    /// Agents remember the highest epoch; else they would refuse whoever begins after a store was made anew.
    @Test(arguments: NATSServer.binaries)
    func epochGoesOnInANewStream(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator()
            for index in 0..<20 { try lab.alert(HealingTests.critical, node: "n-\(index)") }
            #expect(await lab.records("result", 20))
            try await first.stop()
            try await Self.rewrite(lab, [])
            _ = try await lab.coordinator()
            try lab.alert(HealingTests.critical, node: "later")
            #expect(await eventually { agent.executions.count == 21 })
        }
    }

    @Test(arguments: NATSServer.binaries, damages)
    func damagedAuditIsRefused(binary: String, damage: Damage) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator()
            for index in 0..<3 { try lab.alert(HealingTests.critical, node: "n-\(index)") }
            #expect(await lab.records("result", 3))
            try await first.stop()
            var records = try await lab.verifiedAudit()
            #expect(records.count == 10)
            damage.change(&records)
            try await Self.rewrite(lab, records)
            let commands = lab.tape.commands(nil).count
            try lab.alert(HealingTests.critical, node: "later")
            let running = lab.launch()
            #expect(await eventually { running.failure != nil })
            let failure = running.failure ?? ""
            #expect(failure.contains("the audit stream is damaged"), "\(failure)")
            #expect(failure.contains(damage.says), "\(failure)")
            #expect(failure.contains("skos audit verify"))
            #expect(lab.tape.commands(nil).count == commands)
            #expect(agent.executions.count == 3)
        }
    }

    /// Rewritten as it was, it is as good as before: the test above fails for the right reason.
    @Test(arguments: NATSServer.binaries)
    func sameRecordsAreAccepted(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await lab.records("result", 1))
            try await first.stop()
            try await Self.rewrite(lab, try await lab.verifiedAudit())
            _ = try await lab.coordinator()
            try lab.alert(HealingTests.clear)
            #expect(await eventually { agent.undone.count == 1 })
            try await lab.verifiedAudit()
        }
    }

    /// An audit that is exchanged under a running coordinator is found out without anything to record.
    @Test(arguments: NATSServer.binaries)
    func auditThatVanishesStopsIt(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let running = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await lab.records("result", 1))
            try await Self.rewrite(lab, [])
            #expect(await eventually { running.failure != nil })
            #expect(running.failure?.contains("the audit stream is damaged") == true)
            try lab.alert(HealingTests.critical, node: "later")
            #expect(agent.executions.count == 1)
        }
    }

    /// What somebody publishes into the audit without hashes is no record: it is told, and nothing else.
    @Test(arguments: NATSServer.binaries)
    func foreignMessagesAreLeftOut(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let running = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(await lab.records("result", 1))
            // All of it is there when the next term reads the stream. Also one that would heal another node if
            // it counted.
            try await running.stop()
            let forged = #"{"kind":"decision","verdict":"dispatch","node":"nova","incident":"X"}"#
            for text in [forged] + (0..<20).map({ "hello \($0)\n" }) {
                try lab.connection.publish("SKOS_AUDIT.note", Array(text.utf8))
            }
            try await lab.connection.flush(timeout: .seconds(60))
            let second = try await lab.coordinator()
            #expect(await lab.records("rejected", ForeignMessages.toldLimit + 1))
            let told = try await lab.audit().filter { $0["kind"]?.string == "rejected" }
            #expect(told[0]["subject"]?.string == "SKOS_AUDIT.note")
            #expect(told[0]["reason"]?.string?.contains("carries no hashes") == true)
            #expect(told.last?["reason"]?.string?.hasPrefix("5 more of ") == true)
            // Nothing of what was before is lost, and what comes now is healed; in the next term, too.
            try lab.alert(HealingTests.clear)
            #expect(await eventually { agent.undone.count == 1 })
            #expect(second.failure == nil)
            try await second.stop()
            _ = try await lab.coordinator()
            try lab.alert(HealingTests.critical, node: "later")
            #expect(await eventually { agent.executions.count == 2 })
            let all = try await lab.audit().filter { $0["kind"]?.string == "rejected" }
            #expect(all.count == told.count)
        }
    }

    /// The same while a coordinator runs: it reads the stream anew and goes on.
    @Test(arguments: NATSServer.binaries)
    func foreignMessageInTheMiddle(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let running = try await lab.coordinator()
            try lab.connection.publish("SKOS_AUDIT.note", Array("hello".utf8))
            #expect(await lab.records("rejected", 1))
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(running.failure == nil)
        }
    }

    /// Without room for records nothing is done; with room again it goes on where it was.
    @Test(arguments: NATSServer.binaries)
    func fullAuditStopsActing(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let jetStream = lab.connection.jetStream
            _ = try await jetStream.ensureStream(Self.auditConfig(maxBytes: 40_000))
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            for index in 0..<60 { try lab.alert(HealingTests.critical, node: "n-\(index)") }
            var reason = ""
            #expect(
                await eventually {
                    let answer = try await lab.ask("status", timeout: .milliseconds(500))
                    reason = answer["error"]?.object?["message"]?.string ?? ""
                    return answer["error"]?.object?["code"]?.string == "not_acting"
                })
            #expect(reason.contains("maximum bytes exceeded"), "\(reason)")
            #expect(await eventually { lab.log.contains("maximum bytes exceeded") })
            let decided = try await lab.verifiedAudit().kind("decision").compactMap {
                $0["action_id"]?.string
            }
            #expect(Set(agent.executions.keys).isSubset(of: decided))
            #expect(decided.count < 60)

            _ = try await jetStream.updateStream(Self.auditConfig())
            #expect(await eventually { agent.executions.count == 60 })
            #expect(agent.executions.values.allSatisfy { $0 == 1 })
            try await lab.verifiedAudit()
        }
    }
}
