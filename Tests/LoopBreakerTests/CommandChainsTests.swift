import Antibody
import Protocol
import Testing

@testable import LoopBreaker

/// The chains of one node; a class, so that expectations can call what changes it.
private final class Chains {
    private var chains = CommandChains(node: "nova")

    func take(_ command: Command, at now: Timestamp) -> Bool { chains.take(command, at: now) }

    func take(_ alert: Alert, at now: Timestamp) -> Bool { chains.take(alert, at: now) }

    func symptoms(at now: Timestamp) -> [Symptom] { chains.symptoms(at: now) }
}

@Suite("The healer's own chains")
struct CommandChainsTests {
    private func command(_ id: String, _ verb: String = "throttle_50") -> Command {
        Command(actionID: id, actionType: verb, node: "nova")
    }

    @Test("the twenty-first command of a kind within ten minutes is one too many")
    func commands() throws {
        let chains = Chains()
        for number in 0..<20 {
            #expect(!chains.take(command("a\(number)"), at: at(Double(number))))
            #expect(!chains.take(command("a\(number)"), at: at(Double(number))))
            #expect(!chains.take(command("b\(number)", "cleanup_temp"), at: at(Double(number))))
        }
        #expect(chains.symptoms(at: at(20)).isEmpty)
        #expect(chains.take(command("a20"), at: at(20)))
        let symptom = try #require(chains.symptoms(at: at(20)).first)
        #expect(symptom.type == "iterations_exceeded")
        #expect(symptom.resource == "skos:nova:throttle_50")
        #expect(symptom.severity == .critical)
        #expect(chains.symptoms(at: at(700)).first?.severity == .ok)
        #expect(chains.symptoms(at: at(800)).isEmpty)
    }

    @Test("the same for many things is no circle, for one it is")
    func resources() {
        let chains = Chains()
        for number in 0..<30 {
            var command = command("p\(number)", "ping_peer")
            command.parameters = ["resource": .string("wg0/peer\(number)")]
            #expect(!chains.take(command, at: at(Double(number))))
        }
        var found = 0
        for number in 0..<30 {
            var command = command("q\(number)", "ping_peer")
            command.parameters = ["resource": "wg0/peer1"]
            if chains.take(command, at: at(30)) { found = number }
        }
        // One was there before.
        #expect(found == 19)
        #expect(chains.symptoms(at: at(31)).first?.resource == "skos:nova:ping_peer wg0/peer1")
    }

    @Test("a storm of causes hides no circle")
    func storm() {
        let chains = Chains()
        var alert = Alert(type: "thermal", severity: .critical, node: "nova")
        for number in 0..<1000 {
            alert.cause = "cause \(number)"
            alert.id = "a\(number)"
            _ = chains.take(alert, at: at(0))
        }
        for number in 0..<30 { _ = chains.take(command("c\(number)"), at: at(1)) }
        for number in 0..<30 {
            alert.cause = "circle"
            alert.id = "b\(number)"
            _ = chains.take(alert, at: at(1))
        }
        #expect(chains.symptoms(at: at(2)).count == 2)
    }

    @Test("slow ones, renewals and what the loop breaker itself causes do not count")
    func innocent() {
        let chains = Chains()
        for number in 0..<100 {
            #expect(!chains.take(command("slow\(number)"), at: at(Double(number) * 60)))
            #expect(!chains.take(command("own\(number)", "circuit_break"), at: at(0)))
            #expect(!chains.take(command("own\(number)", "reset_chain"), at: at(0)))
            var renewal = command("r\(number)", "throttle_10")
            renewal.operation = .renew
            #expect(!chains.take(renewal, at: at(0)))
        }
        #expect(chains.symptoms(at: at(6000)).isEmpty)
    }

    @Test("alerts of one cause are counted, but for our own")
    func alerts() {
        let chains = Chains()
        var alert = Alert(type: "thermal", severity: .critical, node: "nova")
        alert.cause = "nova:thermal:cpu:1"
        var found = 0
        for number in 0..<60 {
            alert.id = "a\(number)"
            alert.agentID = number < 30 ? "loop-breaker-nova" : "thermal-sentinel-nova"
            if chains.take(alert, at: at(1)) { found = number }
        }
        #expect(found == 50)
        #expect(
            chains.symptoms(at: at(1)).first?.resource == "skos:nova:alert nova:thermal:cpu:1")
    }

    @Test("very many kinds do not fill the memory")
    func bounded() {
        let chains = Chains()
        for number in 0..<10_000 { _ = chains.take(command("a", "verb_\(number)"), at: at(0)) }
        for number in 0..<10_000 { _ = chains.take(command("a\(number)", "verb_1"), at: at(0)) }
        #expect(chains.symptoms(at: at(0)).first?.value ?? 0 < 100)
    }
}
