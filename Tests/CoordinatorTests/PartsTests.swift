import Bus
import Protocol
import Runtime
import Testing

@testable import Coordinator
@testable import Immunity

/// The parts that need no server.
@Suite
struct PartsTests {
    @Test
    func backlogGivesBackInOrder() {
        var backlog = Backlog<Int>()
        var next = 0
        var expected = 0
        // Filled faster than emptied, then emptied: its front moves past every boundary.
        for round in 0..<40_000 {
            backlog.append(next)
            next += 1
            if round % 3 != 0 {
                #expect(backlog.first == expected)
                #expect(backlog.popFirst() == expected)
                expected += 1
            }
            if backlog.count != next - expected { Issue.record("count at \(round)") }
        }
        let rest = backlog.take(.max)
        #expect(rest == Array(expected..<next))
        #expect(backlog.isEmpty)
        #expect(backlog.popFirst() == nil)
        #expect(backlog.take(5).isEmpty)
    }

    @Test
    func limiterBoundsEachNodeAndAllTogether() {
        var limiter = RejectionLimiter()
        let start = Timestamp(seconds: 1_700_000_000)
        func allowed(_ node: String, _ count: Int, at now: Timestamp) -> Int {
            (0..<count).count { _ in limiter.allows(node, at: now) }
        }
        #expect(allowed("noisy", 1000, at: start) == Int(RejectionLimiter.nodeBurst))
        #expect(allowed("quiet", 1, at: start) == 1)
        #expect(allowed("noisy", 100, at: start + .seconds(10)) == 20)
        // A clock that goes back gives nothing and takes nothing.
        #expect(allowed("noisy", 1, at: start) == 0)
        #expect(allowed("quiet", 1, at: start) == 1)
        var total = 0
        let later = start + .seconds(10)
        for node in 0..<100_000 { total += allowed("n-\(node)", 1, at: later) }
        #expect(total <= Int(RejectionLimiter.burst))
        #expect(total > Int(RejectionLimiter.burst) - 100)
    }

    @Test
    func pagesCoverAListOnce() throws {
        let names = (0..<100).map { "name-\($0)" }
        for budget in [1, 60, 500, 100_000] {
            var seen: [String] = []
            var after: String?
            var pages = 0
            repeat {
                var parameters: JSON.Object = [:]
                parameters["after"] = after.map(JSON.string)
                let page = try Page(Fields(parameters), budget)
                let object = page.object("names", names, cursor: { $0 }) { ["n": .string($0)] }
                seen += object["names"]?.array?.compactMap { $0.object?["n"]?.string } ?? []
                after = object["next"]?.string
                pages += 1
            } while after != nil
            #expect(seen == names.sorted())
            #expect(budget == 1 ? pages == 100 : pages < 100)
        }
    }

    @Test
    func ownRecordsAreKnownEvenWithoutAnAck() {
        let own = Replay.Lead(sequence: 5, hash: "own", actor: "coordinator-a")
        let unheard = Replay.Lead(sequence: 7, hash: "unheard", actor: "coordinator-a")
        var past = Past()
        #expect(!past.isOwn(own))
        past.leads(own)
        past.claims(unheard.hash)
        past.claims("neither stored nor heard")
        #expect(past.isOwn(own) && past.isOwn(unheard))
        #expect(!past.isOwn(Replay.Lead(sequence: 9, hash: "foreign", actor: "coordinator-a")))
    }

    /// Those who do not hear each other's answers, for want of rights, give each other more and more time.
    @Test
    func theDeafDoNotFightForEver() {
        var standby = Standby(patience: .zero, logger: Logger("test"))
        #expect(standby.needed == 2)
        for needed in [6, 12, 24, 48, 96, 96] {
            standby.isSuperseded(by: Replay.Lead(sequence: 9, hash: "other", actor: "other"))
            #expect(standby.needed == needed && standby.known == 9)
            standby.hasLed(from: 10, for: .seconds(90))
            #expect(standby.needed == 2 && standby.known == 10)
        }
        standby.hasLed(from: 11, for: .seconds(601))
        standby.isSuperseded(by: Replay.Lead(sequence: 12, hash: "other", actor: "other"))
        #expect(standby.needed == 6)
    }

    /// That nothing was heard while nobody listened makes nobody offline.
    @Test(arguments: [1.0, 29, 3600])
    func nodesHaveTheirTimeAfterNobodyListened(gap: Double) {
        let timeout: Duration = .seconds(30)
        let end = Timestamp(seconds: 1_700_000_000)
        var nodes = Nodes()
        _ = nodes.heard(Heartbeat(agentID: "gone", agentType: "a", node: "vega"), at: end)
        _ = nodes.sweep(at: end + timeout, timeout: timeout)
        let heard = end + timeout + .seconds(20)
        _ = nodes.heard(Heartbeat(agentID: "a", agentType: "a", node: "nova"), at: heard)
        var past = Past()
        past.keep(nodes, at: heard + .seconds(5))
        let now = heard + .seconds(5 + gap)
        var known = past.nodes(at: now, timeout: timeout)
        #expect(known.sweep(at: now, timeout: timeout).isEmpty)
        #expect(known.hears("a", on: "nova") && !known.hears("gone", on: "vega"))
        _ = known.sweep(at: now + .seconds(25), timeout: timeout)
        #expect(!known.hears("a", on: "nova"), "it has not come back")
    }
}
