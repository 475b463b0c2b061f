import Foundation
import TestSupport
import Testing

@Suite(
    "Two machines with one node name", .serialized,
    .enabled(if: Program.path != nil, "skos is not built"))
struct NamesakeTests {
    @Test("both are named and left alone while one is hot; one of them alone is healed again")
    func clone() async throws {
        let node = try await Node()
        // Longer than a busy machine lets a program wait.
        node.heartbeatTimeout = "20"
        try node.start("coordinator")
        try node.start("agent", "thermal")
        let twin = try node.startTwin("agent", "thermal")
        try await node.wait(for: "the notice") {
            try node.run("nodes").output.contains("two machines call themselves nova")
        }
        #expect(try node.run("nodes", "-o", "json").output.contains(#""ambiguous""#))
        #expect(try node.run("status").output.contains("two machines call themselves nova"))
        let findings = try node.run("doctor")
        #expect(findings.output.contains("two machines call themselves nova"))
        #expect(findings.code == 1)

        try node.heat(88)
        try await node.wait(for: "a human") {
            try node.audit().contains { $0["change"] as? String == "escalated" }
        }
        let records = try node.audit()
        #expect(!records.contains { $0["verdict"] as? String == "dispatch" })
        let reason = "skipped(ambiguous_node: two machines call themselves nova"
        #expect(records.contains { ($0["reason"] as? String ?? "").hasPrefix(reason) })
        let notices = records.filter { $0["field"] as? String == "metadata.start_id" }
        #expect(notices.count == 1)
        #expect(notices.first?["excerpt"] as? String == "thermal-sentinel-nova")
        #expect(node.knob == "3400000\n")
        #expect(node.twinsKnob == "3400000\n")

        twin.terminate()
        try await node.wait(for: "the end") {
            try !node.run("nodes").output.contains("two machines")
        }
        try node.heat(60)
        try await node.wait(for: "the end of the incident") {
            try node.audit().contains { $0["change"] as? String == "resolved" }
        }
        try node.heat(88)
        try await node.wait(for: "throttling") { node.knob == "1800000\n" }
        #expect(node.twinsKnob == "3400000\n")
        #expect(try node.run("audit", "verify").code == 0)
    }
}
