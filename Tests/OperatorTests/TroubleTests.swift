import Protocol
import Settings
import Testing

@testable import Operator

/// What is said of nodes and agents that nothing can be asked of.
@Suite struct TroubleTests {
    private func object(_ text: String) throws -> JSON.Object {
        try #require(try JSON.parse(Array(text.utf8)).object)
    }

    private static let reason = "two machines call themselves nova; give each its own NODE_NAME"

    @Test(
        "two machines with one name: in the list, in the status, and by the doctor of one of them")
    func namesakes() throws {
        let nodes = try object(
            """
            {"nodes":[
              {"node":"lyra","agents":[{"agent_id":"a-lyra","status":"online"}]},
              {"node":"nova","ambiguous":"\(Self.reason)","agents":[
                {"agent_id":"a-nova","status":"online"},{"agent_id":"b-nova","status":"offline"}]}]}
            """)
        let text = Fleet.nodes(nodes, at: Timestamp(seconds: 0), Style())
        let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(
            lines.dropFirst().map { $0.prefix(4).joined(separator: " ") } == [
                "lyra a-lyra online", "nova a-nova online, ambiguous", "nova b-nova offline",
                "two machines call themselves",
            ])
        let status = try object(
            #"{"ambiguous_nodes":{"count":9,"first":["a","nova"]}}"#)
        let told = Fleet.status(status, at: Timestamp(seconds: 0), Style())
        #expect(told.contains("two machines call themselves a, nova and 7 more: nothing is done"))
        #expect(!Fleet.status([:], at: Timestamp(seconds: 0), Style()).contains("two machines"))
        let unheard = try object(#"{"unheard_nodes":{"count":2,"first":["lyra","nova"]}}"#)
        let missing = Fleet.status(unheard, at: Timestamp(seconds: 0), Style())
        #expect(missing.contains("lyra, nova: in config.yaml, and not heard yet"))
        #expect(!told.contains("not heard yet"))
        let findings = Doctor.agents(nodes, of: "nova")
        #expect(findings.map(\.grade) == [.fail])
        #expect(findings.first?.remedy?.contains("NODE_NAME") == true)
        #expect(Doctor.agents(nodes, of: "lyra").isEmpty)
    }

    @Test("an agent with an obstacle is not just online: in the list, in the status, by the doctor")
    func obstacles() throws {
        let nodes = try object(
            """
            {"nodes":[{"node":"nova","agents":[
              {"agent_id":"a-nova","status":"online","obstacle":"the journal is damaged"},
              {"agent_id":"b-nova","status":"late"}]}]}
            """)
        let text = Fleet.nodes(nodes, at: Timestamp(seconds: 0), Style())
        #expect(text.contains("online, cannot act"))
        #expect(text.contains("\na-nova cannot act: the journal is damaged\n"))
        let status = try object(#"{"obstructed_agents":1}"#)
        let told = Fleet.status(status, at: Timestamp(seconds: 0), Style())
        #expect(told.contains("1 cannot act; `skos nodes` says why"))
        let findings = Doctor.agents(nodes, of: "nova")
        #expect(findings.map(\.text) == ["a-nova cannot act: the journal is damaged"])
        #expect(findings.map(\.grade) == [.fail])
    }

    @Test("a file that is gone keeps nobody from asking where the address of NATS was given")
    func missingFile() async throws {
        let directory = try TemporaryDirectory()
        let none = directory.path + "/none.yaml"
        var session = Session()
        session.environment["SKOS_CONFIG"] = none
        let asked = await session.run(["status"])
        #expect(asked.code == .unreachable)
        #expect(asked.err.contains("SKOS_CONFIG names \(none), which is not there"))
        // Without an address, or by name, it is meant.
        let named = await session.run(["status", "--config", none])
        #expect(named.code == .usage && named.err.contains("does not exist"))
        session.environment["NATS_URL"] = nil
        let unclear = await session.run(["status"])
        #expect(unclear.code == .usage && unclear.err.contains("does not exist"))
        let given = await session.run(["status", "--nats", "nats://127.0.0.1:1"])
        #expect(given.code == .unreachable)
        // A file that is there and wrong is no file that is gone.
        session.environment["SKOS_CONFIG"] = directory.path
        #expect(await session.run(["status", "--nats", "nats://127.0.0.1:1"]).code == .usage)
    }
}
