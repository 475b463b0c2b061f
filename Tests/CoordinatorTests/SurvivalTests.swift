import Audit
import Bus
import Protocol
import TestSupport
import Testing

@testable import Coordinator

/// Whatever is killed, cut off or taken over: nothing is lost, nothing is done twice.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct SurvivalTests {
    @Test(arguments: NATSServer.binaries)
    func restartSendsTheSameCommandAgain(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection, .silent)
            let first = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await eventually { !lab.tape.commands().isEmpty })
            try await first.stop()
            let before = lab.tape.commands()
            agent.manner = .succeeds
            _ = try await lab.coordinator()
            #expect(await lab.records("result", 1))
            let commands = lab.tape.commands()
            #expect(Set(commands.compactMap { $0["action_id"]?.string }).count == 1)
            #expect(Set(commands.compactMap { $0["deadline"]?.string }).count == 1)
            let epochs = [before[0], commands[before.count]].compactMap { $0["epoch"]?.integer }
            #expect(epochs.count == 2 && epochs[0] < epochs[1])
            #expect(agent.executions.values.elementsEqual([1]))
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func restartFinishesWhatWasInForce(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await lab.records("result", 1))
            try await first.stop()
            // While nobody is there the symptom clears.
            try lab.alert(HealingTests.clear)
            _ = try await lab.coordinator()
            #expect(await eventually { agent.undone.count == 1 })
            #expect(await eventually { lab.tape.notes("skos.event.incident_resolved").count == 1 })
            #expect(agent.executions.values.elementsEqual([1]))
            try await lab.verifiedAudit()
        }
    }

    /// The deadlines of 1,500 commands pass at one tick: more records than may be on their way at once.
    @Test(arguments: NATSServer.binaries)
    func oneTickMayHaveThousandsOfThingsToSay(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let count = 1500
            _ = try await Agent(lab.connection, .silent)
            var policies = Lab.policies()
            policies.policies[0].deadline = .seconds(2)
            policies.policies[0].maxAttempts = 1
            _ = try await lab.coordinator(policies)
            for index in 0..<count { try lab.alert(HealingTests.critical, node: "n-\(index)") }
            #expect(
                await eventually {
                    lab.tape.notes("SKOS_AUDIT.incident").count {
                        $0["change"]?.string == "escalated"
                    } == count
                })
            #expect(try await lab.term() == 1)
            try await lab.verifiedAudit()
        }
    }

    // MARK: NATS goes away

    @Test(arguments: NATSServer.binaries)
    func natsMayComeLater(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let late = try NATSServer.prepare(binary: binary)
            let running = lab.launch(url: late.url)
            #expect(await eventually { lab.log.contains("NATS not reachable yet") })
            try await late.launch()
            let connection = try await Connection.patient(late.url)
            defer { connection.close() }
            #expect(
                await eventually {
                    try await connection.jetStream.streamInfo("SKOS_AUDIT").lastSequence >= 1
                })
            try await running.stop()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func canBeStoppedWhileNATSIsNotThere(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let nowhere = try NATSServer.freePort()
            let never = lab.launch(url: "nats://127.0.0.1:\(nowhere)")
            #expect(await eventually { lab.log.contains("NATS not reachable yet") })
            try await never.stop()
            let gone = try await lab.coordinator()
            lab.server.kill()
            #expect(await eventually { lab.log.contains("nothing is decided") })
            try await gone.stop()
        }
    }

    /// The server is killed again and again while alerts come in; each that it has acked is healed once.
    @Test(arguments: NATSServer.binaries)
    func killedServerLosesAndDoublesNothing(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            let count = 400
            let source = Task {
                for index in 0..<count {
                    // Until it is acked; the id lets the stream drop a repeat.
                    while true {
                        do {
                            _ = try await lab.connection.jetStream.publish(
                                "skos.alert.n-\(index)", Array(HealingTests.critical.utf8),
                                messageID: "alert-\(index)", timeout: .milliseconds(500))
                            break
                        } catch is BusError { try await Task.sleep(for: .milliseconds(20)) }
                    }
                    try await Task.sleep(for: .milliseconds(3))
                }
            }
            for threshold in [100, 200, 300] {
                #expect(await eventually { agent.executions.count >= threshold })
                let terms = lab.tape.notes("SKOS_AUDIT.coordinator").count
                try await lab.server.restart()
                #expect(await lab.records("coordinator", terms + 1))
            }
            try await source.value
            #expect(await eventually { agent.executions.count == count })
            #expect(agent.executions.values.allSatisfy { $0 == 1 })
            // The last one may begin only now, when all has been done already.
            #expect(
                await eventually { try await lab.verifiedAudit().kind("coordinator").count >= 4 },
                "each loss begins a new term")
            let records = try await lab.verifiedAudit()
            let dispatched = records.kind("decision").compactMap { $0["action_id"]?.string }
            #expect(Set(dispatched).count == dispatched.count)
            #expect(dispatched.count == count)
        }
    }

    /// Also when nothing is under way: what NATS had sent before it died comes again at once, in order.
    @Test(arguments: NATSServer.binaries)
    func quietLossOfNATSBeginsANewTerm(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try await lab.server.restart()
            #expect(await lab.records("coordinator", 1))
            #expect(
                await eventually {
                    try await lab.term(timeout: .milliseconds(500)) >= 2
                })
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
        }
    }

    // MARK: The alert stream

    /// A new stream's numbers begin again; that they were seen before means nothing.
    @Test(arguments: NATSServer.binaries)
    func alertStreamMadeAnewBetweenTerms(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            let first = try await lab.coordinator()
            for index in 0..<3 { try lab.alert(HealingTests.critical, node: "old-\(index)") }
            #expect(await eventually { agent.executions.count == 3 })
            try await first.stop()
            let jetStream = lab.connection.jetStream
            try await jetStream.deleteStream("SKOS_ALERTS")
            _ = try await jetStream.ensureStream(
                StreamConfig(
                    name: "SKOS_ALERTS",
                    subjects: [
                        "skos.alert.*", "skos.event.anomaly.detected",
                        "skos.event.security.event", "skos.event.system.health_check",
                    ]))
            // As many as before, and more.
            for index in 0..<5 {
                _ = try await jetStream.publish(
                    "skos.alert.new-\(index)", Array(HealingTests.critical.utf8))
            }
            _ = try await lab.coordinator()
            #expect(await eventually { agent.executions.count == 8 })
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func alertStreamDeletedWhileItRuns(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(HealingTests.critical, node: "one")
            #expect(await eventually { agent.executions.count == 1 })
            try await lab.connection.jetStream.deleteStream("SKOS_ALERTS")
            // It is noticed at the next look, and the stream made anew.
            #expect(
                await eventually {
                    _ = try await lab.connection.jetStream.consumerInfo(
                        "SKOS_ALERTS", "coordinator")
                    return true
                })
            try lab.alert(HealingTests.critical, node: "two")
            #expect(await eventually { agent.executions.count == 2 })
        }
    }
}
