import Protocol
import Testing

@testable import Immunity

@Suite("Two machines with one node name")
struct NamesakeTests {
    static func heartbeat(_ start: String?, _ sequence: Int64?, agent: String = "a") -> Heartbeat {
        var metadata = JSON.Object()
        metadata["start_id"] = start.map(JSON.string)
        metadata["sequence"] = sequence.map(JSON.integer)
        return Heartbeat(
            agentID: agent, agentType: "thermal_sentinel", node: Scenario.node, metadata: metadata)
    }

    /// A heartbeat as it arrives: when, of which start, and its number there.
    struct Beat: Sendable {
        var at: Int64
        var start: String?
        var number: Int64?

        init(_ at: Int64, _ start: String?, _ number: Int64?) {
            (self.at, self.start, self.number) = (at, start, number)
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var beats: [Beat]
        /// The second from which on it is ambiguous; `nil`: it never is.
        var from: Int64?
        var testDescription: String { name }
    }

    /// Starts that take turns every so many seconds, each counting its own heartbeats.
    private static func turns(
        _ starts: [String?], every interval: Int64, from first: Int64 = 0, until end: Int64,
        isCounted: Bool = true
    ) -> [Beat] {
        var beats: [Beat] = []
        while first + Int64(beats.count) * interval < end {
            let (turn, place) = beats.count.quotientAndRemainder(dividingBy: starts.count)
            beats.append(
                Beat(
                    first + Int64(beats.count) * interval, starts[place],
                    isCounted ? Int64(turn) : nil))
        }
        return beats
    }

    /// A new start every second, and every other second the one given, if any.
    private static func restarts(beside start: String?) -> [Beat] {
        (Int64(0)..<60).map { second in
            guard let start, second % 2 == 0 else { return Beat(second, "start-\(second)", 1) }
            return Beat(second, start, second)
        }
    }

    /// The last heartbeats before a restart come late, among those after it.
    private static let late = [
        Beat(0, "A", 1), Beat(5, "A", 2), Beat(14, "B", 1), Beat(15, "A", 3), Beat(19, "B", 2),
        Beat(20, "A", 4), Beat(24, "B", 3), Beat(25, "A", 5), Beat(29, "B", 4), Beat(34, "B", 5),
        Beat(39, "B", 6), Beat(60, "B", 9),
    ]

    /// What was said before a restart comes again and again.
    private static let doubled =
        [Beat(0, "A", 1), Beat(5, "A", 2)]
        + (Int64(0)..<30).flatMap { turn -> [Beat] in
            [Beat(6 + 2 * turn, "B", turn), Beat(7 + 2 * turn, "A", 1 + turn % 2)]
        }

    static let cases = [
        Case(name: "one machine", beats: turns(["A"], every: 5, until: 120)),
        // The second start is heard at 2, so half a timeout of 30 s is over at 17, when B is heard at 18
        // and A at 20.
        Case(name: "two", beats: turns(["A", "B"], every: 2, until: 60), from: 20),
        Case(
            name: "two whose heartbeats are not counted",
            beats: turns(["A", "B"], every: 2, until: 60, isCounted: false), from: 20),
        Case(name: "two that are slow", beats: turns(["A", "B"], every: 10, until: 90), from: 50),
        Case(name: "three", beats: turns(["A", "B", "C"], every: 2, until: 60), from: 20),
        Case(
            name: "many: of the first few there is enough to see",
            beats: turns("ABCDEFGHIJ".map { String($0) }, every: 1, until: 60), from: 21),
        Case(
            name: "agents that do not say which start they are of",
            beats: turns([nil], every: 1, until: 60)),
        Case(
            name: "a restart",
            beats: turns(["A"], every: 5, until: 50) + turns(["B"], every: 5, from: 51, until: 99)),
        Case(name: "a restart loop", beats: restarts(beside: nil)),
        Case(
            name: "a machine beside one in a restart loop: it cannot be told from late heartbeats",
            beats: restarts(beside: "A")),
        Case(name: "late heartbeats around a restart", beats: late),
        Case(name: "doubled heartbeats around a restart", beats: doubled),
        Case(
            name: "late returns, long after",
            beats: turns(["B"], every: 5, until: 60) + [Beat(21, "A", 1), Beat(45, "A", 2)]),
    ]

    @Test(arguments: cases)
    func table(test: Case) {
        var nodes = Nodes()
        var from: Int64?
        for second in Int64(0)..<130 {
            let now = Timestamp(seconds: 1000 + second)
            for beat in test.beats where beat.at == second {
                _ = nodes.heard(Self.heartbeat(beat.start, beat.number), at: now)
            }
            _ = nodes.findNamesakes(at: now, timeout: .seconds(30))
            if from == nil, nodes.ambiguity(of: Scenario.node) != nil { from = second }
        }
        #expect(from == test.from)
    }

    // MARK: In the core

    /// Lets two machines send heartbeats for so many seconds, and tells everything that was done.
    private func alternate(
        _ s: inout Scenario, seconds: Int, from first: Int64, starts: [String] = ["A", "B"]
    ) -> [String] {
        (0..<Int64(seconds)).flatMap { second in
            let number = first + second
            let beat = Self.heartbeat(starts[Int(number) % starts.count], number)
            return s.take(.heartbeat(beat)) + s.wait(1)
        }
    }

    @Test("it is recorded and told once, nothing is dispatched while it lasts, and its end is told")
    func episode() throws {
        var s = Scenario()
        var told = alternate(&s, seconds: 14, from: 0)
        #expect(told == ["publish agent_joined"])
        told = alternate(&s, seconds: 40, from: 14)
        #expect(told == ["rejected", "reject metadata.start_id", "publish node_ambiguous"])
        #expect(
            s.reasons("rejected") == [
                "two machines call themselves nova; give each its own NODE_NAME; until then "
                    + "nothing is done there"
            ])
        told = s.alert(.critical)
        #expect(
            told.records == [
                "alert opened", "skip throttle_50", "skip throttle_10", "escalate",
                "incident escalated",
            ])
        let reason = "two machines call themselves nova; give each its own NODE_NAME"
        #expect(s.reasons("skip throttle_50") == ["skipped(ambiguous_node: \(reason))"])
        #expect(s.reasons("escalate").allSatisfy { $0.hasSuffix(reason) })
        #expect(s.commands.isEmpty)
        // One of them gets another name.
        told = alternate(&s, seconds: 28, from: 54, starts: ["A"])
        #expect(!told.contains("publish node_unambiguous"))
        told = alternate(&s, seconds: 4, from: 82, starts: ["A"])
        #expect(told == ["publish node_unambiguous"])
        #expect(s.core.nodes.ambiguity(of: Scenario.node) == nil)
        #expect(s.alert(.critical, resource: "gpu").contains("send execute throttle_50"))
    }

    @Test("what is under way is not sent again; what is in force is renewed, and taken back")
    func underWay() throws {
        var s = Scenario()
        _ = alternate(&s, seconds: 10, from: 0)
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.critical, resource: "gpu")
        #expect(s.commands.count == 2)
        var told = alternate(&s, seconds: 70, from: 10)
        let noticed = try #require(told.firstIndex(of: "publish node_ambiguous"))
        told = Array(told[noticed...])
        #expect(!told.contains { $0.hasPrefix("send execute") })
        #expect(told.contains("send renew throttle_50"))
        #expect(told.contains("timeout done"))
        told = s.alert(.ok) + s.live(10)
        #expect(told.contains("send undo throttle_50"))
    }

    @Test("a coordinator that was restarted notices it anew")
    func restarted() {
        var s = Scenario()
        _ = alternate(&s, seconds: 30, from: 0)
        s.restart()
        #expect(s.core.nodes.ambiguity(of: Scenario.node) == nil)
        let told = alternate(&s, seconds: 30, from: 30)
        #expect(told.contains("publish node_ambiguous"))
    }

    @Test("its heartbeats late, doubled and out of order, one machine that restarts is never two")
    func oneMachine() {
        for seed in UInt64(0)..<200 {
            var dice = Dice(seed: seed)
            var sent: [(at: Int, start: Int, number: Int64)] = []
            var (start, number) = (0, Int64(0))
            for second in 0..<600 {
                if dice.chance(1, of: 30) { (start, number) = (start + 1, 0) }
                guard dice.chance(1, of: 3) else { continue }
                number += 1
                for _ in 0..<dice.roll(0...2) {
                    // Up to a third of the timeout: more than anything takes that is under way.
                    let delay = dice.chance(1, of: 3) ? dice.roll(0...10) : 0
                    sent.append((second + delay, start, number))
                }
            }
            var nodes = Nodes()
            for second in 0..<640 {
                let now = Timestamp(seconds: Int64(1000 + second))
                var arrived = sent.filter { $0.at == second }
                arrived.shuffle(using: &dice)
                for beat in arrived {
                    _ = nodes.heard(Self.heartbeat("s\(beat.start)", beat.number), at: now)
                }
                let found = nodes.findNamesakes(at: now, timeout: .seconds(30))
                #expect(found.isEmpty, "seed \(seed), second \(second)")
            }
        }
    }

    @Test("of two machines half of whose heartbeats are lost it is noticed, and it lasts")
    func twoMachines() {
        for seed in UInt64(0)..<200 {
            var dice = Dice(seed: seed)
            var nodes = Nodes()
            var found: [Nodes.Naming] = []
            for second in Int64(0)..<600 {
                let now = Timestamp(seconds: 1000 + second)
                for machine in 0..<2 where second % 5 == Int64(machine) && dice.chance(1, of: 2) {
                    _ = nodes.heard(Self.heartbeat("s\(machine)", second), at: now)
                }
                found += nodes.findNamesakes(at: now, timeout: .seconds(60))
            }
            #expect(found.first?.isAmbiguous == true, "seed \(seed)")
            #expect(nodes.ambiguity(of: Scenario.node) != nil, "seed \(seed)")
        }
    }

    @Test("the clock is set back: what was heard counts as heard now")
    func clockStep() {
        var s = Scenario()
        _ = alternate(&s, seconds: 30, from: 0)
        #expect(s.core.nodes.ambiguity(of: Scenario.node) != nil)
        s.now = s.now - .seconds(3600)
        _ = alternate(&s, seconds: 20, from: 30)
        #expect(s.core.nodes.ambiguity(of: Scenario.node) != nil)
        _ = alternate(&s, seconds: 32, from: 50, starts: ["B"])
        #expect(s.core.nodes.ambiguity(of: Scenario.node) == nil)
    }

    @Test("one event for each node, whatever number of its agents tells of it")
    func agents() {
        var nodes = Nodes()
        var found: [Nodes.Naming] = []
        for second in Int64(0)..<60 {
            let now = Timestamp(seconds: 1000 + second)
            for agent in ["b", "a", "c"] {
                let beat = Self.heartbeat(second % 2 == 0 ? "A" : "B", second, agent: agent)
                _ = nodes.heard(beat, at: now)
            }
            found += nodes.findNamesakes(at: now, timeout: .seconds(30))
        }
        #expect(found == [.init(node: Scenario.node, agentID: "a", isAmbiguous: true)])
    }
}
