import Audit
import Bus
import Coordinator
import Protocol
import TestSupport
import Testing

/// From an alert to the recovery, with a real server.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct HealingTests {
    static let critical = #"{"type":"thermal","severity":"critical","details":{"sensor":"cpu"}}"#
    static let clear = #"{"type":"thermal","severity":"ok","details":{"sensor":"cpu"}}"#

    @Test(arguments: NATSServer.binaries)
    func alertIsHealedUndoneAndResolved(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(Self.critical)
            #expect(await lab.records("result", 1))
            try lab.alert(Self.clear)
            #expect(await eventually { agent.undone.count == 1 })
            #expect(await eventually { lab.tape.notes("SKOS_AUDIT.result").count == 2 })

            #expect(lab.tape.distinctCommands().count == 1)
            #expect(agent.executions.values.elementsEqual([1]))
            #expect(agent.undone == Set(agent.executions.keys))
            let records = try await lab.verifiedAudit()
            let story = records.map { record in
                let turns = ["effect", "verdict", "change", "status"].compactMap {
                    record[$0]?.string
                }
                return ([record.kind] + turns).joined(separator: " ")
            }
            #expect(
                story == [
                    "coordinator started", "alert opened", "decision dispatch", "result done",
                    "alert cleared", "incident resolved", "decision undo", "result undone",
                ])
            let incidents = Set(records.compactMap { $0["incident"]?.string })
            #expect(incidents.count == 1)
            #expect(records.kind("decision")[0]["guards"]?.array?.count ?? 0 >= 4)
        }
    }

    /// The order on one client's tape is the order of causes: the stream's ack of a decision must be
    /// there before its command.
    @Test(arguments: NATSServer.binaries)
    func commandFollowsItsDurableDecision(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            for index in 0..<300 {
                try lab.alert(Self.critical, node: "node-\(index)")
            }
            #expect(await eventually { agent.executions.count == 300 })
            #expect(await eventually { lab.tape.commands().count >= 300 })
            var durable: Int64 = 0
            var places: [String: Int64] = [:]
            for record in try await lab.verifiedAudit().kind("decision") {
                if let id = record["action_id"]?.string { places[id] = Int64(record.sequence) }
            }
            var isCommand = 0
            for note in lab.tape.all {
                if note.subject.hasPrefix("_INBOX."), note["stream"]?.string == "SKOS_AUDIT" {
                    durable = max(durable, note["seq"]?.integer ?? 0)
                }
                guard note.subject.hasPrefix("skos.command.") else { continue }
                isCommand += 1
                let place = try #require(places[note["action_id"]?.string ?? ""])
                #expect(place <= durable)
            }
            #expect(isCommand >= 300)
        }
    }

    @Test(arguments: NATSServer.binaries)
    func leastAlertTakesTheRestFromTheStream(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(#"{"type":"thermal","severity":"critical"}"#)
            #expect(await eventually { agent.executions.count == 1 })
            let record = try #require(try await lab.verifiedAudit().kind("alert").first)
            let alert = try #require(record["alert"]?.object)
            #expect(alert["id"]?.string == "SKOS_ALERTS:1")
            #expect(alert["node"]?.string == "nova")
            let stored = try #require(
                try await lab.connection.jetStream.getMessage("SKOS_ALERTS", sequence: 1))
            let time = try #require(alert["timestamp"]?.string.flatMap { Timestamp($0) })
            let difference = stored.timestampNanoseconds - time.nanoseconds
            #expect((0..<1_000_000).contains(difference), "cut to milliseconds")
        }
    }

    @Test(arguments: NATSServer.binaries)
    func failedActionGoesOnToTheNextRungAndThenToAHuman(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection, .fails)
            _ = try await lab.coordinator()
            try lab.alert(Self.critical)
            #expect(await eventually { !lab.tape.notes("skos.event.escalation").isEmpty })
            let actions = lab.tape.distinctCommands().compactMap { $0["action_type"]?.string }
            #expect(actions == ["throttle_50", "throttle_10"])
            #expect(agent.executions.count == 2)
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func dryRunSaysSoOnEveryCommand(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await Agent(lab.connection)
            _ = try await lab.coordinator(Lab.policies { $0.dryRun = true })
            try lab.alert(Self.critical)
            #expect(await eventually { !lab.tape.commands().isEmpty })
            #expect(lab.tape.commands().allSatisfy { $0["dry_run"]?.bool == true })
            #expect(try await lab.ask("status")["dry_run"]?.bool == true)
        }
    }

    @Test(arguments: NATSServer.binaries)
    func aDrillIsADryRun(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(#"{"type":"thermal","severity":"critical","drill":true}"#)
            #expect(await eventually { !lab.tape.commands().isEmpty })
            #expect(lab.tape.commands().allSatisfy { $0["dry_run"]?.bool == true })
        }
    }

    @Test(arguments: NATSServer.binaries)
    func lateAndDoubleReportsChangeNothing(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            for _ in 0..<50 { try lab.alert(Self.critical) }
            #expect(await eventually { agent.executions.count == 1 })
            let id = try #require(agent.executions.keys.first)
            // The agent's own word counts, which says that it can be undone; then the others come.
            #expect(
                await eventually {
                    let records = try? await lab.verifiedAudit()
                    return records?.kind("result").contains { $0["status"]?.string == "done" }
                        == true
                })
            for _ in 0..<20 {
                try lab.connection.publish(
                    "skos.result.nova",
                    Array(#"{"action_id":"\#(id)","status":"done","outcome":"succeeded"}"#.utf8))
                try lab.connection.publish(
                    "skos.result.nova",
                    Array(#"{"action_id":"nobody","status":"done","outcome":"succeeded"}"#.utf8))
            }
            try lab.alert(Self.clear)
            #expect(await eventually { agent.undone.count == 1 })
            #expect(agent.executions.count == 1)
            let records = try await lab.verifiedAudit()
            let done = records.kind("result").filter { $0["status"]?.string == "done" }
            #expect(done.count { $0["action_id"]?.string == id } == 1)
            // Somebody's action by hand, recorded once.
            let foreign = done.filter { $0["action_id"]?.string == "nobody" }
            #expect(foreign.map { $0["incident"]?.string } == [""])
            #expect(foreign.map { $0["actor"]?.string } == ["unknown"])
        }
    }
}
