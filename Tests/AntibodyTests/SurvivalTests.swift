import Antibody
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import TestSupport
import Testing

/// What remains of an action when NATS, the agent or its disk goes away.
@Suite("Survival", .serialized, .timeLimit(.minutes(10)))
struct SurvivalTests {
    @Test("a lease ends without NATS, and NATS hears of it when it is back")
    func leaseWithoutNATS() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        try fleet.send("a", lease: .milliseconds(700))
        _ = await fleet.result("a", .done)
        fleet.server.kill()
        while fleet.lamp.brightness != "100" { try await Task.sleep(for: .milliseconds(10)) }
        try await fleet.server.launch()
        // Said when it came back; the ear may have come later, so it asks.
        while !fleet.ear.isConnected { try await Task.sleep(for: .milliseconds(10)) }
        _ = await fleet.next("heartbeat") { $0["metadata"]?.object?["active"] == nil }
        try fleet.send("a", "dim_50", .renew)
        #expect(await fleet.result("a", .undone)["reason"] == "its lease has run out")
        try await fleet.stop()
    }

    @Test("an agent that starts before NATS finds it")
    func startsWithoutNATS() async throws {
        let fleet = try await Fleet()
        fleet.server.kill()
        let host = fleet.host()
        try await host.start()
        let running = Task { try await host.run() }
        try await Task.sleep(for: .milliseconds(100))
        try await fleet.server.launch()
        _ = await fleet.next("heartbeat")
        await host.shutdown()
        try await running.value
    }

    /// Runs an agent on the fleet's files in a process of its own, which does not survive.
    private func agent(_ fleet: Fleet, killedAfterDone: Bool) async {
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [
                knob = fleet.lamp.knob as String, url = fleet.server.url as String,
                state = fleet.config.stateDirectory as String,
                killedAfterDone = killedAfterDone as Bool
            ] in
            var config = Config()
            config.nodeName = "nova"
            config.stateDirectory = state
            config.heartbeatInterval = .milliseconds(50)
            let host = AgentHost(
                [Lamp(knob: knob)], config: config,
                connection: Connection.Options(urls: [url]), metrics: Metrics())
            let ear = try await Connection.patient(url)
            let results = try ear.subscribe("skos.result.nova", capacity: 16, overflow: .block)
            try await results.ready(timeout: .seconds(60))
            try await host.start()
            let running = Task { try await host.run() }
            for await message in results
            where try JSON.parse(message.payload).object?["status"] == "done" && killedAfterDone {
                kill(getpid(), SIGKILL)
            }
            try await running.value
        }
    }

    @Test("killed in the middle of an action: the next start takes it back and says what happened")
    func killedWhileExecuting() async throws {
        let fleet = try await Fleet()
        async let killed: Void = agent(fleet, killedAfterDone: false)
        await fleet.nextStart()
        try fleet.send("a", "trap")
        await killed
        #expect(fleet.lamp.brightness == "50")
        try await fleet.start()
        let done = await fleet.result("a", .done)
        #expect(done["outcome"] == "permanent_failure")
        #expect(done["reason"]?.string?.hasPrefix("interrupted: ") == true)
        _ = await fleet.result("a", .undone)
        #expect(fleet.lamp.brightness == "100")
        // A copy of the command finds it ended.
        try fleet.send("a", "trap")
        _ = await fleet.result("a", .undone)
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test("killed with an action in force: the next start keeps its lease, to its end")
    func killedWhileInForce() async throws {
        let fleet = try await Fleet()
        async let killed: Void = agent(fleet, killedAfterDone: true)
        await fleet.nextStart()
        try fleet.send("a", lease: .seconds(3))
        await killed
        #expect(fleet.lamp.brightness == "50")
        try await fleet.start()
        // The outcome is told again, for nobody knows whether it was heard.
        #expect(await fleet.result("a", .done)["outcome"] == "succeeded")
        let undone = await fleet.result("a", .undone)
        #expect(undone["reason"] == "its lease has run out")
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test(
        "with a damaged journal nothing is done, everybody is told, and what can be read is undone")
    func damagedJournal() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.host { $0.keepsActions = true })
        try fleet.send("a")
        _ = await fleet.result("a", .done)
        try await fleet.stop()
        let path = fleet.config.stateDirectory + "/lamp.journal"
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        // The line that says it was done is lost, so it must be taken for interrupted.
        let lines = bytes.split(separator: 0x0A)
        let done = try #require(lines.firstIndex { $0.contains(Array(#""record":"done""#.utf8)) })
        bytes[lines[done].startIndex] = bytes[lines[done].startIndex] == 0x30 ? 0x31 : 0x30
        bytes += Array(JournalText.line(.epoch(1)))
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        try await fleet.start()
        _ = await fleet.result("a", .undone)
        #expect(fleet.lamp.brightness == "100")
        let beat = await fleet.next("heartbeat")
        let obstacle = beat["metadata"]?.object?["obstacle"]?.string ?? ""
        #expect(obstacle.hasPrefix("\(path), line "))
        try fleet.send("b")
        #expect(await fleet.result("b", .refused)["reason"]?.string == obstacle)
        try await fleet.stop()
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) == bytes)
    }

    @Test("a disk that fills up in the middle of an action: later records make the journal whole")
    func fullDisk() async throws {
        await #expect(processExitsWith: .success) {
            let fleet = try await Fleet()
            try await fleet.start(fleet.host { $0.keepsActions = true })
            try fleet.send("a", "fill", lease: .seconds(60))
            // Executed, and said so, although that it was done could not be written.
            #expect(await fleet.result("a", .done)["outcome"] == "succeeded")
            let beat = await fleet.next("heartbeat") {
                $0["metadata"]?.object?["obstacle"] != nil
            }
            let obstacle = beat["metadata"]?.object?["obstacle"]?.string ?? ""
            #expect(obstacle.contains("File too large"))
            try fleet.send("b")
            #expect(await fleet.result("b", .refused)["reason"]?.string == obstacle)
            limitFiles(to: rlim_t.max)
            try fleet.send("a", "fill", .renew, lease: .seconds(120))
            _ = await fleet.next("heartbeat") { $0["metadata"]?.object?["obstacle"] == nil }
            try await fleet.stop()
            let (journal, ledger) = try JournalFile.open(
                directory: fleet.config.stateDirectory, name: "lamp", agent: "lamp-keeper-nova")
            #expect(journal.damage == nil)
            #expect(ledger["a"]?.phase == .active)
            #expect(ledger["a"]?.results.count == 1)
        }
    }

    @Test("without a place for its state an agent watches and refuses to act, until there is one")
    func noState() async throws {
        let fleet = try await Fleet()
        let place = fleet.config.stateDirectory
        try "in the way".write(toFile: place, atomically: true, encoding: .utf8)
        try await fleet.start()
        try fleet.send("a")
        let refused = await fleet.result("a", .refused)
        #expect(refused["outcome"] == "transient_failure")
        #expect(refused["reason"]?.string?.contains("Not a directory") == true)
        try FileManager.default.removeItem(atPath: place)
        _ = await fleet.next("heartbeat") { $0["metadata"]?.object?["obstacle"] == nil }
        try fleet.send("b")
        _ = await fleet.result("b", .done)
        try await fleet.stop()
        #expect(fleet.lamp.brightness == "100")
    }
}
