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
        let findings = Doctor.agents(nodes, of: "nova")
        #expect(findings.map(\.grade) == [.fail])
        #expect(findings.first?.remedy?.contains("NODE_NAME") == true)
        #expect(Doctor.agents(nodes, of: "lyra").isEmpty)
    }
}
