import Protocol
import Testing

@testable import Immunity

@Suite("Nodes and agents")
struct NodeTests {
    private func heartbeat(_ node: String, _ agent: String = "a", metadata: JSON.Object = [:])
        -> Heartbeat
    {
        Heartbeat(agentID: agent, agentType: "thermal_sentinel", node: node, metadata: metadata)
    }

    @Test("joined, late after half the timeout, offline after all of it, back; each said once")
    func life() {
        var s = Scenario()
        func beat() -> [String] { s.take(.heartbeat(heartbeat("nova"))) }
        #expect(beat() == ["publish agent_joined"])
        #expect(beat() == [])
        #expect(s.live(14) == [])
        #expect(s.wait(1) == ["publish agent_late"])
        #expect(s.live(14) == [])
        #expect(s.wait(1) == ["publish agent_offline"])
        #expect(s.live(100) == [])
        #expect(beat() == ["publish agent_back"])
        _ = s.live(15)
        #expect(beat() == ["publish agent_back"])
        #expect(s.core.nodes.nodes["nova"]?.agents["a"]?.status == .online)
        #expect(s.records.isEmpty)
    }

    @Test("a node that the configuration does not know is said once, until that changes")
    func stranger() {
        var policies = Scenario.policies()
        policies.nodes = ["lyra"]
        var s = Scenario(policies)
        func beat() -> [String] { s.take(.heartbeat(heartbeat("nova"))) }
        #expect(beat() == ["rejected", "reject node"])
        #expect(s.reasons("rejected") == ["unknown node \"nova\": add it under nodes:"])
        #expect(beat() == [])
        let result = CommandResult(
            actionID: "a", actionType: "x", node: "nova", status: .done, outcome: .succeeded)
        #expect(s.take(.result(result)) == [])
        _ = s.take(.configured(policies, fingerprint: "f"))
        #expect(beat() == ["rejected", "reject node"])
        policies.nodes = ["lyra", "nova"]
        _ = s.take(.configured(policies, fingerprint: "g"))
        #expect(beat() == ["publish agent_joined"])
    }

    @Test("what an agent has rejected is recorded once, however many agents have heard it")
    func rejectedByAgents() {
        var s = Scenario()
        let rejection = Rejection(
            subject: "skos.command.nova", node: "nova", field: "action_id", reason: "is missing",
            excerpt: "{}")
        #expect(s.take(.rejectedByAgent(rejection)) == ["rejected"])
        #expect(s.take(.rejectedByAgent(rejection)) == [])
        #expect(s.live(1) == [])
        #expect(s.take(.rejectedByAgent(rejection)) == [])
        #expect(s.live(1) == [])
        #expect(s.take(.rejectedByAgent(rejection)) == ["rejected"])
        var other = rejection
        other.excerpt = "{ }"
        #expect(s.take(.rejectedByAgent(other)) == ["rejected"])
    }

    @Test("agents of one node and nodes are limited; the longest offline make room")
    func limits() {
        var nodes = Nodes()
        let start = Timestamp(seconds: 1000)
        for index in 0..<100 { _ = nodes.heard(heartbeat("nova", "a\(index)"), at: start) }
        #expect(nodes.nodes["nova"]?.agents.count == Nodes.agentLimit)
        #expect(nodes.refusedAgents == 100 - Nodes.agentLimit)
        for index in 0..<Nodes.nodeLimit + 10 {
            _ = nodes.heard(heartbeat("n\(index)"), at: start + .seconds(index % 2 == 0 ? 0 : 40))
        }
        #expect(nodes.nodes.count == Nodes.nodeLimit)
        #expect(nodes.heard(heartbeat("late"), at: start + .seconds(50)) == nil)
        _ = nodes.sweep(at: start + .seconds(50), timeout: .seconds(30))
        #expect(nodes.nodes.count == Nodes.nodeLimit - Nodes.nodeLimit / 10)
        #expect(nodes.nodes["n1"] != nil)
        #expect(nodes.heard(heartbeat("late"), at: start + .seconds(50))?.change == "joined")
    }

    @Test("bytes of heartbeats are limited; then only the verbs are kept")
    func bytes() throws {
        let text =
            #"{"agent_id":"a","agent_type":"t","metadata":{"verbs":["v","Bad"],"x":""#
            + String(repeating: "y", count: 65_000) + #""}}"#
        var nodes = Nodes()
        let count = Nodes.byteLimit / 65_000 + 10
        for index in 0..<count {
            let node = "n\(index)"
            let beat = try Array(text.utf8).withUnsafeBytes {
                try Heartbeat(decoding: $0, node: node)
            }
            _ = nodes.heard(beat, at: Timestamp(seconds: 1))
        }
        let kept = nodes.nodes.values.flatMap(\.agents.values).map(\.heartbeat.metadata)
        #expect(kept.count == count)
        #expect(kept.count { $0["x"] != nil } <= Nodes.byteLimit / 65_000)
        #expect(kept.count { $0["x"] == nil } >= 10)
        #expect(nodes.nodes["n\(count - 1)"]?.agents["a"]?.heartbeat.verbs == ["v"])
    }
}
