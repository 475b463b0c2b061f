import Antibody
import Protocol
import Runtime
import Settings
import Testing

@testable import LoopBreaker

@Suite("Honest chains beside those that ran away")
struct HonestTests {
    private func broken(says: String? = nil) -> ChainJudge {
        var judge = ChainJudge()
        for number in 0..<12 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            judge.observe(message("bad", from, to, says: says), at: at(0))
        }
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(0))
        return judge
    }

    @Test("a program that asks every two seconds gets its chain back in the end")
    func polling() {
        var judge = broken()
        var passed = 0
        for second in stride(from: 0.0, to: 600, by: 2) where judge.isBroken("bad") {
            judge.tick(at: at(second))
            if judge.check(message("bad", "a", "b"), at: at(second)).isAllowed { passed += 1 }
        }
        #expect(!judge.isBroken("bad"))
        // One trial for each time that it opened, and the first after it closed.
        #expect(passed <= ChainJudge.patience + 2)
    }

    @Test("what has been sent counts as a try for as long as it comes")
    func running() {
        var judge = broken()
        for second in stride(from: 0.0, to: 3600, by: 2) {
            judge.tick(at: at(second))
            judge.observe(message("bad", "a", "b"), at: at(second))
        }
        #expect(judge.isBroken("bad"))
    }

    @Test("between two agents new chains pass again soon, though many of them ask")
    func newChains() {
        var judge = broken()
        var last = 0.0
        for second in stride(from: 1.0, to: 300, by: 6) {
            judge.tick(at: at(second))
            let answer = judge.check(message("new \(second)", "a", "b"), at: at(second))
            if !answer.isAllowed { last = second }
        }
        #expect(last < 75)
    }

    @Test("the chain that is let between two agents on trial goes on; over a limit it has failed")
    func trialOfPair() {
        var judge = broken()
        for number in 0..<8 {
            #expect(judge.check(message("new", "a", "b"), at: at(61)).isAllowed, "\(number)")
            judge.observe(message("new", "a", "b"), at: at(61))
            #expect(!judge.check(message("other", "a", "b"), at: at(61)).isAllowed)
        }
        #expect(judge.breaks[.pair(Pair("a", "b"))]?.state == .halfOpen)
        judge.observe(message("new", "a", "b") { $0.depth = 11 }, at: at(62))
        #expect(judge.breaks[.pair(Pair("a", "b"))]?.state == .open)
        #expect(judge.isBroken("new"))
    }

    @Test("the like that is sent beside the trial opens the pair again, and people hear of it")
    func likeBesideTrial() {
        var judge = broken(says: "no, after you please")
        #expect(judge.check(message("new", "a", "b"), at: at(61)).isAllowed)
        for number in 0..<5 {
            judge.observe(
                message("moved \(number)", "a", "b", says: "No, after you please!"), at: at(62))
        }
        #expect(judge.breaks[.pair(Pair("a", "b"))]?.state == .open)
        let raised = judge.symptoms(at: at(64)).filter { $0.severity == .critical }
        #expect(raised.contains { $0.type == "cycle_detected" && $0.resource.hasPrefix("moved") })
    }

    @Test("a chain that has only asked is known to be older than what broke later")
    func askedBefore() {
        var judge = ChainJudge()
        #expect(judge.ask(message("good", "a", "b") { $0.depth = 1 }, at: at(0)).isAllowed)
        let bad = message("bad", "a", "b") { $0.depth = 11 }
        #expect(!judge.ask(bad, at: at(1)).isAllowed)
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(2))
        #expect(judge.ask(message("good", "a", "b") { $0.depth = 2 }, at: at(3)).isAllowed)
        #expect(!judge.ask(message("new", "a", "b"), at: at(3)).isAllowed)
    }

    @Test("after a restart what may have been there before is let alone, the like is not")
    func restarted() {
        let shared = broken(says: "no, after you please").breaks.values.map {
            SharedBreak($0, node: "nova")
        }
        var judge = ChainJudge(limits: .init(), cooldown: .seconds(60), at: at(10))
        for (index, item) in shared.enumerated() {
            judge.apply(item, revision: UInt64(index + 1), on: "nova", at: at(10))
        }
        #expect(!judge.ask(message("bad", "a", "b"), at: at(11)).isAllowed)
        #expect(judge.ask(message("good", "a", "b"), at: at(11)).isAllowed)
        let like = message("moved", "b", "a", says: "no, after you please")
        #expect(!judge.ask(like, at: at(11)).isAllowed)
    }

    @Test("a message that was allowed as a trial passes the relay, and is no try")
    func allowedTrial() {
        var judge = broken()
        #expect(judge.check(message("bad", "a", "b"), at: at(61)).isAllowed)
        #expect(judge.pass(message("bad", "a", "b"), at: at(61)) == .allow)
        #expect(judge.breaks[.chain(ChainTable.key("bad"))]?.attempts == 0)
        #expect(judge.pass(message("bad", "b", "a"), at: at(61)) != .allow)
        judge.tick(at: at(75))
        #expect(!judge.isBroken("bad"))
    }

    @Test("one agent allows the trial, and another one's relay passes it")
    func allowedElsewhere() throws {
        var one = broken()
        #expect(one.check(message("bad", "a", "b"), at: at(61)).isAllowed)
        let item = try #require(one.breaks[.chain(ChainTable.key("bad"))])
        let bytes = JSON.object(SharedBreak(item, node: "vega").object).encoded
        var other = broken()
        other.apply(try SharedBreak(decoding: bytes), revision: 9, on: "nova", at: at(61))
        #expect(other.pass(message("bad", "a", "b"), at: at(61)) == .allow)
        #expect(other.pass(message("bad", "a", "b"), at: at(61)) != .allow)
    }

    @Test("who tells of a chain learns that another agent has let a trial through")
    func trialElsewhere() throws {
        let key = BreakKey.chain(ChainTable.key("bad"))
        var teller = broken()
        let item = try #require(teller.breaks[key])
        teller.stored(item, revision: 1)
        var other = ChainJudge()
        let word = SharedBreak(item, node: "nova")
        other.apply(word, revision: 1, on: "vega", at: at(1))
        #expect(other.check(message("bad", "a", "b"), at: at(61)).isAllowed)
        let trial = try #require(other.breaks[key])
        let bytes = JSON.object(SharedBreak(trial, node: "vega").object).encoded
        let answer = try SharedBreak(decoding: bytes)
        #expect(answer.node == "nova")
        teller.apply(answer, revision: 2, on: "nova", at: at(61))
        #expect(teller.state("bad") == .halfOpen)
        #expect(!teller.check(message("bad", "a", "b"), at: at(61)).isAllowed)
        #expect(teller.breaks[key]?.owner == .ours)
    }

    @Test("a cycle cannot go on under another name, also when no action is set up for it")
    func cycleMoves() {
        var judge = ChainJudge(limits { $0.repeats = 3 })
        for number in 0..<12 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            judge.observe(message("bad", from, to, says: "no, after you please"), at: at(0))
        }
        #expect(judge.isBroken("bad"))
        let moved = message("moved", "b", "a", says: "No, after you please!")
        #expect(!judge.ask(moved, at: at(1)).isAllowed)
        // Whoever does not visibly say that is not held back by it.
        #expect(judge.ask(message("new", "b", "a"), at: at(1)).isAllowed)
        #expect(judge.ask(message("new", "b", "a", says: "the bill is paid"), at: at(1)).isAllowed)
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(2))
        #expect(!judge.ask(message("newer", "b", "a"), at: at(3)).isAllowed)
    }

    /// Two that ask without their text and always say the same, until they are told no. Gives how many
    /// messages they have sent.
    private func run(_ chain: String, _ judge: inout ChainJudge, from start: Double) -> Int {
        for number in 0..<40 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            let now = at(start + Double(number) / 50)
            guard judge.check(message(chain, from, to), at: now).isAllowed else { return number }
            judge.observe(message(chain, from, to, says: "no, after you please"), at: now)
        }
        return 40
    }

    @Test("a cycle cannot go on under other names, also when they ask without their text")
    func namesThatAsk() {
        var judge = ChainJudge()
        judge.observe(message("old", "a", "b"), at: at(0))
        #expect(run("bad", &judge, from: 1) == 9)
        // Somebody else begins to talk, and goes on for as long as the pair is broken.
        judge.observe(message("other", "a", "b", says: "the bill is paid"), at: at(2))
        for number in 0..<4 {
            let start = Double(number) + 3
            #expect(judge.ask(message("new \(number)", "a", "b"), at: at(start)).isAllowed)
            #expect(run("run \(number)", &judge, from: start) == 1)
        }
        #expect(judge.changes.map(\.kind) == [.tripped, .tripped, .worsened])
        for number in 4..<40 {
            #expect(run("run \(number)", &judge, from: Double(number) + 3) == 0, "\(number)")
        }
        for chain in ["old", "other"] {
            #expect(judge.ask(message(chain, "b", "a"), at: at(50)).isAllowed, "\(chain)")
        }
        let told = message("new", "a", "b", says: "here is the letter")
        #expect(judge.ask(told, at: at(50)).isAllowed)
        #expect(judge.ask(message("newer", "a", "c"), at: at(50)).isAllowed)
        // Nobody runs any more.
        #expect(judge.check(message("last", "a", "b"), at: at(62)).isAllowed)
        judge.tick(at: at(73))
        #expect(judge.ask(message("newest", "a", "b"), at: at(74)).isAllowed)
    }

    @Test("one that never asked makes nobody else wait, whatever it says")
    func othersDoNotWait() {
        var judge = ChainJudge()
        #expect(run("bad", &judge, from: 1) == 9)
        for number in 0..<20 {
            let like = message("moved \(number)", "a", "b", says: "No, after you please!")
            judge.observe(like, at: at(3))
        }
        #expect(judge.ask(message("new", "a", "b"), at: at(4)).isAllowed)
    }

    @Test("one that went too deep does not pass by saying something new")
    func varyingText() {
        var judge = ChainJudge()
        let words = ["rivers", "hills", "towns", "lakes", "roads", "fields", "woods", "shores"]
        for number in 0..<12 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            let text = "write about \(words[number % 8]) and \(words[(number * 3 + 1) % 8])"
            judge.observe(message("bad", from, to, says: text), at: at(0))
        }
        #expect(judge.breaks.values.first?.verdict == .depthExceeded)
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(1))
        let moved = message("moved", "a", "b", says: "write about something new")
        #expect(!judge.ask(moved, at: at(2)).isAllowed)
    }
}

@Suite("Time as the loop breaker knows it")
struct TimeTests {
    private let twoYears: Duration = .seconds(2 * 365 * 86_400)

    @Test("after 497 days ticks begin anew, and nothing traps or stands still", arguments: 0..<4)
    func longUptime(_ quarter: Int) {
        // Just before, at, and after the wrap.
        let start = 42_949_672.96 - 20 + Double(quarter) * 10
        var judge = ChainJudge(limits { $0.rate = 5 })
        judge.observe(message("old"), at: at(start))
        for second in 0..<6 { judge.observe(message("c"), at: at(start + Double(second) * 30)) }
        #expect(!judge.isBroken("c"))
        judge.tick(at: at(start + 1700))
        #expect(judge.counter.table.count == 2)
        judge.tick(at: at(start + 2100))
        #expect(judge.counter.table.count == 0)
        for second in 0..<7 { judge.observe(message("c"), at: at(start + 2200 + Double(second))) }
        #expect(judge.isBroken("c"))
    }

    @Test("when the time becomes known nothing is older by it", arguments: [1, -1])
    func step(_ sign: Int) {
        let boot = SteadyClock.sinceBoot()
        let clock = SteadyClock(real: at(0), boot: boot, isSynchronized: false)
        let gatekeeper = Gatekeeper(Config(), clock: clock)
        gatekeeper.withJudge { judge, now in
            for _ in 0..<3 { judge.observe(message("alive", "a", "b"), at: now) }
            _ = judge.command("bad", pairs: [Pair("a", "b")], forgetting: false, at: now)
        }
        let step = twoYears * sign
        _ = clock.follow(isSynchronized: true, real: at(0) + step, boot: boot)
        gatekeeper.withJudge { judge, now in
            #expect(now - at(0) > twoYears / 2 || at(0) - now > twoYears / 2)
            judge.tick(at: now)
            #expect(judge.counter.table.count == 1)
            #expect(judge.state("bad") == .open)
            let until = judge.ask(message("bad"), at: now).until
            #expect(until.map { $0 - now <= .seconds(60) && $0 > now } == true)
            #expect(judge.ask(message("alive", "a", "b"), at: now).isAllowed)
            judge.observe(message("alive", "a", "b"), at: now)
        }
    }
}

@Suite("Alerts of an earlier process")
struct LeftoverTests {
    @Test("are cleared when nothing is known of them, once it is known what is broken")
    func cleared() {
        func key(_ resource: String) -> AlertKeeper.Key {
            AlertKeeper.Key(type: "no_progress", resource: resource)
        }
        var leftovers = Leftovers()
        let known = Symptom(
            type: "no_progress", resource: "known", severity: .warning, message: "")
        #expect(leftovers.symptoms(beside: [], at: at(0)) { _ in false }.isEmpty)
        leftovers.begin([key("gone"), key("known"), key("broken")], at: at(0))
        for second in [1.0, 2] {
            let symptoms = leftovers.symptoms(beside: [known], at: at(second)) { $0 == "broken" }
            #expect(symptoms.map(\.resource) == ["gone"])
            #expect(symptoms.map(\.severity) == [.ok])
        }
        #expect(leftovers.symptoms(beside: [], at: at(61)) { _ in false }.isEmpty)
        leftovers.begin([key("late")], at: at(62))
        #expect(leftovers.symptoms(beside: [], at: at(62)) { _ in false }.isEmpty)
    }
}
