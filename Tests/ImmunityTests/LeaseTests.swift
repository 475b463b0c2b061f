import Protocol
import Testing

@testable import Immunity

@Suite("Leases, undo, and operators")
struct LeaseTests {
    @Test("a lease is renewed after a third of it, as long as the symptom lasts")
    func renewals() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        #expect(s.live(39) == [])
        #expect(s.wait(1) == ["send renew throttle_50"])
        let renewal = s.commands[1]
        #expect(renewal.actionID == s.commands[0].actionID)
        #expect(renewal.lease == .seconds(120))
        #expect(renewal.deadline == s.now + .seconds(120))
        #expect(s.live(39) == [])
        #expect(s.wait(1) == ["send renew throttle_50"])
        // While it clears, too, for the symptom may come back.
        _ = s.live(39)
        _ = s.alert(.ok)
        #expect(s.wait(1) == ["send renew throttle_50"])
    }

    @Test("the shortest lease is renewed once a second, not in every tick")
    func shortLease() {
        var policy = Scenario.policy(.critical, "throttle_50")
        policy.lease = .milliseconds(5)
        var s = Scenario(Scenario.policies(policy))
        _ = s.alert(.critical)
        _ = s.succeed()
        var renewals = 0
        for _ in 0..<100 { renewals += s.wait(0.1).count { $0 == "send renew throttle_50" } }
        #expect(renewals == 10)
    }

    @Test("what cannot be undone is neither renewed nor undone")
    func irreversible() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .succeeded, undo: false)
        #expect(s.live(100) == [])
        _ = s.alert(.ok)
        #expect(s.live(10).records == ["incident resolved"])
        #expect(s.core.state.undoing.isEmpty)
    }

    @Test("a policy without undo gives no lease, and leaves what was done")
    func permanent() {
        var policy = Scenario.policy(.critical, "throttle_50")
        policy.undo = false
        var s = Scenario(Scenario.policies(policy))
        _ = s.alert(.critical)
        #expect(s.commands[0].lease == nil)
        _ = s.succeed()
        #expect(s.live(100) == [])
        _ = s.alert(.ok)
        #expect(s.live(10).records == ["incident resolved"])
        // But an operator may still take it back, and it is then pursued until it is answered.
        let id = s.commands[0].actionID
        #expect(
            s.take(.undo(id: id, actor: "op")) == [
                "operator", "undo throttle_50", "send undo throttle_50", "granted",
            ])
        #expect(s.core.state.undoing.count == 1)
        #expect(s.live(60).count == 12)
        #expect(s.live(1200).count == 20)
        #expect(s.answer(.undone) == ["result undone"])
        #expect(s.live(1200) == [])
        #expect(s.take(.undo(id: id, actor: "op")).last == "denied")
    }

    @Test("leases that no message can say are cut to what one can")
    func longLease() {
        var policy = Scenario.policy(.critical, "throttle_50")
        policy.lease = .seconds(Int64.max)
        var s = Scenario(Scenario.policies(policy))
        _ = s.alert(.critical)
        #expect(s.commands[0].lease == .seconds(31_622_400))
    }

    @Test("an undo is sent again until it is answered")
    func undoResent() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.ok)
        _ = s.live(10)
        #expect(s.live(20) == Array(repeating: "send undo throttle_50", count: 4))
        // A transient failure to undo is no answer.
        #expect(s.answer(.undone, .transientFailure) == [])
        #expect(s.live(5) == ["send undo throttle_50"])
        #expect(s.answer(.undone, .succeeded).first == "result succeeded")
        #expect(s.live(1000) == [])
    }

    @Test("an undo that nobody answers ends when the node's own lease must have run out")
    func undoGivenUp() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.ok)
        _ = s.live(10)
        let told = s.live(179)
        #expect(told.allSatisfy { $0 == "send undo throttle_50" })
        #expect(s.wait(1) == ["timeout undone"])
        #expect(s.core.state.undoing.isEmpty)
    }

    @Test(
        "an undo that fails for good, or is refused, is told to humans", arguments: [true, false])
    func undoFailed(isRefused: Bool) {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.ok)
        _ = s.live(10)
        let told =
            isRefused ? s.answer(.refused) : s.answer(.undone, .permanentFailure)
        #expect(told.last == "publish undo_failed")
        #expect(s.live(1000) == [])
    }

    @Test("a refused renewal means that it is not in force any more")
    func refusedRenewal() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(40)
        #expect(s.answer(.refused, .transientFailure) == [])
        #expect(s.answer(.refused) == ["result refused"])
        #expect(s.live(100) == [])
        _ = s.alert(.ok)
        #expect(s.live(10).records == ["incident resolved"])
    }

    @Test("a node that has undone it by itself says so; then it is over")
    func lapsed() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        #expect(s.answer(.undone) == ["result undone"])
        #expect(s.incident?.attemptsInForce.isEmpty == true)
        #expect(s.live(100) == [])
    }

    @Test("what turns out to have been done after its incident was over is taken back")
    func lateSuccess() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.alert(.ok)
        #expect(s.live(10).records.last == "send undo throttle_50")
        #expect(s.succeed(s.commands[0]).first == "result succeeded")
        #expect(s.live(5) == ["send undo throttle_50"])
        #expect(s.answer(.undone) == ["result undone"])
        #expect(s.live(1000) == [])
    }

    @Test("two resources of one node are two incidents")
    func resources() {
        var s = Scenario()
        _ = s.alert(.critical)
        let cpu = s.commands[0]
        #expect(s.alert(.critical, resource: "gpu").contains("dispatch throttle_50"))
        let gpu = s.commands[1]
        #expect(cpu.actionID != gpu.actionID)
        #expect(gpu.parameters == ["resource": "gpu"])
        _ = s.succeed(cpu)
        _ = s.succeed(gpu)
        _ = s.alert(.ok, resource: "gpu")
        #expect(s.live(10).filter { $0.hasPrefix("send undo") }.count == 1)
        #expect(s.commands.last?.actionID == gpu.actionID)
        #expect(s.incident?.phase == .verifying)
    }

    @Test("an operator's undo of an incident takes everything back and leaves it to humans")
    func operatorUndo() {
        var s = Scenario()
        _ = s.alert(.critical)
        let id = s.incident?.id ?? ""
        _ = s.succeed()
        #expect(
            s.take(.undo(id: id, actor: "ann")) == [
                "operator", "undo throttle_50", "send undo throttle_50", "escalate",
                "incident escalated", "publish escalation", "granted",
            ])
        guard
            case .operation(let event)? = s.records.first(where: { $0.event.kind == "operator" })?
                .event
        else { return }
        #expect(event.actor == "ann" && event.verb == "undo")
        #expect(event.parameters == ["id": .string(id)])
        _ = s.answer(.undone)
        _ = s.wait(100)
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(s.live(100) == [])
        #expect(s.take(.undo(id: id, actor: "ann")) == ["operator", "denied"])
    }

    @Test("an operator's undo of what is not there")
    func undoOfNothing() {
        var s = Scenario()
        #expect(s.take(.undo(id: "nova:thermal:1", actor: "op")) == ["operator", "denied"])
    }

    // MARK: Drills and dry runs

    @Test("a drill touches nothing, and nothing real")
    func drill() {
        var s = Scenario()
        _ = s.alert(.critical, drill: true)
        #expect(s.commands[0].dryRun)
        #expect(s.core.state.incidents.keys.first?.isDrill == true)
        _ = s.succeed()
        // The real symptom is an incident of its own, without the drill's cooldown.
        #expect(
            s.alert(.critical).records == [
                "alert opened", "dispatch throttle_50", "send execute throttle_50",
            ])
        #expect(!s.commands[1].dryRun)
        // Another drill does not turn it into one, and its end does not end it.
        _ = s.wait(2)
        #expect(s.alert(.emergency, drill: true) == ["alert repeated"])
        _ = s.alert(.ok, drill: true)
        #expect(s.live(10).contains("incident resolved"))
        #expect(s.incident?.phase == .acting)
        #expect(!s.commands.contains { $0.operation == .undo })
    }

    @Test("a drill that nobody hears is sent again, like anything else")
    func lostDrill() {
        var s = Scenario()
        _ = s.alert(.critical, drill: true)
        #expect(s.live(4).count == 2)
    }

    @Test("failures of drills do not open the breaker of the real thing")
    func drillBreaker() {
        var s = Scenario()
        _ = s.alert(.critical, drill: true)
        for _ in 0..<5 {
            _ = s.answer(.done, .transientFailure)
            _ = s.live(61)
        }
        #expect(s.core.state.breakers.keys.allSatisfy { $0.isDryRun })
        #expect(s.alert(.critical).contains("dispatch throttle_50"))
    }

    @Test("dry_run: decided and recorded as ever, only reported by the agent, nothing to undo")
    func dryRun() {
        var policies = Scenario.policies()
        policies.dryRun = true
        var s = Scenario(policies)
        #expect(s.alert(.critical).contains("send execute throttle_50"))
        #expect(s.commands[0].dryRun)
        _ = s.succeed()
        #expect(s.live(100) == [])
        _ = s.alert(.ok)
        #expect(s.live(10).records == ["incident resolved"])
        #expect(s.core.state.undoing.isEmpty)
    }
}
