import Antibody
import Protocol
import Settings
import Testing

@testable import LoopBreaker

@Suite("Breakers of chains and pairs")
struct BreakTests {
    private func broken() -> ChainJudge {
        var judge = ChainJudge()
        #expect(judge.pingPong("bad", 100) == 12)
        return judge
    }

    @Test("a broken chain is denied until its time is over, with the reason")
    func denied() {
        var judge = broken()
        let answer = judge.ask(message("bad", "a", "b"), at: at(30))
        #expect(answer.reason == "depth 11 is over 10")
        #expect(answer.until == at(60.012))
        #expect(judge.changes.map(\.kind) == [.tripped])
    }

    @Test("one trial passes; when nothing follows, the chain is closed and begins anew")
    func closes() {
        var judge = broken()
        #expect(judge.check(message("bad", "a", "b"), at: at(61)).isAllowed)
        #expect(judge.state("bad") == .halfOpen)
        #expect(!judge.check(message("bad", "b", "a"), at: at(62)).isAllowed)
        judge.tick(at: at(72))
        #expect(!judge.isBroken("bad"))
        #expect(judge.changes.map(\.kind) == [.tripped, .trial, .closed])
        #expect(judge.pingPong("bad", 100, from: 80) == 12)
    }

    @Test("a chain that runs on at once is opened again, and only the trial has passed")
    func reopens() {
        var judge = broken()
        var passed = 0
        for number in 0..<1000 {
            let now = at(60 + Double(number) / 1000)
            let answer = judge.check(message("bad", "a", "b"), at: now)
            if answer.isAllowed { passed += 1 }
        }
        #expect(passed == 1)
        #expect(judge.state("bad") == .open)
        let answer = judge.ask(message("bad"), at: at(61))
        #expect(answer.reason == "the trial failed: the chain ran on at once")
        #expect(judge.changes.map(\.kind) == [.tripped, .trial, .reopened])
    }

    @Test("who says itself that it is over a limit gets no trial, and takes it from nobody")
    func overLimit() {
        var judge = broken()
        let deep = message("bad", "a", "b") { $0.depth = 12 }
        for second in 61..<65 {
            let answer = judge.check(deep, at: at(Double(second)))
            #expect(answer == .deny(reason: "depth 12 is over 10", until: at(Double(second + 60))))
            #expect(judge.pass(deep, at: at(Double(second))) == answer)
        }
        #expect(judge.changes.map(\.kind) == [.tripped])
        #expect(judge.check(message("bad", "a", "b"), at: at(65)).isAllowed)
        #expect(judge.state("bad") == .halfOpen)
        // The relay does not take it for the message that was allowed, either.
        #expect(!judge.pass(deep, at: at(66)).isAllowed)
        #expect(judge.pass(message("bad", "a", "b"), at: at(66)).isAllowed)
    }

    @Test("between two agents such a chain breaks itself, and the next one is the trial")
    func overLimitBetween() {
        var judge = broken()
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(0))
        let deep = message("deep", "a", "b") { $0.depth = 12 }
        #expect(judge.check(deep, at: at(61)).reason == "depth 12 is over 10")
        #expect(judge.isBroken("deep"))
        #expect(judge.check(message("new", "a", "b"), at: at(61)).isAllowed)
        #expect(judge.breaks[.pair(Pair("a", "b"))]?.trialChain == "new")
    }

    @Test(
        "a trial that was sent over a limit has failed, whether it was asked for or not",
        arguments: [true, false])
    func sentOverLimit(_ isAsked: Bool) {
        var judge = broken()
        if isAsked { #expect(judge.check(message("bad", "a", "b"), at: at(61)).isAllowed) }
        judge.observe(message("bad", "a", "b") { $0.depth = 12 }, at: at(61))
        #expect(judge.state("bad") == .open)
        #expect(
            judge.ask(message("bad"), at: at(62)).reason
                == "the trial failed: depth 12 is over 10")
    }

    @Test("a pair is told of with what its chain was broken for; by hand nothing was counted")
    func told() {
        var judge = broken()
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(1))
        let pair = judge.breaks[.pair(Pair("a", "b"))].map { SharedBreak($0, node: "nova").object }
        #expect(pair?["value"] == 11)
        #expect(pair?["limit"] == 10)
        _ = judge.command("calm", pairs: [], forgetting: false, at: at(1))
        let calm = judge.breaks[.chain(ChainTable.key("calm"))]
            .map { SharedBreak($0, node: "nova").object }
        #expect(calm != nil && calm?["value"] == nil && calm?["limit"] == nil)
    }

    @Test("a chain that does not ask has its trial, too")
    func observed() {
        var judge = broken()
        judge.observe(message("bad", "a", "b"), at: at(61))
        #expect(judge.state("bad") == .halfOpen)
        for _ in 0..<3 { judge.observe(message("bad", "a", "b"), at: at(61.1)) }
        #expect(judge.state("bad") == .halfOpen)
        judge.observe(message("bad", "a", "b"), at: at(61.2))
        #expect(judge.state("bad") == .open)
    }

    @Test("of two that would be the trial one is")
    func oneTrial() {
        var judge = broken()
        guard case .trial(let trial) = judge.ask(message("bad"), at: at(61)) else {
            Issue.record("no trial")
            return
        }
        #expect(judge.ask(message("bad"), at: at(61)).reason?.hasSuffix("under way") == true)
        let refused = judge.settle(trial, granted: false, isMessage: false, at: at(61))
        #expect(!refused.isAllowed)
        #expect(judge.state("bad") == .open)
    }

    @Test("the relay counts what passes, and only that")
    func relay() {
        var judge = ChainJudge(limits { $0.iterations = 100 })
        var passed = 0
        for number in 0..<10_000
        where judge.pass(
            message("c"), at: at(Double(number) / 1000)) == .allow
        {
            passed += 1
        }
        #expect(passed == 100)
        #expect(judge.counter.record(ChainTable.key("c"))?.count == 100)
    }

    @Test("a command breaks a chain and the pairs between which it goes, for the cool-down")
    func command() {
        var judge = broken()
        let result = judge.command("bad", pairs: [], forgetting: false, at: at(10))
        #expect(result.until == at(70))
        #expect(result.pairs == [Pair("a", "b")])
        // The same under another name, in either direction.
        for (from, to) in [("a", "b"), ("b", "a")] {
            let answer = judge.ask(message("bad2", from, to), at: at(20))
            #expect(
                answer.reason
                    == #"the pair a–b is broken because of chain "bad": depth 11 is over 10"#)
        }
        #expect(judge.ask(message("bad2", "a", "c"), at: at(20)).isAllowed)
        #expect(judge.ask(message("bad2"), at: at(20)).isAllowed)
    }

    @Test("a pair is not broken for chains that were there before, nor for other talk")
    func innocentChains() {
        var judge = ChainJudge()
        judge.observe(message("old", "a", "b"), at: at(0))
        for number in 1...12 {
            let (from, to) = number % 2 == 1 ? ("a", "b") : ("b", "a")
            judge.observe(message("bad", from, to, says: "no, after you"), at: at(5))
        }
        #expect(judge.isBroken("bad"))
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(6))
        #expect(judge.ask(message("old", "a", "b"), at: at(7)).isAllowed)
        #expect(!judge.ask(message("new", "a", "b"), at: at(7)).isAllowed)
        #expect(!judge.ask(message("new", "a", "b", says: "No, after you!"), at: at(7)).isAllowed)
        #expect(judge.ask(message("new", "a", "b", says: "the bill is paid"), at: at(7)).isAllowed)
    }

    @Test("a ping-pong over two pairs stays broken, whichever it moves to")
    func twoPairs() {
        var judge = ChainJudge()
        let ways = [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]
        for number in 0..<40 {
            let (from, to) = ways[number % 4]
            judge.observe(message("bad", from, to), at: at(1))
        }
        let result = judge.command("bad", pairs: [], forgetting: true, at: at(2))
        #expect(Set(result.pairs) == [Pair("a", "b"), Pair("a", "c")])
        for (from, to) in ways {
            #expect(!judge.ask(message("bad", from, to), at: at(3)).isAllowed)
            #expect(!judge.ask(message("worse", from, to), at: at(3)).isAllowed)
        }
    }

    @Test("a chain can be broken by hand, which alarms nobody")
    func byHand() {
        var judge = ChainJudge()
        _ = judge.command("calm", pairs: [Pair("x", "y")], forgetting: false, at: at(0))
        #expect(
            judge.ask(message("calm"), at: at(1))
                == .deny(reason: "broken by a command", until: at(60)))
        #expect(!judge.ask(message("new", "y", "x"), at: at(1)).isAllowed)
        #expect(judge.symptoms(at: at(1)).isEmpty)
    }

    @Test("an alert says what was counted, and clears when nothing passes any more")
    func symptoms() throws {
        var judge = broken()
        // Who tells people is not known yet.
        #expect(judge.symptoms(at: at(0.1)).isEmpty)
        // Told once at least, however late.
        let symptom = try #require(judge.tell(at: at(100)).first)
        #expect(symptom.type == "depth_exceeded")
        #expect(symptom.resource == "bad")
        #expect(symptom.severity == .critical)
        #expect(symptom.value == 11)
        #expect(symptom.threshold == 10)
        #expect(symptom.details["path"]?.array?.count ?? 0 > 4)
        #expect(symptom.details["pairs"] == [["a", "b"]])
        judge.observe(message("bad", "a", "b"), at: at(9))
        #expect(judge.symptoms(at: at(18)).first?.severity == .critical)
        #expect(judge.symptoms(at: at(19)).first?.severity == .ok)
        // Denied ones do not pass.
        #expect(!judge.ask(message("bad"), at: at(20)).isAllowed)
        #expect(judge.symptoms(at: at(20)).first?.severity == .ok)
    }

    private func chain(_ judge: ChainJudge) -> Break? {
        judge.breaks[.chain(ChainTable.key("bad"))]
    }

    @Test("a chain that runs on over a limit is told of for that, once")
    func worse() {
        var judge = ChainJudge()
        for number in 0..<40 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            judge.observe(message("bad", from, to, says: "no, after you"), at: at(0))
            if number == 9 { #expect(chain(judge)?.verdict == .cycleDetected) }
        }
        #expect(chain(judge)?.reason == "depth 11 is over 10")
        #expect(
            judge.changes.filter { $0.after.pair == nil }.map(\.kind) == [.tripped, .worsened])
        let symptoms = judge.tell(at: at(2))
        #expect(symptoms.map(\.type) == ["depth_exceeded", "cycle_detected"])
        #expect(symptoms.map(\.severity) == [.critical, .ok])
    }

    @Test("breakers are bounded, and limits hold without them")
    func bounded() {
        var judge = ChainJudge(limits { $0.depth = 1 })
        for number in 0..<(ChainJudge.breakLimit + 10) {
            judge.observe(message("c\(number)") { $0.depth = 5 }, at: at(0))
        }
        #expect(judge.breaks.count == ChainJudge.breakLimit)
        #expect(judge.summary["not_broken"] == 10)
        let last = message("c\(ChainJudge.breakLimit + 5)") { $0.depth = 5 }
        #expect(judge.ask(last, at: at(1)).reason == "depth 5 is over 1")
        #expect(judge.symptoms(at: at(2)).count == Report.symptomLimit)
        #expect(judge.overflowSymptom("nova", at: at(2))?.severity == .critical)
        #expect(judge.overflowSymptom("nova", at: at(90))?.severity == .ok)
        #expect(judge.overflowSymptom("nova", at: at(200)) == nil)
    }

    @Test("when all are used up, those whose time is over make room")
    func room() {
        var judge = ChainJudge(limits { $0.depth = 1 })
        for number in 0..<ChainJudge.breakLimit {
            judge.observe(message("c\(number)") { $0.depth = 5 }, at: at(0))
        }
        judge.observe(message("late") { $0.depth = 5 }, at: at(59))
        #expect(!judge.isBroken("late"))
        judge.observe(message("late") { $0.depth = 5 }, at: at(61))
        #expect(judge.isBroken("late"))
        #expect(judge.breaks.count <= ChainJudge.breakLimit)
        let result = judge.command("by hand", pairs: [], forgetting: false, at: at(61))
        #expect(result.until == at(121))
        #expect(judge.isBroken("by hand"))
    }

    @Test("chains that are stopped and quiet do not hide one that runs, however many")
    func quiet() {
        var judge = ChainJudge(limits { $0.depth = 1 })
        for number in 0..<(Report.symptomLimit + 10) {
            let now = at(Double(number) * 20)
            judge.observe(message("c\(number)") { $0.depth = 5 }, at: now)
            let told = judge.tell(at: now + .seconds(2)).filter { $0.severity == .critical }
            #expect(told.map(\.resource) == ["c\(number)"])
            judge.tick(at: now + .seconds(15))
        }
    }

    @Test("who looks often sees the same without all that is said")
    func outline() {
        var judge = ChainJudge(
            limits {
                $0.depth = 1
                $0.repeats = 30
            })
        for number in 0..<100 {
            judge.observe(message("c\(number)") { $0.depth = 5 }, at: at(Double(number) / 10))
        }
        for number in 0..<22 {
            judge.observe(message("stale", "a\(number)", says: "hand it on"), at: at(5))
        }
        var severities: Set<Severity> = []
        for second in stride(from: 0.0, to: 800, by: 7) {
            judge.tick(at: at(second))
            let symptoms = judge.tell(at: at(second))
            let outline = judge.outline(at: at(second))
            #expect(outline.count == symptoms.count)
            for symptom in symptoms {
                let key = AlertKeeper.Key(type: symptom.type, resource: symptom.resource)
                #expect(outline[key] == symptom.severity)
            }
            severities.formUnion(outline.values)
        }
        #expect(severities == [.ok, .warning, .critical])
    }

    @Test("of very many that run at once everyone is told of in turn")
    func inTurn() {
        var judge = ChainJudge(limits { $0.depth = 1 })
        let count = Report.symptomLimit * 2 + 10
        for number in 0..<count {
            judge.observe(message("c\(number)") { $0.depth = 5 }, at: at(0))
        }
        var told: Set<String> = []
        for second in 2..<5 {
            told.formUnion(judge.tell(at: at(Double(second))).map(\.resource))
        }
        #expect(told.count == count)
    }

    /// What the bucket's watch tells of a change of this node.
    private func echo(_ change: BreakChange, _ revision: UInt64, to judge: inout ChainJudge) {
        let shared = try? SharedBreak(
            decoding: JSON.object(SharedBreak(change.after, node: "nova").object).encoded)
        guard let shared else {
            Issue.record("what is told cannot be read")
            return
        }
        judge.apply(shared, revision: revision, on: "nova", at: at(11))
    }

    @Test("a command is known to be shared, whether the watch or the answer comes first")
    func stored() throws {
        for isEchoFirst in [true, false] {
            var judge = broken()
            let key = BreakKey.chain(ChainTable.key("bad"))
            let tripped = try #require(judge.changes.first)
            _ = judge.command("bad", pairs: [], forgetting: false, at: at(10))
            // What was said before the command says nothing of it, and takes nothing of it back.
            echo(tripped, 1, to: &judge)
            judge.stored(tripped.after, revision: 1)
            let before = try #require(judge.breaks[key])
            #expect(!before.isStored)
            #expect(before.until == at(70))
            let commanded = try #require(
                judge.changes.first { $0.kind == .commanded && $0.after.key == key })
            if isEchoFirst { echo(commanded, 2, to: &judge) }
            judge.stored(commanded.after, revision: 2)
            let after = try #require(judge.breaks[key])
            #expect(after.isStored)
            #expect(after.revision == 2)
            #expect(after.owner == .ours)
        }
    }

    @Test("the echo of a trial takes back none of the attempts beside it")
    func echoOfTrial() throws {
        var judge = broken()
        _ = judge.check(message("bad", "a", "b"), at: at(61))
        let trial = try #require(judge.changes.last)
        for number in 0..<4 {
            if number == 2 { echo(trial, 2, to: &judge) }
            #expect(!judge.check(message("bad", "a", "b"), at: at(62)).isAllowed)
        }
        #expect(judge.state("bad") == .open)
    }

    @Test("new limits count at once")
    func settings() {
        var judge = ChainJudge()
        #expect(judge.ask(message("c") { $0.depth = 9 }, at: at(0)).isAllowed)
        judge.apply(limits: limits { $0.depth = 5 }, cooldown: .seconds(5))
        let answer = judge.ask(message("c") { $0.depth = 9 }, at: at(0))
        #expect(answer == .deny(reason: "depth 9 is over 5", until: at(5)))
    }
}
