import Audit
import Bus
import Protocol
import TestSupport
import Testing

@testable import Coordinator

/// Two coordinators at one NATS: one leads, the other waits for its turn.
@Suite(.timeLimit(.minutes(10)))
struct StandbyTests {
    /// Long enough for any leader to answer; the tape listens to everything, so nobody is told sooner that
    /// there is none.
    private static let patience: Duration = .seconds(5)

    /// One that takes over in spite of everything, and with no patience to hear of another, as after a hang.
    @Test(arguments: NATSServer.binaries)
    func idleCoordinatorHearsThatItIsDeposed(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let first = try await lab.coordinator(name: "one", patience: Self.patience)
            let second = try await lab.coordinator(name: "two")
            #expect(await eventually { lab.log.contains("standing by leader=coordinator-two") })
            #expect(try await lab.ask("status")["coordinator"]?.string == "coordinator-two")
            // It has not forgotten how to lead.
            await second.abandon()
            #expect(await eventually { try await lab.term(timeout: .milliseconds(500)) >= 3 })
            #expect(first.failure == nil)
            #expect(try await lab.ask("status")["coordinator"]?.string == "coordinator-one")
            try await lab.verifiedAudit()
        }
    }

    /// A second one that is started, and started again, changes nothing; when the leader is gone it acts.
    @Test(arguments: NATSServer.binaries)
    func secondCoordinatorStandsBy(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator(name: "one")
            for index in 0..<3 {
                let other = lab.launch(name: "other\(index)", patience: Self.patience)
                #expect(
                    await eventually { lab.logged("leads; standing by") == index + 1 })
                try await other.stop()
            }
            let second = lab.launch(name: "two", patience: Self.patience)
            #expect(await eventually { lab.logged("leads; standing by") == 4 })
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            // Only the leader answers, and only it has written.
            #expect(try await lab.ask("status")["coordinator"]?.string == "coordinator-one")
            #expect(try await lab.audit().kind("coordinator").count == 1)
            await first.abandon()
            #expect(
                await eventually {
                    try await lab.ask("status", timeout: .milliseconds(500))["coordinator"]?.string
                        == "coordinator-two"
                })
            #expect(lab.log.contains("taking over leader=coordinator-one"))
            try lab.alert(HealingTests.critical, node: "vega")
            #expect(await eventually { agent.executions.count == 2 })
            #expect(second.failure == nil)
            try await lab.verifiedAudit()
        }
    }

    /// An answer that names no coordinator, such as the ack of a stream that has caught the question, keeps
    /// nobody from leading.
    @Test(arguments: NATSServer.binaries)
    func answersThatNameNobodyAreNone(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let answering = try lab.connection.subscribe("_SKOS.leader") { question in
                try? question.respond(Array(#"{"stream":"S","seq":1}"#.utf8))
            }
            defer { answering.cancel() }
            _ = try await lab.coordinator(patience: Self.patience)
        }
    }

    /// With NATS itself away nobody takes over from anybody: all come back, and one leads.
    @Test(arguments: NATSServer.binaries)
    func oneLeadsAfterNATSComesBack(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let running = [
                try await lab.coordinator(name: "one", patience: Self.patience),
                lab.launch(name: "two", patience: Self.patience),
                lab.launch(name: "three", patience: Self.patience),
            ]
            #expect(await eventually { lab.logged("leads; standing by") == 2 })
            let agent = try await Agent(lab.connection)
            try await lab.server.restart()
            let restarted = ContinuousClock.now
            #expect(await eventually { try await lab.term(timeout: .milliseconds(500)) > 1 })
            let leader = try await lab.ask("status")["coordinator"]?.string
            // On a busy machine it may not have come back in the six seconds that it is given.
            let isBusy = ContinuousClock.now - restarted > .seconds(5)
            #expect(leader == "coordinator-one" || isBusy, "\(leader ?? "nobody")")
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(running.allSatisfy { $0.failure == nil })
            try await lab.verifiedAudit()
        }
    }

    /// A second coordinator takes over in the middle of a burst. Whatever the first has under way, it
    /// commands nothing that it could not record before, and the chain holds.
    @Test(arguments: NATSServer.binaries, [1, 2, 3])
    func deposedCoordinatorCommandsNothingNew(binary: String, round: Int) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator(name: "one", patience: Self.patience)
            let count = 600
            let flood = Task {
                for index in 0..<count {
                    try lab.alert(HealingTests.critical, node: "n-\(index)")
                    if index % 50 == 0 { try await Task.sleep(for: .milliseconds(2 * round)) }
                }
            }
            #expect(await eventually { agent.executions.count > 20 })
            _ = try await lab.coordinator(name: "two")
            try await flood.value
            #expect(await eventually { agent.executions.count == count })
            #expect(await eventually { lab.log.contains("standing by leader=coordinator-two") })
            #expect(first.failure == nil)
            let silence = lab.tape.count
            #expect(agent.executions.values.allSatisfy { $0 == 1 })

            let records = try await lab.verifiedAudit()
            let starts = records.kind("coordinator").map(\.sequence)
            #expect(starts.count == 2)
            var decided: [String: UInt64] = [:]
            for record in records.kind("decision") {
                if let id = record["action_id"]?.string { decided[id] = record.sequence }
            }
            let audit = try await lab.connection.jetStream.streamInfo("SKOS_AUDIT")
            let firstEpoch = Streams.epoch(starts[0], of: audit)
            var isEpochOfTheFirst = 0
            for (index, note) in lab.tape.all.enumerated()
            where note.subject.hasPrefix("skos.command.") {
                let decision = try #require(decided[note["action_id"]?.string ?? ""])
                guard note["epoch"]?.integer == firstEpoch else { continue }
                isEpochOfTheFirst += 1
                #expect(decision < starts[1])
                #expect(index < silence)
            }
            #expect(isEpochOfTheFirst > 20)
        }
    }
}
