import Protocol
import Testing

@testable import Immunity

@Suite("Ladders, guards and outcomes")
struct LadderTests {
    @Test("a success after which the symptom lasts is not verified: next rung, then a human, once")
    func ladder() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.live(30)
        _ = s.alert(.critical)
        #expect(s.live(29).records.filter { !$0.hasPrefix("send renew") } == [])
        #expect(
            s.wait(1).records == [
                "incident not_verified", "dispatch throttle_10", "send execute throttle_10",
            ])
        _ = s.succeed()
        _ = s.live(30)
        _ = s.alert(.critical)
        let told = s.live(30).records.filter { !$0.hasPrefix("send renew") }
        #expect(told == ["incident not_verified", "escalate", "incident escalated"])
        #expect(s.reasons("escalate") == ["nothing on the ladder of thermal/critical helped"])
        // What was done stays in force while the symptom lasts.
        _ = s.alert(.critical)
        #expect(Set(s.live(100).records) == ["send renew throttle_10", "send renew throttle_50"])
        _ = s.alert(.ok)
        #expect(s.live(10).filter { $0.hasPrefix("send undo") }.count == 2)
    }

    @Test("no report after the success: nothing is known, so nothing more is done")
    func noReport() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.wait(2)
        _ = s.succeed()
        #expect(s.live(170).records.filter { $0 != "send renew throttle_50" } == [])
    }

    @Test("three attempts mean three; the cooldown runs from the last attempt")
    func attempts() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.critical, "throttle_50", "throttle_10"),
                breaker: BreakerPolicy(failureThreshold: 100)))
        _ = s.alert(.critical)
        var dispatches = [s.now]
        for _ in 0..<400 {
            if s.incident?.phase == .acting, s.commands.last?.actionType == "throttle_50" {
                // The answer takes its time; the cooldown does not wait for it.
                if s.now - (dispatches.last ?? s.now) >= .seconds(20) {
                    _ = s.answer(.done, .transientFailure)
                }
            }
            if s.wait(1).contains("dispatch throttle_50") { dispatches.append(s.now) }
            if s.core.state.incidents.isEmpty { break }
            _ = s.alert(.critical)
        }
        #expect(dispatches.count == 3)
        // Answered after 20 s, and again 60 s after the answer (the record says until when).
        #expect(dispatches[1] - dispatches[0] >= .seconds(60))
        let skips = s.reasons("skip throttle_50")
        #expect(skips == ["skipped(3 of 3 attempts made)"])
        #expect(s.commands.contains { $0.actionType == "throttle_10" })
    }

    @Test("the cooldown holds over incidents, and over a restart")
    func cooldown() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.ok)
        _ = s.live(10)
        _ = s.answer(.undone)
        #expect(s.core.state.incidents.isEmpty)
        _ = s.wait(10)
        s.restart()
        #expect(s.alert(.critical).records == ["alert opened", "wait throttle_50"])
        #expect(s.reasons("wait throttle_50").last?.hasPrefix("cooldown: last attempt at") == true)
        #expect(s.live(39) == [])
        #expect(s.wait(1).records == ["dispatch throttle_50", "send execute throttle_50"])
        // Another resource has a cooldown of its own.
        #expect(s.alert(.critical, resource: "gpu").contains("dispatch throttle_50"))
    }

    static let outcomes: [(CommandResult.Outcome, Attempt.Status)] = [
        (.permanentFailure, .permanentFailure), (.superseded, .superseded),
        (.cancelled, .cancelled),
    ]

    @Test("a failure that another try cannot mend goes to the next rung", arguments: outcomes)
    func permanent(outcome: CommandResult.Outcome, status: Attempt.Status) {
        var s = Scenario()
        _ = s.alert(.critical)
        #expect(
            s.answer(.done, outcome) == [
                "result \(outcome.rawValue)", "publish healing_failed", "dispatch throttle_10",
                "send execute throttle_10",
            ])
        #expect(s.incident?.attempts.first?.status == status)
        #expect(s.incident?.attempts.first?.isInForce == false)
    }

    @Test("a refusal is a failure, which may be transient")
    func refusals() {
        var s = Scenario()
        _ = s.alert(.critical)
        #expect(s.answer(.refused).records.prefix(2) == ["result refused", "dispatch throttle_10"])
        #expect(
            s.answer(.refused, .transientFailure).records == ["result transient_failure"])
        #expect(s.incident?.phase == .deciding)
        #expect(s.live(60).records.last == "send execute throttle_10")
    }

    @Test("silence past the deadline is an unknown outcome: not retried, undone in the end")
    func silence() {
        var s = Scenario()
        _ = s.alert(.critical)
        let told = s.live(34)
        #expect(told.filter { $0 == "send execute throttle_50" }.count == 15)
        #expect(told.allSatisfy { $0 == "send execute throttle_50" })
        #expect(Set(s.commands.map(\.actionID)).count == 1)
        #expect(
            s.wait(1).records == [
                "timeout done", "dispatch throttle_10", "send execute throttle_10",
            ])
        #expect(s.incident?.attempts.first?.status == .unknown)
        _ = s.answer(.done, .permanentFailure)
        _ = s.alert(.ok)
        #expect(s.live(10).records.suffix(2) == ["undo throttle_50", "send undo throttle_50"])
    }

    @Test("a late success counts, but does not bring the rung back")
    func lateSuccess() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.live(35)
        #expect(s.incident?.rung == 1)
        #expect(s.succeed(s.commands[0]) == ["result succeeded", "publish healing_executed"])
        #expect(s.incident?.rung == 1)
        #expect(s.incident?.phase == .acting)
        #expect(s.incident?.attempts.first?.status == .succeeded)
        // A failure is not counted a second time.
        #expect(s.core.state.breakers.values.map(\.failures.count).sorted() == [0, 1])
    }

    @Test("a late failure after silence counts once")
    func lateFailure() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.live(35)
        #expect(
            s.answer(.done, .permanentFailure, to: s.commands[0]).first
                == "result permanent_failure")
        #expect(s.core.state.breakers.values.map(\.failures.count).sorted() == [0, 1])
    }

    @Test("repeated, foreign and unknown results change nothing; those of others are recorded once")
    func foreignResults() {
        var s = Scenario()
        _ = s.alert(.critical)
        var foreign = s.commands[0]
        foreign.node = "lyra"
        #expect(s.succeed(foreign) == [])
        foreign = s.commands[0]
        let before = s.core.state
        foreign = s.commands[0]
        foreign.actionID = "nova:thermal:throttle_50:1"
        // It changes nothing here, but a node was changed by hand.
        #expect(s.answer(.accepted, to: foreign) == [])
        #expect(s.succeed(foreign) == ["result succeeded"])
        #expect(s.records.last?.actor == "unknown")
        #expect(s.succeed(foreign) == [])
        #expect(s.answer(.undone, .succeeded, to: foreign) == ["result succeeded"])
        #expect(s.core.state == before)
        _ = s.succeed()
        #expect(s.succeed() == [])
        #expect(s.answer(.done, .permanentFailure) == [])
        #expect(s.answer(.accepted) == [])
        #expect(s.core.state.breakers.values.allSatisfy { $0.failures.isEmpty })
    }

    /// With deadlines and how often the command is sent in all until then.
    static let resends: [(deadline: Double, count: Int)] = [(30, 16), (8, 5), (4, 5), (1, 3)]

    @Test(
        "accepted and then lost with its agent: sent again with the same id until its deadline",
        arguments: resends)
    func accepted(deadline: Double, count: Int) {
        var policy = Scenario.policy(.critical, "throttle_50", "throttle_10")
        policy.deadline = .seconds(deadline)
        var s = Scenario(Scenario.policies(policy))
        _ = s.alert(.critical)
        #expect(s.answer(.accepted) == [])
        for _ in 0..<Int(deadline * 10) where s.wait(0.1) != [] {
            #expect(s.answer(.accepted) == [])
        }
        #expect(s.commands.count == count)
        #expect(Set(s.commands.map(\.actionID)).count == 1)
        #expect(s.commands.allSatisfy { $0.operation == .execute })
        // The agent that was started again knows nothing of it, and does it.
        #expect(s.succeed().first == "result succeeded")
        #expect(s.incident?.attempts.first?.status == .succeeded)
    }

    @Test("no known executor: skipped, and on")
    func executors() {
        let policy = Scenario.policies(
            Scenario.policy(.critical, "redistribute", "failover", "throttle_50"))
        var s = Scenario(policy)
        #expect(
            s.alert(.critical).records == [
                "alert opened", "skip redistribute", "skip failover", "dispatch throttle_50",
                "send execute throttle_50",
            ])
        // An agent that says it can is believed.
        s = Scenario(policy)
        s.heartbeat("mover", verbs: ["redistribute"])
        #expect(s.alert(.critical).records[1] == "dispatch redistribute")
    }

    @Test(
        "an agent that is offline, or does not offer the verb, is no executor",
        arguments: [
            ("throttle_10", "thermal_sentinel-nova is offline, last heard at "),
            ("cleanup_temp", "no executor: no thermal_sentinel on nova offers throttle_50"),
        ])
    func missingExecutors(verb: String, reason: String) {
        var s = Scenario()
        s.heartbeat("thermal_sentinel", verbs: [verb])
        _ = s.wait(31)
        #expect(
            s.alert(.critical).records == [
                "alert opened", "skip throttle_50", "skip throttle_10", "escalate",
                "incident escalated",
            ])
        let reasons = s.reasons("skip throttle_50")
        #expect(reasons.count == 1 && reasons[0].hasPrefix("skipped(\(reason)"))
    }

    @Test("too early to say who is there: the command will tell")
    func earlyExecutors() {
        var s = Scenario()
        s.heartbeat("storage_watcher", verbs: ["cleanup_temp"])
        #expect(s.alert(.critical).contains("dispatch throttle_50"))
        _ = s.wait(30)
        s.heartbeat("storage_watcher", verbs: ["cleanup_temp"])
        #expect(s.alert(.critical, resource: "gpu").contains("skip throttle_50"))
    }

    @Test("alert_human and a policy that was taken out call a human")
    func humans() {
        var s = Scenario(
            Scenario.policies(Scenario.policy(.critical, "alert_human", "throttle_50")))
        #expect(s.alert(.critical).records == ["alert opened", "escalate", "incident escalated"])
        #expect(s.commands.isEmpty)
        s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        #expect(s.take(.configured(PolicySet(), fingerprint: "f")) == ["config"])
        #expect(s.live(60).records == ["escalate", "incident escalated"])
        #expect(s.reasons("escalate") == ["the policy was taken out of config.yaml"])
    }

    @Test("a human is called once for each incident, also when it gets worse")
    func escalatesOnce() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "alert_human"), Scenario.policy(.critical, "alert_human"))
        )
        #expect(s.alert(.warning).contains("publish escalation"))
        _ = s.wait(1)
        #expect(s.alert(.critical) == ["alert worsened", "escalate"])
        _ = s.wait(1)
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(s.incident?.phase == .escalated)
    }

    @Test("every decision records every guard up to the one that stops, in their order")
    func guards() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        _ = s.alert(.critical, resource: "gpu")
        var words: [[String]] = []
        for record in s.records {
            guard case .decision(let decision) = record.event else { continue }
            words.append(decision.guards.map { "\($0.name) \($0.passed)" })
        }
        let all = [
            "stale", "ambiguous_node", "breaker", "cooldown", "attempts", "dispatch",
        ].map { "\($0) true" }
        #expect(words == [all, all])
        _ = s.alert(.ok)
        _ = s.live(10)
        _ = s.alert(.critical)
        guard case .decision(let decision)? = s.records.last?.event else {
            Issue.record("no decision")
            return
        }
        #expect(decision.guards.map(\.passed) == [true, true, true, false])
        #expect(decision.policy == "thermal/critical")
        #expect(decision.cause == s.incident?.alertID)
    }

    @Test("an incident makes 64 attempts at most, whatever the policy says")
    func attemptLimit() {
        var s = Scenario(
            PolicySet(
                policies: [
                    Policy(
                        type: "thermal", severity: .critical, ladder: [Rung(action: "throttle_50")],
                        cooldown: .zero, maxAttempts: 1000)
                ],
                breaker: BreakerPolicy(failureThreshold: 1000, executionThreshold: 1000)))
        _ = s.alert(.critical)
        for _ in 0..<100 { _ = s.answer(.done, .transientFailure) + s.wait(1) }
        // The breaker's own bound is 100 executions, so it is this limit that stops.
        #expect(s.incident?.attempts.count == State.attemptLimit)
        #expect(s.incident?.phase == .escalated)
        #expect(
            s.reasons("escalate throttle_50") == ["attempts: 64 attempts made in this incident"])
    }

    @Test("what has had its attempts for a milder severity does not keep the next rung back")
    func worsensWithBreakerOpen() {
        var s = Scenario(
            PolicySet(
                policies: [.warning, .critical].map {
                    Policy(
                        type: "thermal", severity: $0,
                        ladder: [Rung(action: "throttle_50"), Rung(action: "throttle_75")],
                        cooldown: .seconds(60))
                }, breaker: BreakerPolicy(failureThreshold: 3)))
        _ = s.alert(.warning)
        for _ in 0..<2 {
            _ = s.answer(.done, .transientFailure)
            _ = s.live(30)
            _ = s.alert(.warning)
            _ = s.live(31)
        }
        _ = s.answer(.done, .transientFailure)
        #expect(s.breaker("throttle_50") == .open)
        #expect(
            s.alert(.critical).records.suffix(3) == [
                "skip throttle_50", "dispatch throttle_75", "send execute throttle_75",
            ])
    }

    @Test("ids are never given twice, however fast they are given, or if the clock goes back")
    func ids() {
        var s = Scenario()
        var ids: Set<String> = []
        for index in 0..<50 {
            if index == 25 {
                s.now = s.now - .seconds(3600)
                s.restart()
            }
            _ = s.alert(.critical, resource: "r\(index)")
            ids.insert(s.commands[s.commands.count - 1].actionID)
        }
        #expect(ids.count == 50)
        #expect(Set(s.core.state.keyOfIncident.keys).count == 50)
    }
}
