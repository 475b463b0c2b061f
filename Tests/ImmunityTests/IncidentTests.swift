import Protocol
import Testing

@testable import Immunity

@Suite("Incidents")
struct IncidentTests {
    @Test("from the first alert to verified recovery")
    func story() {
        var s = Scenario()
        #expect(
            s.alert(.critical) == [
                "alert opened", "dispatch throttle_50", "send execute throttle_50",
                "publish incident_opened",
            ])
        #expect(s.commands[0].actionID == "nova:thermal:throttle_50:1700000001")
        #expect(s.commands[0].epoch == 7)
        #expect(s.commands[0].deadline == s.now + .seconds(30))
        #expect(s.commands[0].lease == .seconds(120))
        #expect(s.commands[0].agentType == "thermal_sentinel")
        #expect(s.commands[0].parameters == ["resource": "cpu"])
        #expect(s.commands[0].incident == "nova:thermal:cpu:1700000000")
        #expect(s.incident?.phase == .acting)
        #expect(s.succeed() == ["result succeeded", "publish healing_executed"])
        #expect(s.incident?.phase == .verifying)
        #expect(s.wait(5) == [])
        #expect(s.alert(.ok) == ["alert cleared"])
        #expect(s.incident?.phase == .clearing)
        #expect(s.wait(9) == [])
        #expect(
            s.wait(1) == [
                "incident resolved", "undo throttle_50", "send undo throttle_50",
                "publish incident_resolved",
            ])
        #expect(s.commands[1].actionID == s.commands[0].actionID)
        #expect(s.commands[1].deadline == nil && s.commands[1].lease == nil)
        #expect(s.incident == nil)
        #expect(s.core.state.undoing.count == 1)
        #expect(s.answer(.undone) == ["result undone"])
        #expect(s.core.state.undoing.isEmpty)
        #expect(s.core.state.closed.map(\.phase) == [.resolved])
        #expect(s.core.nextTick == nil)
        #expect(s.live(1000) == [])
    }

    @Test("a repeat is recorded once a second at most, and changes nothing else")
    func repeats() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.wait(0.5)
        #expect(s.alert(.critical) == [])
        _ = s.wait(0.5)
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(s.incident?.alertCount == 2)
        _ = s.succeed()
        _ = s.wait(2)
        #expect(s.alert(.critical) == ["alert repeated"])
        #expect(s.commands.count == 1)
    }

    @Test("a worse alert takes its own policy, from its first rung")
    func worse() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "throttle_10"), Scenario.policy(.critical, "throttle_50"))
        )
        #expect(s.alert(.warning).records.last == "send execute throttle_10")
        _ = s.wait(1)
        #expect(
            s.alert(.critical).records == [
                "alert worsened", "dispatch throttle_50", "send execute throttle_50",
            ])
        // Without a policy of its own it is a repeat of the same incident.
        #expect(s.alert(.emergency) == ["alert repeated"])
        #expect(s.incident?.severity == .emergency)
        #expect(s.incident?.policySeverity == .critical)
        // Both are taken back, the last first.
        for command in s.commands { _ = s.succeed(command) }
        _ = s.wait(1)
        _ = s.alert(.ok)
        #expect(
            s.wait(10).filter { $0.hasPrefix("send undo") } == [
                "send undo throttle_50", "send undo throttle_10",
            ])
    }

    @Test("a worse alert begins its ladder at the first rung, wherever the milder one was")
    func worseLater() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "redistribute", "throttle_10"),
                Scenario.policy(.critical, "throttle_50")))
        _ = s.alert(.warning)
        #expect(s.incident?.rung == 1)
        #expect(s.alert(.critical).records.last == "send execute throttle_50")
        #expect(s.incident?.rung == 0)
    }

    @Test("a superseded command still ends: its silence is a failure")
    func supersededSilence() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "throttle_10"), Scenario.policy(.critical, "throttle_50"))
        )
        _ = s.alert(.warning)
        _ = s.alert(.critical)
        _ = s.succeed()
        #expect(s.live(34).filter { $0.hasPrefix("timeout") } == [])
        #expect(s.live(1).filter { $0.hasPrefix("timeout") } == ["timeout done"])
        #expect(s.incident?.phase == .verifying)
        #expect(s.incident?.attempts.map(\.status) == [.unknown, .succeeded])
    }

    @Test("an easier alert keeps what is in force")
    func easierInForce() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.wait(30)
        #expect(s.alert(.warning) == ["alert eased"])
        // The critical symptom has gone: the rung has helped, and its time may pass.
        #expect(s.live(60).records.filter { !$0.hasPrefix("send renew") } == [])
        #expect(s.alert(.warning) == ["alert repeated"])
        #expect(s.incident?.phase == .verifying)
        #expect(
            s.alert(.critical).records.prefix(2) == ["alert repeated", "incident not_verified"])
    }

    @Test("an easier alert, with nothing in force, is treated by the milder policy")
    func easierFromScratch() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "throttle_10"), Scenario.policy(.critical, "throttle_50"))
        )
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        _ = s.wait(1)
        #expect(
            s.alert(.warning).records == [
                "alert eased", "dispatch throttle_10", "send execute throttle_10",
            ])
        #expect(s.incident?.policySeverity == .warning)
    }

    @Test("what has helped a little leaves the rest to the milder policy when nothing holds it")
    func easierAfterCleaning() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "throttle_10"), Scenario.policy(.critical, "throttle_50"))
        )
        _ = s.alert(.critical)
        _ = s.answer(.done, .succeeded, undo: false)
        _ = s.wait(5)
        // Its time is not up: it may still help more.
        #expect(s.alert(.warning) == ["alert eased"])
        #expect(s.live(60).filter { $0.hasPrefix("dispatch") } == [])
        #expect(
            s.alert(.warning).records == [
                "alert repeated", "dispatch throttle_10", "send execute throttle_10",
            ])
        #expect(s.incident?.policySeverity == .warning)
    }

    @Test("where nothing helped, what stays eased is for the milder policy; nobody is asked twice")
    func easierAfterEscalation() {
        var s = Scenario(
            Scenario.policies(
                Scenario.policy(.warning, "throttle_10"), Scenario.policy(.critical, "throttle_50"))
        )
        _ = s.alert(.critical)
        #expect(s.answer(.done, .permanentFailure).contains("incident escalated"))
        _ = s.wait(5)
        #expect(s.alert(.critical) == ["alert repeated"])
        // It may be passing by, under the human's hands.
        #expect(s.alert(.warning) == ["alert eased"])
        _ = s.wait(60)
        #expect(
            s.alert(.warning).records == [
                "alert repeated", "dispatch throttle_10", "send execute throttle_10",
            ])
        let end = s.answer(.done, .permanentFailure)
        #expect(!end.contains("incident escalated"))
        #expect(s.incident?.phase == .escalated)
    }

    @Test("an easier alert without a policy holds the severe action back")
    func easierWithoutPolicy() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        _ = s.alert(.warning)
        #expect(s.live(60) == ["wait throttle_50"])
        #expect(s.reasons("wait throttle_50") == ["stale: the symptom has eased to warning"])
        #expect(
            s.alert(.critical).records == [
                "alert repeated", "dispatch throttle_50", "send execute throttle_50",
            ])
    }

    @Test("what comes back under an action in force has not been helped: next rung")
    func comesBackInForce() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.wait(5)
        _ = s.alert(.ok)
        _ = s.wait(5)
        #expect(
            s.alert(.critical).records == [
                "alert returned", "incident not_verified", "dispatch throttle_10",
                "send execute throttle_10",
            ])
        // A milder return is left to the action that holds it.
        s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.wait(5)
        _ = s.alert(.ok)
        _ = s.wait(5)
        #expect(s.alert(.warning).records == ["alert returned"])
        #expect(s.incident?.phase == .verifying)
    }

    @Test("what comes back after an action that holds nothing gets the action again")
    func comesBackAfterOnce() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .succeeded, undo: false)
        _ = s.wait(5)
        _ = s.alert(.ok)
        _ = s.wait(5)
        #expect(s.alert(.critical).records == ["alert returned", "wait throttle_50"])
        #expect(s.live(50).records == ["dispatch throttle_50", "send execute throttle_50"])
    }

    @Test("what comes back while a human is asked, or a wait lasts, stays there")
    func comesBackWaiting() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.answer(.done, .transientFailure)
        _ = s.wait(1)
        _ = s.alert(.ok)
        _ = s.wait(1)
        #expect(s.alert(.critical) == ["alert returned", "wait throttle_50"])
        #expect(s.live(58).records == ["dispatch throttle_50", "send execute throttle_50"])
        s = Scenario(Scenario.policies(Scenario.policy(.critical, "throttle_50", "alert_human")))
        _ = s.alert(.critical)
        _ = s.answer(.done, .permanentFailure)
        _ = s.alert(.ok)
        #expect(s.alert(.critical, age: -1) == ["alert returned"])
        #expect(s.incident?.phase == .escalated)
    }

    @Test("while the symptom is gone, an unanswered command is not repeated")
    func clearingHoldsBack() {
        var s = Scenario(
            Scenario.policies(
                Policy(
                    type: "thermal", severity: .critical, ladder: [Rung(action: "throttle_50")],
                    deadline: .seconds(60), stayClear: .seconds(20))))
        _ = s.alert(.critical)
        _ = s.wait(1)
        _ = s.alert(.ok)
        #expect(s.live(10) == [])
        #expect(s.alert(.critical) == ["alert returned"])
        #expect(s.incident?.phase == .acting)
        #expect(s.wait(0.1) == ["send execute throttle_50"])
    }

    @Test("its result counts also while the symptom is gone")
    func resultWhileClearing() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.alert(.ok)
        #expect(s.succeed().records == ["result succeeded"])
        #expect(s.incident?.phase == .clearing)
        _ = s.wait(1)
        #expect(s.alert(.critical).records[1] == "incident not_verified")
    }

    @Test("a kill between the decision to escalate and the call does not lose the call")
    func killBeforeCall() {
        var s = Scenario(Scenario.policies(Scenario.policy(.critical, "alert_human")))
        let directives = s.core.handle(.alert(s.make(.critical), sequence: 1), at: s.now)
        var state = State()
        for case .append(let event) in directives.prefix(2) { state.apply(event, at: s.now) }
        var core = Immunity(state: state, policies: s.core.policies, epoch: 8)
        let told = core.handle(.tick, at: s.now + .seconds(1))
        #expect(
            told.contains {
                if case .publish(let type, _) = $0 { type == "escalation" } else { false }
            })
        #expect(core.state.incidents.values.allSatisfy { $0.isEscalated })
        #expect(core.handle(.tick, at: s.now + .seconds(2)).isEmpty)
    }

    @Test("without any attempt it resolves at once")
    func resolvesAtOnce() {
        var s = Scenario(Scenario.policies(Scenario.policy(.critical, "redistribute")))
        #expect(
            s.alert(.critical) == [
                "alert opened", "skip redistribute", "escalate", "incident escalated",
                "publish escalation", "publish incident_opened",
            ])
        #expect(s.reasons("skip redistribute") == ["skipped(no executor)"])
        #expect(
            s.alert(.ok) == ["alert cleared", "incident resolved", "publish incident_resolved"])
    }

    @Test("no policy: recorded, and nothing else")
    func noPolicy() {
        var s = Scenario()
        #expect(s.alert(.warning) == ["alert no_policy"])
        #expect(s.alert(.critical, type: "disk") == ["alert no_policy"])
        #expect(s.core.state.incidents.isEmpty)
    }

    @Test("an alert made by hand and never repeated expires, and is undone")
    func byHand() {
        var s = Scenario()
        _ = s.alert(.critical, id: "SKOS_ALERTS:1")
        _ = s.succeed()
        let told = s.live(179).records
        #expect(told.allSatisfy { $0 == "send renew throttle_50" })
        #expect(
            s.wait(1).records.filter { $0 != "send renew throttle_50" } == [
                "incident expired", "undo throttle_50", "send undo throttle_50",
            ])
        #expect(s.reasons("incident expired") == ["not repeated for 3m"])
    }

    @Test("what is repeated does not expire")
    func repeatedLasts() {
        var s = Scenario(Scenario.policies(Scenario.policy(.critical, "alert_human")))
        _ = s.alert(.critical)
        for _ in 0..<10 {
            _ = s.live(60)
            _ = s.alert(.critical)
        }
        #expect(s.incident?.phase == .escalated)
        #expect(s.live(180).last == "publish incident_expired")
    }

    @Test("the event of an incident's end tells of the end, not what was reported last")
    func eventOfTheEnd() {
        var s = Scenario()
        var alert = s.make(.critical)
        alert.message = "CPU temperature 60.0°C stays critical: it has not cleared yet"
        _ = s.take(.alert(alert, sequence: 100))
        _ = s.succeed()
        _ = s.live(5)
        _ = s.alert(.ok)
        s.now = s.now + .seconds(10)
        let events = s.core.handle(.tick, at: s.now).compactMap { directive -> JSON.Object? in
            guard case .publish("incident_resolved", let event) = directive else { return nil }
            return event
        }
        #expect(events.map { $0["message"] } == ["the symptom cleared and stayed clear"])
        #expect(events.map { $0["reason"] } == ["the symptom cleared and stayed clear"])
    }

    @Test("escalations of open incidents are known by their time, over restarts and snapshots")
    func escalations() throws {
        var s = Scenario(Scenario.policies(Scenario.policy(.critical, "alert_human")))
        func nodes(_ core: Immunity, _ age: Int64) -> [String] {
            core.escalations(since: s.now - .seconds(age)).compactMap { $0["node"]?.string }
        }
        _ = s.alert(.critical, node: "nova")
        _ = s.wait(20)
        _ = s.alert(.critical, node: "lyra")
        #expect(nodes(s.core, 10) == ["lyra"])
        #expect(nodes(s.core, 20) == ["nova", "lyra"])
        s.restart()
        #expect(nodes(s.core, 20) == ["nova", "lyra"])
        let event = try #require(s.core.escalations(since: s.now).first)
        #expect(event["incident"] != nil)
        #expect(event["severity"] == "critical")
        _ = s.alert(.ok, node: "lyra")
        _ = s.live(11)
        #expect(nodes(s.core, 100) == ["nova"])
    }
}
