import Protocol
import Testing

@testable import Immunity

@Suite("Clocks that jump")
struct ClockTests {
    private let hour: Duration = .seconds(3600)

    @Test(
        "an hour back: recorded, and everything goes on as it was meant", arguments: [false, true])
    func back(isRestart: Bool) {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        s.now = s.now - hour
        if isRestart { s.restart() }
        #expect(s.take(.tick) == ["clock"])
        #expect(
            s.reasons("clock") == ["it is 1h before the last record: the clock was set back"])
        #expect(s.live(59).records == [])
        #expect(s.wait(1).records == ["dispatch throttle_50", "send execute throttle_50"])
        _ = s.succeed()
        #expect(s.live(40).records == ["send renew throttle_50"])
        #expect(s.live(200).records.contains("incident expired"))
    }

    @Test("an hour back: a breaker is open as long as it was meant to be")
    func breakerBack() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.critical, "throttle_50"),
                breaker: BreakerPolicy(failureThreshold: 1, openFor: .seconds(300))))
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        #expect(s.breaker("throttle_50") == .open)
        s.now = s.now - hour
        #expect(s.take(.tick) == ["clock"])
        _ = s.live(299)
        #expect(s.breaker("throttle_50") == .open)
        _ = s.wait(1)
        #expect(s.breaker("throttle_50") == .halfOpen)
    }

    @Test("an hour back: an undo and a command in flight are still pursued")
    func pursuitBack() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.alert(.critical, resource: "gpu")
        _ = s.succeed()
        _ = s.alert(.ok, resource: "gpu")
        _ = s.live(10)
        s.now = s.now - hour
        #expect(
            s.take(.tick).sorted() == [
                "clock", "send execute throttle_50", "send undo throttle_50",
            ])
        #expect(s.live(40).contains("timeout done"))
    }

    @Test("an hour back: agents that fall silent are noticed, and alerts are heard")
    func nodesBack() {
        var s = Scenario()
        s.heartbeat("thermal_sentinel")
        s.now = s.now - hour
        #expect(s.take(.tick) == [])
        #expect(s.live(30).filter { $0.hasPrefix("publish agent") }.count == 2)
        #expect(s.alert(.critical).first == "alert opened")
    }

    @Test("a little back is no step")
    func tolerance() {
        var s = Scenario()
        _ = s.alert(.critical)
        s.now = s.now - .seconds(5)
        #expect(s.take(.tick) == [])
        s.now = s.now - .seconds(1)
        #expect(s.take(.tick).first == "clock")
        #expect(s.take(.tick) == [])
    }

    @Test("an hour forward: what was under way ends, and is taken back")
    func forward() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        s.now = s.now + hour
        #expect(
            s.take(.tick).records == [
                "incident expired", "undo throttle_50", "send undo throttle_50",
            ])
        #expect(s.alert(.critical).contains("dispatch throttle_50"))
    }
}
