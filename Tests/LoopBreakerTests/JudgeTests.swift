import Antibody
import Protocol
import Settings
import Testing

@testable import LoopBreaker

@Suite("Verdicts about chains")
struct JudgeTests {
    /// Observes messages and returns the first verdict, with the number of its message.
    private func verdict(
        _ limits: Config.LoopLimits, _ messages: [Envelope]
    ) -> (Verdict?, Int) {
        var judge = ChainJudge(limits)
        for (index, message) in messages.enumerated() {
            judge.observe(message, at: at(Double(index)))
            let item = judge.breaks.values.first { $0.pair == nil }
            if let item { return (item.verdict, index + 1) }
        }
        return (nil, messages.count)
    }

    @Test("hops are counted, whatever the messages claim", arguments: [nil, 0, 1] as [Int?])
    func countedDepth(_ claim: Int?) {
        var judge = ChainJudge(limits { $0.depth = 10 })
        // The first message has depth 0, so the twelfth is eleven hops from it.
        for number in 1...20 {
            let (from, to) = number % 2 == 1 ? ("a", "b") : ("b", "a")
            judge.observe(message("c", from, to) { $0.depth = claim }, at: at(0))
            let first = claim == 1 ? 11 : 12
            #expect(judge.isBroken("c") == (number >= first), "message \(number)")
        }
        let item = judge.breaks.values.first
        #expect(item?.verdict == .depthExceeded)
        #expect(item?.reason == "depth 11 is over 10")
    }

    @Test("a claim that is more than was counted is believed")
    func claimedDepth() {
        let limits = limits { $0.depth = 10 }
        #expect(verdict(limits, [message("c") { $0.depth = 10 }]) == (nil, 1))
        #expect(verdict(limits, [message("c") { $0.depth = 11 }]) == (.depthExceeded, 1))
        let path = message("c") { $0.pathCount = 12 }
        #expect(verdict(limits, [path]) == (.depthExceeded, 1))
    }

    @Test("a message is one hop from its parent, also when its sender was reached from afar")
    func parents() {
        let limits = limits { $0.depth = 3 }
        // An orchestrator that asks one tool after the other, and names the message that made it ask.
        var calls: [Envelope] = [message("c", "user", "boss") { $0.messageID = "m0" }]
        for number in 1...20 {
            calls.append(
                message("c", "boss", "tool") {
                    $0.messageID = "q\(number)"
                    $0.parentID = "m0"
                })
            calls.append(
                message("c", "tool", "boss") {
                    $0.messageID = "a\(number)"
                    $0.parentID = "q\(number)"
                })
        }
        #expect(verdict(limits, calls) == (nil, 41))
        // A line of messages, each caused by the one before, from nobody.
        let line = (0..<10).map { number in
            message("c") {
                $0.messageID = "m\(number)"
                $0.parentID = number == 0 ? nil : "m\(number - 1)"
            }
        }
        #expect(verdict(limits, line) == (.depthExceeded, 5))
    }

    @Test("messages are counted exactly: 100 means 100")
    func iterations() {
        let limits = limits { $0.iterations = 100 }
        let calls = (0..<200).map { _ in message("c") { $0.iteration = 1 } }
        #expect(verdict(limits, calls) == (.iterationsExceeded, 101))
        #expect(verdict(limits, [message("c") { $0.iteration = 101 }]).0 == .iterationsExceeded)
    }

    @Test("tokens add up")
    func tokens() {
        let limits = limits { $0.tokens = 1000 }
        let calls = (0..<9).map { _ in message("c") { $0.tokens = 300 } }
        #expect(verdict(limits, calls) == (.tokensExceeded, 4))
    }

    @Test("messages in a minute are counted, and forgotten after it")
    func rate() {
        let limits = limits { $0.rate = 30 }
        var judge = ChainJudge(limits)
        for number in 0..<200 { judge.observe(message("slow"), at: at(Double(number) * 2)) }
        #expect(!judge.isBroken("slow"))
        for number in 0..<31 { judge.observe(message("fast"), at: at(Double(number) / 10)) }
        #expect(judge.breaks.values.first?.verdict == .rateExceeded)
    }

    @Test("what one message causes is counted, by its id or by its sender")
    func fanOut() {
        let limits = limits { $0.fanOut = 5 }
        let named = (0..<9).map { _ in message("c", "boss", "w") { $0.parentID = "m" } }
        #expect(verdict(limits, named) == (.fanOutExceeded, 6))
        let sent = (0..<9).map { number in message("c", "boss", "w\(number)") }
        #expect(verdict(limits, sent) == (.fanOutExceeded, 6))
        // It has been told something in between.
        let told = (0..<40).map { number in
            number % 4 == 3 ? message("c", "w", "boss") : message("c", "boss", "w")
        }
        #expect(verdict(limits, told).0 == nil)
    }

    @Test(
        "the like from one sender may come again three times",
        arguments: [
            "please try the job again", "at 12:30:\(0) the job failed again",
            "job 8f14e45f-ceea-467f-a9f0-\(0) failed again", "waited since 1732690000 for it",
        ])
    func repeats(_ text: String) {
        let limits = limits { $0.repeats = 3 }
        func said(_ number: Int) -> String { text.replacing("0", with: "\(number)") }
        let calls = (1...9).map { message("c", "a", says: said($0)) }
        #expect(verdict(limits, calls) == (.contentRepeated, 5))
        let nobody = (1...9).map { message("c", says: said($0)) }
        #expect(verdict(limits, nobody) == (.contentRepeated, 5))
    }

    @Test(
        "numbered work is no repetition, in words or in JSON",
        arguments: [
            "summarise document #", "step #: please go on with it",
            #"{"role":"assistant","kind":"tool call","number":#}"#,
            #"{"unit":"celsius","event":"sensor reading","value":2#.5}"#,
        ])
    func numbered(_ text: String) {
        let calls = (1...50).map { number in
            message("c", "a", "b", says: text.replacing("#", with: "\(number)")) { $0.depth = 1 }
        }
        var judge = ChainJudge()
        for (index, call) in calls.enumerated() { judge.observe(call, at: at(Double(index))) }
        #expect(judge.breaks.isEmpty)
        #expect(judge.symptoms(at: at(60)).isEmpty)
    }

    @Test("one that asks a worker for one piece after the other goes in no circle")
    func orchestrator() {
        var judge = ChainJudge()
        judge.observe(message("c", "user", "boss") { $0.messageID = "m0" }, at: at(0))
        for number in 1...25 {
            judge.observe(
                message("c", "boss", "tool", says: "summarise document \(number)") {
                    $0.messageID = "q\(number)"
                    $0.parentID = "m0"
                }, at: at(Double(number)))
            judge.observe(
                message("c", "tool", "boss", says: "here is summary \(number)") {
                    $0.messageID = "a\(number)"
                    $0.parentID = "q\(number)"
                }, at: at(Double(number)))
        }
        #expect(judge.breaks.isEmpty)
    }

    @Test("passing the same text along a line of agents is no repetition, nor is it after a while")
    func noRepeats() {
        let limits = limits { $0.repeats = 3 }
        let line = (0..<9).map { message("c", "a\($0)", "a\($0 + 1)", says: "the same document") }
        #expect(verdict(limits, line).0 == nil)
        var judge = ChainJudge(limits)
        for number in 0..<20 {
            judge.observe(
                message("c", "a", says: "still running fine"), at: at(Double(number) * 300))
        }
        #expect(judge.breaks.isEmpty)
    }

    @Test("going round with the like on its lips is a cycle, with news it is not")
    func cycles() {
        let limits = limits { $0.repeats = 3 }
        let round = ["a", "b", "c"]
        let calls = (0..<40).map { number in
            message(
                "x", round[number % 3], round[(number + 1) % 3], says: "see step \(number) please")
        }
        let (found, number) = verdict(limits, calls)
        #expect(found == .cycleDetected)
        #expect((10...16).contains(number))
        let news = [
            "rivers", "hills", "towns", "lakes", "roads", "fields", "woods", "shores", "isles",
            "bays", "capes", "fjords", "straits", "gulfs", "deltas", "dunes", "caves", "reefs",
            "bogs", "moors",
        ]
        let talk = news.enumerated().map { index, word in
            let (from, to) = index % 2 == 0 ? ("a", "b") : ("b", "a")
            return message("x", from, to, says: "now write about \(word)")
        }
        #expect(verdict(limits, talk).0 == nil)
    }

    @Test("a chain that says nothing new for long is told of, and goes on")
    func noProgress() {
        var judge = ChainJudge(limits { $0.repeats = 30 })
        for number in 0..<22 {
            let envelope = message("c", "a\(number)", says: "hand it to the next")
            #expect(judge.ask(envelope, at: at(0)).isAllowed)
            judge.observe(envelope, at: at(0))
        }
        #expect(judge.breaks.isEmpty)
        let symptom = judge.symptoms(at: at(0)).first
        #expect(symptom?.type == "no_progress")
        #expect(symptom?.severity == .warning)
        judge.tick(at: at(100))
        #expect(judge.symptoms(at: at(100)).first?.severity == .ok)
        judge.tick(at: at(200))
        #expect(judge.symptoms(at: at(200)).isEmpty)
    }

    @Test("a limit of 0 is none")
    func unlimited() {
        let calls = (0..<500).map { number in
            message(
                "c", number % 2 == 0 ? "a" : "b", number % 2 == 0 ? "b" : "a", says: "go on now")
        }
        #expect(verdict(limits { _ in }, calls).0 == nil)
    }

    @Test("asking is no hop")
    func asking() {
        var judge = ChainJudge(limits { $0.iterations = 3 })
        for _ in 0..<50 { #expect(judge.ask(message("c", "a", "b"), at: at(0)).isAllowed) }
        for _ in 0..<3 { judge.observe(message("c", "a", "b"), at: at(0)) }
        let answer = judge.ask(message("c", "a", "b"), at: at(1))
        #expect(answer == .deny(reason: "iteration 4 is over 3", until: at(61)))
    }

    @Test("an honest chain beside a runaway is not touched")
    func honest() {
        var judge = ChainJudge()
        for number in 0..<10 {
            judge.observe(message("good", "a", "b\(number)", says: "part one of it"), at: at(0))
            judge.observe(message("good", "b\(number)", "a", says: "here you are"), at: at(0))
            if number == 3 { break }
        }
        #expect(judge.pingPong("bad", 10_000) == 12)
        #expect(judge.ask(message("good", "a", "b"), at: at(20)).isAllowed)
        _ = judge.command("bad", pairs: [], forgetting: false, at: at(20))
        #expect(judge.ask(message("good", "a", "b"), at: at(21)).isAllowed)
        #expect(!judge.ask(message("bad", "a", "b"), at: at(21)).isAllowed)
    }
}
