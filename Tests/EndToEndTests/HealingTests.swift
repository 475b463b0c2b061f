import Foundation
import TestSupport
import Testing

@Suite(
    "The program, as users run it", .serialized,
    .enabled(if: Program.path != nil, "skos is not built"))
struct HealingTests {
    @Test("a hot processor is throttled once, and gets its exact old limit back")
    func heal() async throws {
        let node = try await Node()
        try node.start("coordinator")
        try node.start("agent", "thermal")
        try await node.wait(for: "a heartbeat") { try node.run("nodes").output.contains("online") }
        try node.heat(88)
        try await node.wait(for: "throttling") { node.knob == "1800000\n" }
        try node.heat(60)
        try await node.wait(for: "the old limit") { node.knob == "3400000\n" }
        try await node.wait(for: "the end of the incident") {
            try node.audit().contains { $0["status"] as? String == "undone" }
        }
        let records = try node.audit()
        func count(_ name: String, _ value: String) -> Int {
            records.count { $0[name] as? String == value }
        }
        #expect(count("effect", "opened") == 1)
        #expect(count("verdict", "dispatch") == 1)
        #expect(count("status", "done") == 1)
        #expect(count("change", "resolved") == 1)
        #expect(try node.run("audit", "verify").code == 0)
        let story = try node.run("explain", "nova").output
        for word in ["critical", "throttle_50", "guards passed", "resolved", "taken back"] {
            #expect(story.contains(word), "\(word) is missing in: \(story)")
        }
    }

    @Test("an edited threshold counts at once; a bad edit is refused and said")
    func edit() async throws {
        let node = try await Node()
        try node.start("coordinator")
        try node.start("agent", "thermal")
        try node.heat(72)
        try await node.wait(for: "the warning") { node.knob == "3240000\n" }
        let edited = "thermal:\n  thresholds: {warning: 65, critical: 70, emergency: 95}\n"
        try node.write("config.yaml", edited + "  stay_clear: 1s\n  cooldown: 1s\n")
        try await node.wait(for: "the critical alert's throttling") { node.knob == "1800000\n" }
        try node.write("config.yaml", edited.replacingOccurrences(of: "70", with: "60"))
        try await node.wait(for: "the refusal") {
            let status = try node.run("status").output
            return status.contains("config.yaml:2:") && status.contains("critical")
        }
        #expect(node.knob == "1800000\n")
    }

    @Test("a killed agent's throttling does not outlive its lease")
    func killedAgent() async throws {
        let node = try await Node(lease: "5s")
        let coordinator = try node.start("coordinator")
        let agent = try node.start("agent", "thermal")
        try await node.wait(for: "a heartbeat") { try node.run("nodes").output.contains("online") }
        try node.heat(88)
        try await node.wait(for: "throttling") { node.knob == "1800000\n" }
        kill(agent.processIdentifier, SIGKILL)
        kill(coordinator.processIdentifier, SIGKILL)
        node.server.kill()
        // Its locks go with it, a moment after the signal.
        agent.waitUntilExit()
        // Only the agent comes back, to a host that nobody commands.
        try node.start("agent", "thermal")
        try await node.wait(for: "the old limit") { node.knob == "3400000\n" }
    }

    @Test("a knob that somebody else turns is theirs: told, not turned again, and left at the end")
    func foreignHand() async throws {
        let node = try await Node()
        try node.start("coordinator")
        try node.start("agent", "thermal")
        try await node.wait(for: "a heartbeat") { try node.run("nodes").output.contains("online") }
        try node.heat(88)
        try await node.wait(for: "the result") {
            try node.audit().contains { $0["status"] as? String == "done" }
        }
        #expect(node.knob == "1800000\n")
        try node.turnKnob("3000000\n")
        try await node.wait(for: "a human") {
            try node.audit().contains { $0["change"] as? String == "escalated" }
        }
        var records = try node.audit()
        let over = records.filter { $0["status"] as? String == "undone" }
        #expect(over.map { $0["outcome"] as? String } == ["superseded"])
        #expect((over.first?["reason"] as? String)?.contains("says 3000000") == true)
        let story = try node.run("explain", "nova").output
        #expect(story.contains("throttle_50 is over: somebody else has changed what it had set"))
        #expect(story.contains("left to humans"))
        #expect(node.knob == "3000000\n")
        try node.heat(60)
        try await node.wait(for: "the end of the incident") {
            try node.audit().contains { $0["change"] as? String == "resolved" }
        }
        records = try node.audit()
        #expect(records.count { $0["verdict"] as? String == "dispatch" } == 1)
        #expect(node.knob == "3000000\n")
    }

    @Test("a sensor that hangs does not stop the heartbeats")
    func hungSensor() async throws {
        let node = try await Node()
        try node.start("coordinator")
        try node.start("agent", "thermal")
        try await node.wait(for: "a heartbeat") { try node.run("nodes").output.contains("60 °C") }
        let input = node.directory.appendingPathComponent(
            "host/sys/class/hwmon/hwmon0/temp1_input")
        try FileManager.default.removeItem(at: input)
        #expect(mkfifo(input.path, 0o600) == 0)
        try await node.wait(for: "heartbeats without the temperature") {
            let nodes = try node.run("nodes").output
            return nodes.contains("online") && !nodes.contains("60 °C")
        }
    }

    @Test("an agent whose journal is damaged is online and cannot act, and that is said")
    func obstacle() async throws {
        let node = try await Node()
        try node.write("state/thermal.journal", "this is no journal\n")
        try node.start("coordinator")
        try node.start("agent", "thermal")
        try await node.wait(for: "the obstacle") {
            try node.run("nodes").output.contains("online, cannot act")
        }
        let nodes = try node.run("nodes").output
        #expect(nodes.contains("thermal-sentinel-nova cannot act: "))
        #expect(try node.run("nodes", "-o", "json").output.contains(#""obstacle""#))
        #expect(try node.run("nodes", "--here").code == 0)
        #expect(try node.run("status").output.contains("1 cannot act"))
        #expect(try node.run("doctor").output.contains("thermal-sentinel-nova cannot act"))
    }

    @Test("wrong use ends with a clear line and its exit code")
    func wrongUse() async throws {
        let node = try await Node()
        #expect(try node.run("no-such-verb").code == 2)
        #expect(try node.run("coordinator", "--config", "/").code == 2)
        #expect(try node.run("policy", "validate", "/no/such/file").code == 2)
        let silent = try node.run("status")
        #expect(silent.code == 3)
        #expect(silent.output.contains("skos coordinator"))
    }
}
