import Protocol
import Testing

@testable import Immunity

@Suite("Who executes what no kind of agent owns")
struct ExecutorTests {
    private static let action = "shutdown_non_essential"

    private struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        /// Agent id, type, verbs, and how long ago it was heard.
        var agents: [(id: String, type: String, verbs: [String]?, age: Int64)]
        var executor: String?
        var testDescription: String { name }
    }

    private static let cases = [
        Case(name: "nobody", agents: [], executor: nil),
        Case(
            name: "one offers it", agents: [("a-nova", "a", [action], 0)], executor: "a"),
        Case(
            name: "two offer it: the first by id, whatever their types",
            agents: [("b-nova", "a", [action], 0), ("a-nova", "z", ["x", action], 0)],
            executor: "z"),
        Case(
            name: "an agent that does not say offers nothing",
            agents: [("a-nova", "a", nil, 0), ("b-nova", "b", ["x"], 0)], executor: nil),
        Case(
            name: "offline ones are passed over",
            agents: [("a-nova", "a", [action], 31), ("b-nova", "b", [action], 0)],
            executor: "b"),
        Case(
            name: "late ones are not",
            agents: [("a-nova", "a", [action], 20), ("b-nova", "b", [action], 0)],
            executor: "a"),
        Case(name: "all offline", agents: [("a-nova", "a", [action], 31)], executor: nil),
    ]

    @Test(arguments: cases)
    private func table(test: Case) {
        var nodes = Nodes()
        let now = Timestamp(seconds: 1000)
        for agent in test.agents.sorted(by: { $0.age > $1.age }) {
            var metadata = JSON.Object()
            metadata["verbs"] = agent.verbs.map { .array($0.map(JSON.string)) }
            let beat = Heartbeat(
                agentID: agent.id, agentType: agent.type, node: "nova", metadata: metadata)
            _ = nodes.heard(beat, at: now - .seconds(agent.age))
        }
        _ = nodes.sweep(at: now, timeout: .seconds(30))
        #expect(nodes.executor(of: Self.action, on: "nova") == test.executor)
        #expect(nodes.executor(of: Self.action, on: "lyra") == nil)
        let missing = nodes.missingExecutor(
            of: Self.action, on: "nova", at: now, timeout: .seconds(30))
        #expect((missing == nil) == (test.executor != nil))
    }

    @Test("one agent is named, and stays the one: for repeats, renewals, the undo, over a restart")
    func named() throws {
        var s = Scenario(Scenario.policies(Scenario.policy(.emergency, Self.action)))
        s.heartbeat("storage_watcher", verbs: [Self.action])
        s.heartbeat("thermal_sentinel", verbs: ["throttle_10"])
        _ = s.alert(.emergency)
        #expect(s.commands.map(\.agentType) == ["storage_watcher"])
        // Another one that would come first by its id, while the answer is still awaited.
        s.heartbeat("loop_breaker", verbs: [Self.action])
        _ = s.wait(3)
        s.restart()
        s.heartbeat("loop_breaker", verbs: [Self.action])
        _ = s.wait(1)
        let first = try #require(s.commands.first)
        _ = s.succeed(first)
        _ = s.live(50)
        _ = s.alert(.ok)
        _ = s.live(11)
        #expect(s.commands.contains { $0.operation == .renew })
        #expect(s.commands.contains { $0.operation == .undo })
        #expect(s.commands.allSatisfy { $0.agentType == "storage_watcher" })
        #expect(Set(s.commands.map(\.actionID)) == [first.actionID])
    }

    @Test(
        "who lists one throttle offers all, and no other action",
        arguments: [
            ("throttle_70", ["throttle_10"], true), ("throttle_70", ["redistribute"], false),
            ("throttle_70", [], false), ("throttle_91", ["throttle_10"], false),
            ("redistribute", ["throttle_10"], false), ("redistribute", ["redistribute"], true),
        ])
    func families(action: String, verbs: [String], isOffered: Bool) {
        #expect(ActionTable.isOffered(action, among: verbs) == isOffered)
    }

    @Test("an action of the table goes to the table's agent, whoever offers it")
    func owned() {
        var s = Scenario(Scenario.policies(Scenario.policy(.critical, "throttle_50")))
        s.heartbeat("a_first_agent", verbs: ["throttle_50"])
        _ = s.alert(.critical)
        #expect(s.commands.map(\.agentType) == ["thermal_sentinel"])
    }
}
