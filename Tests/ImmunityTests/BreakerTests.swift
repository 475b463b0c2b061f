import Protocol
import Testing

@testable import Immunity

@Suite("Breakers")
struct BreakerTests {
    /// No cooldown, one rung, and a breaker of three failures or five executions in ten minutes.
    private func scenario() -> Scenario {
        Scenario(
            PolicySet(
                policies: [
                    Policy(
                        type: "thermal", severity: .critical, ladder: [Rung(action: "throttle_50")],
                        cooldown: .zero, maxAttempts: 100, verify: .seconds(10))
                ],
                breaker: BreakerPolicy(
                    failureThreshold: 3, executionThreshold: 5, window: .seconds(600),
                    openFor: .seconds(300))))
    }

    /// Fails until the breaker opens.
    private func opened() -> Scenario {
        var s = scenario()
        _ = s.alert(.critical)
        for _ in 0..<3 { _ = s.answer(.done, .transientFailure) }
        return s
    }

    @Test("opens after the third failure, escalates once, and lets nothing through")
    func opens() {
        var s = scenario()
        _ = s.alert(.critical)
        #expect(s.answer(.done, .transientFailure).contains("dispatch throttle_50"))
        #expect(s.answer(.done, .transientFailure).contains("dispatch throttle_50"))
        #expect(
            s.answer(.done, .transientFailure) == [
                "result transient_failure", "breaker opened", "publish breaker_opened",
                "publish healing_failed", "escalate throttle_50", "incident escalated",
                "publish escalation",
            ])
        #expect(s.breaker("throttle_50") == .open)
        #expect(s.reasons("breaker opened") == ["3 failures within 10m"])
        #expect(s.alert(.critical, resource: "gpu").contains("dispatch throttle_50"))
        _ = s.alert(.ok, age: -1)
        _ = s.live(15)
        #expect(
            s.alert(.critical).records == [
                "alert opened", "escalate throttle_50", "incident escalated",
            ])
        #expect(s.reasons("escalate throttle_50").last?.hasPrefix("breaker: open until ") == true)
    }

    struct LastAttempt: Sendable, CustomTestStringConvertible {
        var attempts: Int
        var threshold: Int
        var ladder: [String]
        /// What follows from the last failure's record.
        var told: [String]

        var testDescription: String { "\(attempts) attempts, \(threshold) failures, \(ladder)" }
    }

    static let lastAttempts: [LastAttempt] = [
        // The defaults: the last attempt is what opens the breaker.
        LastAttempt(
            attempts: 3, threshold: 3, ladder: ["throttle_50", "throttle_10"],
            told: [
                "breaker opened", "skip throttle_50", "dispatch throttle_10",
                "send execute throttle_10",
            ]),
        LastAttempt(
            attempts: 3, threshold: 3, ladder: ["throttle_50", "alert_human"],
            told: ["breaker opened", "skip throttle_50", "escalate", "incident escalated"]),
        LastAttempt(
            attempts: 3, threshold: 3, ladder: ["throttle_50"],
            told: ["breaker opened", "skip throttle_50", "escalate", "incident escalated"]),
        LastAttempt(
            attempts: 3, threshold: 4, ladder: ["throttle_50", "throttle_10"],
            told: ["skip throttle_50", "dispatch throttle_10", "send execute throttle_10"]),
        // The breaker opens although attempts are left: a human decides.
        LastAttempt(
            attempts: 4, threshold: 3, ladder: ["throttle_50", "throttle_10"],
            told: ["breaker opened", "escalate throttle_50", "incident escalated"]),
    ]

    @Test(
        "a rung that has had its attempts is passed, also when they have opened its breaker",
        arguments: lastAttempts)
    func lastAttempt(given: LastAttempt) {
        var s = Scenario(
            PolicySet(
                policies: [
                    Policy(
                        type: "thermal", severity: .critical,
                        ladder: given.ladder.map { Rung(action: $0) }, cooldown: .zero,
                        maxAttempts: given.attempts)
                ], breaker: BreakerPolicy(failureThreshold: given.threshold)))
        _ = s.alert(.critical)
        for _ in 0..<2 { _ = s.answer(.done, .transientFailure) }
        // A kill between the outcome and what follows from it changes nothing.
        s.restart()
        #expect(
            s.answer(.done, .transientFailure).records == ["result transient_failure"] + given.told)
        let skips = s.reasons("skip throttle_50")
        #expect(skips.allSatisfy { $0.hasPrefix("skipped(3 of 3 attempts made") })
        #expect(skips.allSatisfy { $0.contains("breaker open until") == (given.threshold == 3) })
    }

    @Test("an open breaker that others have opened is no reason for the next rung")
    func openedBefore() {
        var s = Scenario()
        for _ in 0..<3 {
            _ = s.alert(.critical)
            _ = s.answer(.done, .transientFailure)
            _ = s.alert(.ok, age: -1)
            _ = s.live(61)
        }
        #expect(s.core.state.incidents.isEmpty)
        #expect(s.breaker("throttle_50") == .open)
        #expect(
            s.alert(.critical).records == [
                "alert opened", "escalate throttle_50", "incident escalated",
            ])
    }

    @Test("what is older than the window does not count")
    func window() {
        let policy = BreakerPolicy(
            failureThreshold: 3, executionThreshold: 5, window: .seconds(600))
        var breaker = Breaker()
        for second in [0, 1, 600] as [Int64] { breaker.failed(at: Timestamp(seconds: second)) }
        #expect(breaker.openingReason(at: Timestamp(seconds: 599), policy: policy) != nil)
        #expect(breaker.openingReason(at: Timestamp(seconds: 600), policy: policy) == nil)
        for second in [601, 602, 603, 604] as [Int64] {
            breaker.executed("a", at: Timestamp(seconds: second))
        }
        #expect(breaker.openingReason(at: Timestamp(seconds: 604), policy: policy) == nil)
        breaker.executed("a", at: Timestamp(seconds: 605))
        #expect(breaker.openingReason(at: Timestamp(seconds: 605), policy: policy) != nil)
    }

    /// After its time an open breaker lets one trial through.
    private func trial() -> Scenario {
        var s = opened()
        _ = s.alert(.ok, age: -1)
        _ = s.live(301)
        #expect(s.breaker("throttle_50") == .halfOpen)
        #expect(s.alert(.critical).contains("dispatch throttle_50"))
        return s
    }

    @Test("half open, one trial helps: closed")
    func closes() {
        var s = trial()
        #expect(s.succeed() == ["result succeeded", "publish healing_executed"])
        #expect(s.breaker("throttle_50") == .halfOpen)
        _ = s.wait(1)
        _ = s.alert(.ok)
        #expect(
            s.live(10).records == [
                "incident resolved", "breaker closed", "undo throttle_50", "send undo throttle_50",
            ])
        #expect(s.breaker("throttle_50") == .closed)
    }

    @Test("half open, the trial fails: open again for as long")
    func reopens() {
        var s = trial()
        #expect(
            s.answer(.done, .transientFailure).records == [
                "result transient_failure", "breaker opened", "escalate throttle_50",
                "incident escalated",
            ])
        #expect(s.breaker("throttle_50") == .open)
        s.now = s.now + .seconds(299)
        #expect(s.breaker("throttle_50") == .open)
        s.now = s.now + .seconds(1)
        #expect(s.breaker("throttle_50") == .halfOpen)
    }

    @Test("half open, the symptom clears before the trial is answered: open again")
    func clearedTrial() {
        var s = trial()
        _ = s.wait(1)
        _ = s.alert(.ok)
        #expect(
            s.live(10).records == [
                "incident resolved", "breaker opened", "undo throttle_50", "send undo throttle_50",
            ])
        #expect(s.reasons("breaker opened").last?.hasSuffix("was not answered") == true)
    }

    @Test("a reset does not shorten the cooldown")
    func resetKeepsCooldown() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.critical, "throttle_50"),
                breaker: BreakerPolicy(failureThreshold: 1)))
        _ = s.alert(.critical)
        _ = s.answer(.done, .permanentFailure)
        _ = s.take(.resetBreaker(nil, actor: "op"))
        _ = s.alert(.ok, age: -1)
        _ = s.live(12)
        #expect(s.core.state.incidents.isEmpty)
        #expect(s.alert(.critical).records == ["alert opened", "wait throttle_50"])
    }

    @Test("half open, the trial is not answered: open again")
    func silentTrial() {
        var s = trial()
        #expect(s.live(35).records.suffix(3).first == "breaker opened")
    }

    @Test("half open, the trial succeeds but the symptom stays: open again")
    func unverifiedTrial() {
        var s = trial()
        _ = s.succeed()
        _ = s.wait(5)
        _ = s.alert(.critical)
        #expect(
            s.live(5).records == [
                "incident not_verified", "breaker opened", "escalate", "incident escalated",
            ])
    }

    @Test("half open, nobody tells whether the trial helped: open again, not stuck")
    func unknownTrial() {
        var s = trial()
        _ = s.succeed()
        let told = s.live(180).records.filter { !$0.hasPrefix("send") }
        #expect(told == ["incident expired", "breaker opened", "undo throttle_50"])
        #expect(s.reasons("breaker opened").last?.hasSuffix("was not verified") == true)
    }

    @Test("half open, other incidents wait for the trial, and do not fill the audit")
    func waitsForTrial() {
        var s = scenario()
        _ = s.take(
            .configured(
                PolicySet(
                    policies: ["thermal", "load"].map {
                        Policy(
                            type: $0, severity: .critical, ladder: [Rung(action: "throttle_50")],
                            cooldown: .zero, maxAttempts: 100)
                    }, breaker: s.core.policies.breaker), fingerprint: "f"))
        _ = s.alert(.critical)
        for _ in 0..<3 { _ = s.answer(.done, .transientFailure) }
        _ = s.alert(.ok, age: -1)
        _ = s.live(301)
        _ = s.alert(.critical)
        _ = s.succeed()
        // The same action on the same resource, for another reason.
        #expect(s.alert(.critical, type: "load").records == ["alert opened", "wait throttle_50"])
        #expect(s.live(60).filter { $0 == "wait throttle_50" }.count == 2)
        _ = s.alert(.ok)
        #expect(s.live(60).contains("dispatch throttle_50"))
    }

    @Test("too many executions are a loop, whatever their outcome")
    func executions() {
        var s = scenario()
        var dispatches = 0
        for index in 0..<20 {
            if s.alert(.critical).contains("dispatch throttle_50") { dispatches += 1 }
            _ = s.succeed()
            _ = s.wait(1)
            _ = s.alert(.ok)
            _ = s.live(10)
            _ = s.answer(.undone)
            #expect(s.core.state.incidents.isEmpty, "\(index)")
        }
        #expect(dispatches == 5)
        #expect(s.reasons("breaker opened") == ["5 executions within 10m: a healing loop"])
    }

    @Test("an undo never asks a breaker")
    func undoPasses() {
        var s = scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        for index in 0..<3 {
            _ = s.live(10)
            _ = s.alert(.critical, id: "r\(index)")
        }
        var breakers = s.core.state.breakers
        for key in breakers.keys {
            breakers[key]?.open(until: s.now + .seconds(10_000), reason: "x")
        }
        s.core.state.breakers = breakers
        let told = s.core.handle(.undo(id: s.commands[0].actionID, actor: "op"), at: s.now)
        #expect(told.contains { if case .send(let c) = $0 { c.operation == .undo } else { false } })
    }

    @Test("reset closes it; nothing that it held back is done after")
    func reset() throws {
        var s = opened()
        let key = try #require(BreakerKey("nova:throttle_50"))
        #expect(
            s.take(.resetBreaker(key, actor: "op")) == ["operator", "breaker reset", "granted"])
        #expect(s.breaker("throttle_50") == .closed)
        #expect(s.reasons("breaker reset") == ["reset by op"])
        // Three days later the incident, still reported, stays with the human who was called.
        for _ in 0..<3 {
            _ = s.wait(24 * 3600)
            #expect(
                !s.alert(.critical).contains("dispatch throttle_50") || s.incident?.alertCount == 1)
        }
        #expect(s.take(.resetBreaker(key, actor: "op")).last == "denied")
        #expect(s.take(.resetBreaker(nil, actor: "op")) == ["operator", "granted"])
    }

    @Test("a reset of one resource leaves the others; the node as a whole means all")
    func resetScope() throws {
        var s = opened()
        _ = s.alert(.critical, resource: "gpu")
        for _ in 0..<3 { _ = s.answer(.done, .transientFailure) }
        #expect(s.take(.resetBreaker(BreakerKey("nova:throttle_50:gpu"), actor: "op")).count == 3)
        #expect(s.breaker("throttle_50") == .open)
        #expect(s.take(.resetBreaker(BreakerKey("lyra:throttle_50"), actor: "op")).last == "denied")
        #expect(
            s.take(.resetBreaker(BreakerKey("nova:throttle_50"), actor: "op")).last == "granted")
        #expect(s.breaker("throttle_50") == .closed)
    }

    @Test("a kill between the outcome and the breaker's record does not grant another attempt")
    func killBeforeOpening() {
        var s = scenario()
        _ = s.alert(.critical)
        for _ in 0..<2 { _ = s.answer(.done, .transientFailure) }
        var result = CommandResult(
            actionID: s.commands[2].actionID, actionType: "throttle_50", node: "nova",
            status: .done, outcome: .transientFailure)
        result.reason = "x"
        let directives = s.core.handle(.result(result), at: s.now)
        guard case .append(let event)? = directives.first else {
            Issue.record("no record")
            return
        }
        var state = s.durable
        state.apply(event, at: s.now)
        var core = Immunity(state: state, policies: s.core.policies, epoch: 8)
        let told = core.handle(.tick, at: s.now)
        #expect(!told.contains { if case .send = $0 { true } else { false } })
        #expect(core.state.breakers.values.contains { $0.openUntil != nil })
    }

    @Test(
        "keys",
        arguments: [
            ("nova:throttle_50", "nova", "throttle_50", "", false),
            ("nova:throttle_50:cpu", "nova", "throttle_50", "cpu", false),
            ("nova:cleanup:/a:b", "nova", "cleanup", "/a:b", false),
            ("dry_run/nova:x:cpu", "nova", "x", "cpu", true),
        ])
    func keys(text: String, node: String, action: String, resource: String, isDryRun: Bool) {
        let key = BreakerKey(text)
        #expect(
            key == BreakerKey(node: node, action: action, resource: resource, isDryRun: isDryRun))
        #expect(key?.text == text)
    }

    @Test(
        "no keys",
        arguments: ["", "nova", "Nova:x", "nova:", ":x", "dry_run/", "a b:c", "nova:x.y"])
    func badKeys(text: String) { #expect(BreakerKey(text) == nil) }

    @Test("histories are bounded, and thresholds above the bound count as the bound")
    func history() {
        var breaker = Breaker()
        for second in 0..<500 { breaker.executed("a", at: Timestamp(seconds: Int64(second))) }
        #expect(breaker.executions.count == Breaker.historyLimit)
        #expect(breaker.lastExecution == Timestamp(seconds: 499))
        let policy = BreakerPolicy(failureThreshold: 1000, executionThreshold: 1000)
        #expect(breaker.openingReason(at: Timestamp(seconds: 499), policy: policy) != nil)
    }

    @Test("durations as configuration writes them")
    func durations() {
        let texts: [(Duration, String)] = [
            (.zero, "0s"), (.seconds(5), "5s"), (.milliseconds(1500), "1500ms"),
            (.seconds(90), "1m30s"), (.seconds(3600), "1h"), (.seconds(90_061), "25h1m1s"),
            (.milliseconds(300_500), "5m"), (.seconds(-5), "-5s"), (.nanoseconds(1), "0s"),
        ]
        for (duration, text) in texts { #expect(duration.short == text) }
    }
}
