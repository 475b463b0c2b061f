import Antibody
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import Testing

/// Agents against a real NATS server.
@Suite("AgentHost", .serialized, .timeLimit(.minutes(10)))
struct AgentHostTests {
    @Test("heartbeats say who, what and how it is, and what the module has read")
    func heartbeat() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        let beat = await fleet.next("heartbeat") { $0["brightness"] != nil }
        #expect(beat["agent_id"] == "lamp-keeper-nova")
        #expect(beat["agent_type"] == "lamp_keeper")
        #expect(beat["node"] == "nova")
        #expect(beat["brightness"] == "100")
        let metadata = try #require(beat["metadata"]?.object)
        #expect(metadata["bulbs"] == 1)
        #expect(metadata["version"] == .string(BuildInfo.version))
        #expect(metadata["verbs"] == ["dim_10", "dim_50", "fill", "trap"])
        #expect(metadata["probe"]?.object?["state"] == "ok")
        #expect(metadata["obstacle"] == nil)
        let next = await fleet.next("heartbeat")["metadata"]?.object
        #expect(try #require(next?["sequence"]?.integer) > metadata["sequence"]?.integer ?? 0)
        try await fleet.stop()
        let last = await fleet.next("heartbeat") { $0["metadata"]?.object?["stopping"] != nil }
        #expect(last["metadata"]?.object?["stopping"] == true)
    }

    @Test("what the settings set nothing up for is not offered, until they do") func withheld()
        async throws
    {
        let fleet = try await Fleet()
        var config = fleet.config
        let host = fleet.host()
        try await fleet.start(host)
        func offered(_ isOffered: Bool) async {
            _ = await fleet.next("heartbeat") { beat in
                let verbs = beat["metadata"]?.object?["verbs"]?.array ?? []
                return verbs.contains("dim_10") && verbs.contains("dim_50") == isOffered
            }
        }
        await offered(true)
        config.local.cleanupTemp.roots = []
        host.apply(config)
        await offered(false)
        try fleet.send("a") { $0.agentType = "lamp_keeper" }
        let refused = await fleet.result("a", .refused)
        #expect(refused["reason"]?.string?.contains("is not a verb of") == true)
        host.apply(fleet.config)
        await offered(true)
        try fleet.send("b")
        _ = await fleet.result("b", .done)
        try await fleet.stop()
    }

    @Test("a hung look at the node does not stop heartbeats, nor commands")
    func hungProbe() async throws {
        let pipe = TemporaryDirectory()
        let path = pipe.path + "/sensor"
        try "1".write(toFile: path, atomically: true, encoding: .utf8)
        let fleet = try await Fleet(probe: path)
        try await fleet.start(fleet.host { $0.sampleLimit = .milliseconds(100) })
        _ = await fleet.next("heartbeat") { $0["brightness"] != nil }
        // A reader of a named pipe waits until somebody writes.
        unlink(path)
        #expect(mkfifo(path, 0o600) == 0)
        let hung = await fleet.next("heartbeat") {
            $0["metadata"]?.object?["probe"]?.object?["state"] == "hung" && $0["brightness"] == nil
        }
        #expect(hung["metadata"]?.object?["bulbs"] == nil)
        try fleet.send("a")
        _ = await fleet.result("a", .done)
        // It comes back by itself.
        unlink(path + ".new")
        try "1".write(toFile: path + ".new", atomically: false, encoding: .utf8)
        let writer = open(path, O_WRONLY)
        rename(path + ".new", path)
        close(writer)
        let back = await fleet.next("heartbeat") { $0["brightness"] != nil }
        #expect(back["metadata"]?.object?["probe"]?.object?["state"] == "ok")
        try await fleet.stop()
    }

    @Test("alerts reach the stream once each, on change; also those from before it was there")
    func alerts() async throws {
        let fleet = try await Fleet()
        fleet.lamp.show(.warning)
        try await fleet.start()
        // Not stored by anyone; the ear hears each try.
        _ = await fleet.next("alert") { $0["severity"] == "warning" }
        fleet.lamp.show(.critical)
        _ = await fleet.next("alert") { $0["severity"] == "critical" }
        try await fleet.createAlertStream()
        var reader = StoredAlerts(fleet)
        let first = try await reader.next()
        #expect(first["severity"] == "critical")
        #expect(first["type"] == "light")
        #expect(first["resource"] == "bulb")
        #expect(first["value"] == 120.0)
        #expect(first["message"] == "too bright")
        #expect(first["agent_id"] == "lamp-keeper-nova")
        fleet.lamp.show(nil)
        fleet.lamp.show(.ok)
        #expect(try await reader.next()["severity"] == "ok")
        try await fleet.stop()
        #expect(try await fleet.ear.jetStream.streamInfo(Subjects.alertStream).messages == 2)
    }

    @Test("what was raised before a restart is cleared after it")
    func clearedAfterRestart() async throws {
        let fleet = try await Fleet()
        try await fleet.createAlertStream()
        fleet.lamp.show(.critical)
        try await fleet.start()
        _ = await fleet.next("alert") { $0["severity"] == "critical" }
        try await fleet.stop()
        fleet.lamp.show(.ok)
        try await fleet.start()
        _ = await fleet.next("alert") { $0["severity"] == "ok" }
        try await fleet.stop()
        let light = AlertKeeper.Key(type: "light", resource: "bulb")
        #expect(fleet.lamp.recalled == [[:], [light: .critical]])
    }

    @Test("a command is accepted, done once, answered again, and taken back")
    func command() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        try fleet.send("a") { $0.incident = "i1" }
        _ = await fleet.result("a", .accepted)
        let done = await fleet.result("a", .done)
        #expect(done["outcome"] == "succeeded")
        #expect(done["effect"] == ["brightness": "50"])
        #expect(done["undo"] == ["base": "100"])
        #expect(done["incident"] == "i1")
        #expect(done["agent_id"] == "lamp-keeper-nova")
        #expect(fleet.lamp.brightness == "50")
        try fleet.send("a")
        #expect(await fleet.result("a", .done) == done)
        let beat = await fleet.next("heartbeat") { $0["metadata"]?.object?["active"] != nil }
        let active = beat["metadata"]?.object?["active"]?.array?.first?.object
        #expect(active?["action_id"] == "a")
        try fleet.send("a", "dim_50", .undo)
        #expect(await fleet.result("a", .undone)["reason"] == "asked to")
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test("what cannot be done is refused with the reason, what is not ours left alone")
    func refusals() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        let subject = Subjects.command(fleet.node)
        try fleet.ear.publish(subject, Array("not JSON".utf8))
        let rejected = await fleet.next("rejected")
        #expect(rejected["reason"]?.string?.hasPrefix("not valid JSON") == true)
        #expect(rejected["subject"]?.string == subject)
        #expect(rejected["excerpt"] == "not JSON")
        #expect(rejected["agent_id"] == "lamp-keeper-nova")
        try fleet.send("other", "cleanup_temp")
        try fleet.ear.publish(
            subject,
            Array(#"{"action_id":"x","action_type":"dim_50","deadline":"soon"}"#.utf8))
        let wrong = await fleet.result("x", .refused)
        #expect(wrong["reason"]?.string?.hasPrefix("deadline: \"soon\" is not an RFC 3339") == true)
        try fleet.send("y", "explode") { $0.agentType = "lamp_keeper" }
        #expect(await fleet.result("y", .refused)["outcome"] == "permanent_failure")
        try fleet.send("z") { $0.deadline = Timestamp(seconds: 1_700_000_000) }
        #expect(await fleet.result("z", .refused)["outcome"] == "transient_failure")
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test("new settings are in force while it runs")
    func settings() async throws {
        let fleet = try await Fleet()
        let (configs, change) = AsyncStream.makeStream(of: Config.self)
        try await fleet.start(fleet.host(configs: configs))
        var config = fleet.config
        config.local.deniedActions = ["dim_50"]
        config.local.dryRun = true
        change.yield(config)
        _ = await fleet.next("heartbeat") { $0["metadata"]?.object?["dry_run"] == true }
        #expect(fleet.lamp.configs == [config])
        try fleet.send("a")
        #expect(
            await fleet.result("a", .refused)["reason"]
                == "dim_50 is denied on this node (local.actions.deny)")
        try fleet.send("b", "dim_10")
        let dry = await fleet.result("b", .done)
        #expect(dry["dry_run"] == true)
        #expect(dry["effect"] == ["brightness": "90"])
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test("a stop takes everything back and says so; told to keep it, the next start goes on")
    func stops() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        try fleet.send("a")
        _ = await fleet.result("a", .done)
        try await fleet.stop()
        #expect(fleet.lamp.brightness == "100")
        #expect(await fleet.result("a", .undone)["reason"] == "the agent stops")

        try await fleet.start(fleet.host { $0.keepsActions = true })
        try fleet.send("b")
        _ = await fleet.result("b", .done)
        try await fleet.stop()
        #expect(fleet.lamp.brightness == "50")
        try await fleet.start()
        try fleet.send("b", "dim_50", .undo)
        _ = await fleet.result("b", .undone)
        #expect(fleet.lamp.brightness == "100")
        try await fleet.stop()
    }

    @Test("two agents of one kind do not run on one node")
    func onlyOne() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        await #expect(throws: FileLockFailure.self) { try await fleet.host().start() }
        try await fleet.stop()
        try await fleet.start()
        try await fleet.stop()
    }

    @Test("many commands at once are all answered, each with one word")
    func burst() async throws {
        let fleet = try await Fleet()
        try await fleet.start()
        for number in 0..<500 { try fleet.send("a\(number)", "dim_10") { $0.dryRun = true } }
        // What a slow NATS has not taken in time is said again, in the same words.
        var answers: [String: JSON.Object] = [:]
        while answers.count < 500 {
            let result = await fleet.next("result") { $0["status"] != "accepted" }
            let id = result["action_id"]?.string ?? ""
            #expect(answers[id] == nil || answers[id] == result)
            answers[id] = result
        }
        try await fleet.stop()
    }
}

/// Reads the alert stream from its beginning.
private struct StoredAlerts {
    private let fleet: Fleet
    private var sequence: UInt64 = 0

    init(_ fleet: Fleet) { self.fleet = fleet }

    mutating func next() async throws -> JSON.Object {
        sequence += 1
        while true {
            let stream = fleet.ear.jetStream
            if let message = try await stream.getMessage(Subjects.alertStream, sequence: sequence) {
                return try JSON.parse(message.payload).object ?? [:]
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}
