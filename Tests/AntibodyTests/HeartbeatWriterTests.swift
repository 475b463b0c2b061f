import Antibody
import Protocol
import Runtime
import Testing

@Suite("HeartbeatWriter")
struct HeartbeatWriterTests {
    private func facts(age: Duration?) -> HeartbeatWriter.Facts {
        var facts = HeartbeatWriter.Facts(now: at(1.5), interval: .seconds(5))
        var sample = Sample()
        sample.heartbeat = ["cpu_temp": 65.5, "node": "liar", "metadata": 1]
        sample.metadata = ["sensors": ["cpu"], "verbs": "none"]
        facts.sample = sample
        facts.sampleAge = age
        return facts
    }

    private func next(_ facts: HeartbeatWriter.Facts) throws -> String {
        var writer = HeartbeatWriter(identity: identity, verbs: ["dim_10", "dim_50"])
        return String(decoding: writer.next(facts), as: UTF8.self)
    }

    @Test("it has the seed's form; the module adds members and takes none over")
    func form() throws {
        #expect(
            try next(facts(age: .milliseconds(1200)))
                == #"{"agent_id":"lamp-keeper-nova","agent_type":"lamp_keeper","node":"nova","#
                + #""timestamp":"2023-11-14T22:13:21.500Z","cpu_temp":65.5,"metadata":{"#
                + #""version":"\#(BuildInfo.version)","sequence":1,"#
                + #""started":"2023-11-14T22:13:20Z","boot_id":"boot-1","start_id":"1f","#
                + #""verbs":["dim_10","dim_50"],"probe":{"state":"ok","age_ms":1200},"#
                + #""dropped":0,"sensors":["cpu"]}}"#)
    }

    @Test("what is older than three samples is not shown, its age is")
    func stale() throws {
        #expect(try next(facts(age: .seconds(15))).contains("cpu_temp"))
        var old = facts(age: .milliseconds(15_001))
        old.isHung = true
        let text = try next(old)
        #expect(!text.contains("cpu_temp"))
        #expect(!text.contains("sensors"))
        #expect(text.contains(#""probe":{"state":"hung","age_ms":15001}"#))
        #expect(try next(facts(age: nil)).contains(#""probe":{"state":"starting"}"#))
    }

    @Test("actions in force, obstacles and a clock that is off are told")
    func troubles() throws {
        var facts = facts(age: .zero)
        facts.obstacle = "the disk is full"
        facts.drift = .milliseconds(-3_600_000)
        facts.isDryRun = true
        facts.active = [
            ActiveAction(id: "a", verb: "dim_50", remaining: .milliseconds(61_900)),
            ActiveAction(
                id: "b", verb: "dim_10", undoReason: "asked to", undoFailure: "stuck"),
        ]
        let text = try next(facts)
        let active =
            #"[{"action_id":"a","action_type":"dim_50","lease_s":61},"#
            + #"{"action_id":"b","action_type":"dim_10","undo":"asked to","undo_failure":"stuck"}]"#
        #expect(text.contains(#""active":\#(active)"#))
        #expect(text.contains(#""obstacle":"the disk is full""#))
        #expect(text.contains(#""clock_drift_s":-3600"#))
        #expect(text.contains(#""dry_run":true"#))
    }

    @Test("however much the module says, the message fits the wire and can be read")
    func tooLong() throws {
        var facts = facts(age: .zero)
        let long = String(repeating: "x", count: Limits.messageBytes)
        facts.sample?.metadata["sensors"] = .string(long)
        var writer = HeartbeatWriter(identity: identity, verbs: [])
        let bytes = writer.next(facts)
        #expect(bytes.count < Limits.messageBytes)
        let heartbeat = try bytes.withUnsafeBytes { try Heartbeat(decoding: $0, node: "nova") }
        #expect(heartbeat.metadata["truncated"] == true)
    }
}
