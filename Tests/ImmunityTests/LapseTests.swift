import Protocol
import Testing

@testable import Immunity

/// What the node takes back by itself while the symptom lasts.
@Suite("Actions that lapse")
struct LapseTests {
    private let again = [
        "alert repeated", "incident not_verified", "dispatch throttle_50",
        "send execute throttle_50",
    ]

    /// An action in force, and a coordinator that has not been heard for longer than its lease.
    private func hung(isKilled: Bool = false) -> (Scenario, [String]) {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(50)
        _ = s.alert(.critical)
        if isKilled { s.restart() }
        let told = s.wait(150)
        return (s, told)
    }

    @Test(
        "after a hang or a kill the agent is asked before a rung is given up",
        arguments: [true, false])
    func asked(isKilled: Bool) {
        var (s, told) = hung(isKilled: isKilled)
        #expect(told == ["send renew throttle_50"])
        // It has taken it back: nothing is done until the symptom is reported without the action.
        #expect(s.succeed(s.commands[0]) == [])
        #expect(s.answer(.undone, .succeeded) == ["result succeeded"])
        #expect(s.live(5) == [])
        #expect(s.alert(.critical) == again)
        #expect(s.incident?.attempts.map(\.rung) == [0, 0])
        #expect(s.breaker("throttle_50") == .closed)
        #expect(s.core.state.breakers.values.allSatisfy { $0.failures.isEmpty })
        #expect(
            s.reasons("incident not_verified")[0].hasPrefix(
                "throttle_50 is not in force since 2023-11-14T22:16:40Z"))
        // This time it helps.
        _ = s.succeed()
        _ = s.live(10)
        _ = s.alert(.ok)
        #expect(s.live(10).contains("incident resolved"))
    }

    @Test("a report that comes before the agent's word is not held against the rung")
    func reportFirst() {
        var (s, _) = hung()
        #expect(s.alert(.critical) == ["alert repeated"])
        _ = s.wait(1)
        #expect(s.answer(.undone, .succeeded) == ["result succeeded"])
        #expect(s.live(20) == [])
        #expect(s.alert(.critical) == again)
    }

    @Test("an agent that says nothing still holds it: the rung has not helped")
    func heldOn() {
        var (s, _) = hung()
        #expect(s.wait(1) == [])
        #expect(
            s.wait(1).records == [
                "incident not_verified", "dispatch throttle_10", "send execute throttle_10",
            ])
        #expect(s.breaker("throttle_50") == .closed)
        #expect(s.core.state.breakers.values.map(\.failures.count).sorted() == [0, 1])
    }

    @Test("an agent that has hung says so by refusing a renewal as too late")
    func hungAgent() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(120)
        #expect(s.answer(.refused, .transientFailure) == [])
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(s.answer(.undone, .succeeded) == ["result succeeded"])
        #expect(s.live(20) == [])
        #expect(s.alert(.critical) == again)
    }

    @Test("an agent that was stopped and is back: done again, after the cooldown")
    func stoppedAgent() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(10)
        #expect(s.answer(.undone, .succeeded) == ["result succeeded"])
        _ = s.wait(10)
        #expect(
            s.alert(.critical) == ["alert repeated", "incident not_verified", "wait throttle_50"])
        #expect(s.live(39) == [])
        #expect(s.wait(1) == ["dispatch throttle_50", "send execute throttle_50"])
    }

    @Test("as often as attempts allow, then the next rung")
    func attempts() {
        var policy = Scenario.policy(.critical, "throttle_50", "throttle_10")
        policy.cooldown = .zero
        var s = Scenario(Scenario.policies(policy))
        _ = s.alert(.critical)
        for attempt in 1...3 {
            _ = s.succeed()
            #expect(s.answer(.undone, .succeeded) == ["result succeeded"])
            _ = s.wait(2)
            let told = s.alert(.critical)
            #expect(told.prefix(2) == again.prefix(2))
            #expect(
                told.dropFirst(2)
                    == (attempt < 3
                        ? again[2...]
                        : ["skip throttle_50", "dispatch throttle_10", "send execute throttle_10"]))
        }
        #expect(s.reasons("skip throttle_50") == ["skipped(3 of 3 attempts made)"])
    }

    @Test("what somebody has taken back by hand is not done again")
    func byHand() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(10)
        let command = s.commands[0]
        var undone = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: command.node,
            status: .undone, outcome: .succeeded)
        undone.isAsked = true
        _ = s.take(.result(undone))
        _ = s.live(10)
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(
            s.live(40).records == [
                "incident not_verified", "dispatch throttle_10", "send execute throttle_10",
            ])
    }
}
