import Protocol
import Testing

@testable import Immunity

@Suite("Agents without time")
struct BusyTests {
    @Test("an agent without time has not tried: no attempt, no cooldown, nothing for the breaker")
    func busy() {
        var s = Scenario()
        _ = s.alert(.critical)
        func refuse() -> [String] {
            guard let command = s.commands.last else { return [] }
            var result = CommandResult(
                actionID: command.actionID, actionType: command.actionType, node: command.node,
                status: .refused, outcome: .transientFailure, reason: "busy: 16 are waiting")
            result.isBusy = true
            return s.take(.result(result)).records
        }
        for _ in 1..<Immunity.busyLimit {
            #expect(refuse() == ["result transient_failure"])
            #expect(s.live(9) == [])
            #expect(s.wait(1) == ["dispatch throttle_50", "send execute throttle_50"])
        }
        #expect(s.breaker("throttle_50") == .closed)
        #expect(s.core.state.breakers.values.map(\.failures.count) == [0])
        #expect(s.core.state.breakers.values.map(\.executions.count) == [1])
        #expect(s.incident?.attemptCount(of: 0, action: "throttle_50") == 1)
        // But not for ever.
        #expect(refuse() == ["result transient_failure"])
        #expect(
            s.live(10) == ["skip throttle_50", "dispatch throttle_10", "send execute throttle_10"])
        #expect(s.reasons("skip throttle_50") == ["skipped(its agent had no time for it 12 times)"])
        #expect(Set(s.commands.map(\.actionID)).count == s.commands.count)
    }

    @Test("a trial that was not tried leaves the breaker half open for the next")
    func busyTrial() {
        var breaker = Breaker()
        var command = Command(actionID: "a", actionType: "x", node: "nova")
        command.timestamp = Timestamp(seconds: 100)
        breaker.executed("z", at: Timestamp(seconds: 50))
        breaker.open(until: Timestamp(seconds: 90), reason: "r")
        breaker.executed("a", at: Timestamp(seconds: 100))
        #expect(breaker.refusal(at: Timestamp(seconds: 101)) != nil)
        breaker.withdraw(command)
        #expect(breaker.refusal(at: Timestamp(seconds: 101)) == nil)
        #expect(breaker.state(at: Timestamp(seconds: 101)) == .halfOpen)
        #expect(breaker.lastExecution == Timestamp(seconds: 50))
    }
}
