import Protocol
import Testing

@testable import Immunity

@Suite("Which alerts count")
struct AdmissionTests {
    @Test("stale: recorded, rejected, not acted upon; the limit is exact")
    func stale() {
        var s = Scenario()
        #expect(s.alert(.critical, age: 300.001) == ["alert stale", "reject timestamp"])
        #expect(
            s.reasons("alert stale") == [
                "stale: 5m old; alerts older than 5m are not acted on"
            ])
        #expect(s.alert(.critical, age: 300).first == "alert opened")
        // Nor does a stale all-clear end it.
        #expect(s.alert(.ok, age: 301) == ["alert stale", "reject timestamp"])
        #expect(s.incident?.phase == .acting)
    }

    @Test("from the future: rejected beyond the skew that clocks may have")
    func future() {
        var s = Scenario()
        #expect(s.alert(.critical, age: -300.001) == ["rejected", "reject timestamp"])
        #expect(s.alert(.critical, age: -300).first == "alert opened")
    }

    @Test("a node whose clock was ahead and is set right is heard")
    func clockSetRight() {
        var s = Scenario()
        _ = s.alert(.critical, age: -200)
        _ = s.wait(5)
        #expect(s.alert(.critical) == ["alert repeated"])
        _ = s.wait(5)
        #expect(s.alert(.ok) == ["alert cleared"])
    }

    @Test("out of order: an older report about the same symptom changes nothing")
    func outOfOrder() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.wait(10)
        #expect(s.alert(.ok, age: 11) == ["alert out_of_order"])
        #expect(s.alert(.emergency, age: 11) == ["alert out_of_order"])
        #expect(s.incident?.phase == .acting)
        // About something else it is not older.
        #expect(s.alert(.critical, resource: "gpu", age: 11).first == "alert opened")
    }

    @Test("out of order: also when the incident is over")
    func outOfOrderAfterwards() {
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.wait(20)
        _ = s.alert(.ok)
        _ = s.live(20)
        #expect(s.core.state.incidents.isEmpty)
        #expect(s.alert(.critical, age: 21) == ["alert out_of_order"])
        #expect(s.alert(.critical, age: 0).first == "alert opened")
    }

    @Test("out of order: the all-clear overtook the alert, so nothing is done")
    func overtaken() {
        var s = Scenario()
        #expect(s.alert(.ok) == [])
        #expect(s.alert(.critical, age: 5) == ["alert out_of_order"])
        // A second all-clear counts, too, though it is not recorded.
        _ = s.wait(5)
        _ = s.alert(.critical)
        _ = s.wait(5)
        _ = s.alert(.ok)
        _ = s.wait(5)
        #expect(s.alert(.ok) == [])
        #expect(s.alert(.critical, age: 2) == ["alert out_of_order"])
        #expect(s.incident?.phase == .clearing)
    }

    @Test("redelivered: the same place in the stream is taken once, also after a restart")
    func redelivered() {
        var s = Scenario()
        let alert = s.make(.critical)
        #expect(s.take(.alert(alert, sequence: 9)).first == "alert opened")
        #expect(s.take(.alert(alert, sequence: 9)) == [])
        s.restart()
        #expect(s.take(.alert(alert, sequence: 9)) == [])
        // Nor is it told as out of order when something newer has come.
        _ = s.wait(1)
        _ = s.take(.alert(s.make(.critical), sequence: 10))
        #expect(s.take(.alert(alert, sequence: 9)) == [])
    }

    @Test("redelivered after a newer one was recorded: it was not lost, so it counts")
    func overtakenRedelivery() {
        var s = Scenario()
        _ = s.take(.alert(s.make(.critical, resource: "gpu"), sequence: 6))
        #expect(s.take(.alert(s.make(.critical), sequence: 4)).first == "alert opened")
    }

    @Test("published twice: the same id and time under another place count once")
    func publishedTwice() {
        var s = Scenario()
        let alert = s.make(.critical, id: "a")
        _ = s.take(.alert(alert, sequence: 1))
        #expect(s.take(.alert(alert, sequence: 2)) == [])
        // Also when the incident has expired meanwhile, for the alert is not stale yet.
        _ = s.live(200)
        #expect(s.core.state.incidents.isEmpty)
        #expect(s.take(.alert(alert, sequence: 3)) == [])
        var other = alert
        other.id = "b"
        #expect(s.take(.alert(other, sequence: 4)).first == "alert opened")
    }

    @Test("a new alert stream counts from the beginning")
    func newStream() {
        var s = Scenario()
        _ = s.take(.alert(s.make(.critical), sequence: 1))
        var state = s.core.state
        #expect(state.alertSequence == 1)
        state.apply(
            .started(version: "1", configuration: "f", isAlertStreamNew: true), at: s.now)
        #expect(state.alertSequence == 0)
        #expect(!state.alertSequences.contains(1))
    }

    @Test("unknown nodes are rejected where the configuration names the known ones")
    func unknownNode() {
        var policies = Scenario.policies()
        policies.nodes = ["lyra"]
        var s = Scenario(policies)
        #expect(s.alert(.critical) == ["rejected", "reject node"])
        #expect(s.reasons("rejected") == ["unknown node \"nova\": add it under nodes:"])
        #expect(s.alert(.critical, node: "lyra").first == "alert opened")
        s.heartbeat("thermal_sentinel")
        #expect(s.core.nodes.nodes.isEmpty)
    }

    @Test("open incidents are limited per type and node; an all-clear always passes")
    func limits() {
        let rungs = [Rung(action: "alert_human")]
        var s = Scenario(
            PolicySet(
                policies: ["thermal", "storage"].map {
                    Policy(type: $0, severity: .critical, ladder: rungs)
                }))
        for index in 0..<State.openLimitOfType / 2 {
            #expect(s.alert(.critical, resource: "r\(index)").first == "alert opened")
        }
        #expect(s.alert(.critical, resource: "one-more") == ["rejected", "reject "])
        #expect(s.reasons("rejected") == ["64 incidents of thermal are open on nova already"])
        #expect(s.alert(.critical, node: "lyra").first == "alert opened")
        // A flood of one type keeps no other one from being healed.
        #expect(s.alert(.critical, resource: "/", type: "storage").first == "alert opened")
        #expect(s.alert(.critical, resource: "r0") == [])
        #expect(s.alert(.ok, resource: "r0", age: -1).first == "alert cleared")
        #expect(s.alert(.critical, resource: "one-more").first == "alert opened")
        // Nor does it keep an agent that sends heartbeats from being heard.
        #expect(s.alert(.critical, resource: "cpu") == ["rejected", "reject "])
        s.heartbeat("thermal_sentinel")
        let reasons = (0...State.openLimitOfType / 2).map { index -> String in
            var alert = s.make(.critical, resource: "c\(index)")
            alert.agentID = "thermal_sentinel-nova"
            let told = s.core.handle(.alert(alert, sequence: UInt64(10_000 + index)), at: s.now)
            if case .append(.rejected(let rejection))? = told.first { return rejection.reason }
            return ""
        }
        #expect(reasons.dropLast().allSatisfy { $0 == "" })
        #expect(reasons.last == "128 incidents of thermal are open on nova already")
    }

    @Test("what is still being undone counts against the limit of all")
    func overallLimit() throws {
        var s = Scenario()
        _ = s.alert(.critical)
        let incident = try #require(s.incident)
        for index in 0..<State.openLimit / 2 - 1 {
            s.core.state.undoing["i\(index)"] = incident
        }
        let told = s.core.handle(.alert(s.make(.critical, resource: "x"), sequence: 99), at: s.now)
        guard case .append(.rejected(let rejection))? = told.first else {
            Issue.record("not rejected")
            return
        }
        #expect(rejection.reason == "10000 incidents are open already")
        s.core.state.undoing["i0"] = nil
        let next = s.core.handle(.alert(s.make(.critical, resource: "x"), sequence: 100), at: s.now)
        #expect(next.contains { if case .send = $0 { true } else { false } })
    }

    @Test("long foreign text is shortened in records")
    func longText() {
        var s = Scenario()
        let long = String(repeating: "é", count: 70_000)
        let told = s.take(
            .rejected(
                Rejection(subject: long, node: "x", field: long, reason: long, excerpt: long)))
        #expect(told == ["rejected", "reject "] || told.count == 2)
        _ = s.take(.configurationRefused(fingerprint: "", reason: long))
        _ = s.take(.undo(id: long, actor: long))
        _ = s.take(.resetBreaker(nil, actor: long))
        for record in s.records {
            #expect(JSON.object(record.object).encoded.count < 20_000)
        }
        #expect("añb".shortened(to: 4) == "añb")
        #expect("añbcd".shortened(to: 5) == "a…")
        #expect("abcdef".shortened(to: 5) == "ab…")
    }
}
