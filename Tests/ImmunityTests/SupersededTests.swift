import Protocol
import Testing

@testable import Immunity

@Suite("Somebody else has changed what an action had set") struct SupersededTests {
    /// A scenario with `throttle_50` in force and a stronger policy above it.
    private func throttled() -> Scenario {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.critical, "throttle_50", "throttle_10", "redistribute"),
                Scenario.policy(.emergency, "throttle_90", "redistribute")))
        _ = s.alert(.critical)
        _ = s.succeed()
        return s
    }

    private func result(_ s: Scenario) -> CommandResult {
        let command = s.commands[0]
        var result = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: command.node,
            status: .undone, outcome: .superseded, reason: "the knob says 4000000")
        result.isAsked = true
        return result
    }

    @Test("a human is asked, nothing harsher is tried, and nothing is left to be taken back")
    func escalates() {
        var s = throttled()
        let told = s.take(.result(result(s)))
        #expect(told.records == ["result superseded", "escalate", "incident escalated"])
        #expect(s.reasons("result superseded") == ["the knob says 4000000"])
        #expect(s.reasons("incident escalated").first?.contains("somebody else") == true)
        #expect(s.incident?.attemptsInForce.isEmpty == true)
        #expect(s.breaker("throttle_50") == .closed)
        let later = (0..<20).flatMap { _ in s.alert(.critical) + s.live(30) }
        #expect(!later.contains { $0.hasPrefix("send") })
        let end = s.alert(.ok) + s.live(10)
        #expect(end.contains("incident resolved") && !end.contains { $0.hasPrefix("send") })
        // The next incident is another matter.
        #expect(s.alert(.critical).contains("send execute throttle_50"))
    }

    @Test("when it gets worse, the knob is left alone all the same")
    func worsens() {
        var s = throttled()
        _ = s.take(.result(result(s)))
        let told = s.alert(.emergency)
        #expect(told.records.prefix(2) == ["alert worsened", "skip throttle_90"])
        #expect(
            s.reasons("skip throttle_90")
                == ["skipped(somebody else has changed what throttle_50 had set)"])
        #expect(!told.contains { $0.hasPrefix("send") })
    }

    @Test("it clears and comes back: that still is somebody else's")
    func returns() {
        var s = throttled()
        _ = s.alert(.ok)
        #expect(s.take(.result(result(s))) == ["result superseded"])
        let told = s.alert(.critical) + s.live(2)
        #expect(told.contains("escalate") && !told.contains { $0.hasPrefix("send") })
    }

    @Test("a kill between the result and the escalation: the next coordinator asks the human")
    func killed() {
        var s = throttled()
        // Only the first record became durable.
        var state = s.durable
        state.apply(
            .result(
                ResultEvent(
                    result: result(s), incident: s.incident?.id ?? "", timedOut: false, until: nil)),
            at: s.now)
        var core = Immunity(state: state, policies: s.core.policies, epoch: 9)
        s.now = s.now + .seconds(1)
        let told = core.handle(.tick, at: s.now)
        #expect(
            told.contains { directive in
                guard case .append(.incident(let event)) = directive else { return false }
                return event.change == .escalated
            })
        #expect(!told.contains { if case .send = $0 { true } else { false } })
    }

    @Test("a repeat of the result says nothing new; a late word of an action that is over neither")
    func repeats() {
        var s = throttled()
        _ = s.take(.result(result(s)))
        #expect(s.take(.result(result(s))) == [])
        var other = throttled()
        _ = other.alert(.ok)
        _ = other.live(10)
        #expect(other.take(.result(result(other))) == ["result superseded"])
        #expect(other.take(.result(result(other))) == [])
    }
}
