import Protocol
import Testing

@testable import MeshHealer

@Suite("Judging a peer")
struct PeerJudgeTests {
    @Test(
        "the steps of what is received",
        arguments: [
            (32 as UInt64, PeerJudge.Step.sign), (64, .sign), (148, .attempt), (296, .attempt),
            (148 + 32, .attempt), (80, .data), (96 * 100, .data), (92, .data), (148 * 3, .attempt),
            (176, .data), (160, .data),
        ])
    func steps(_ step: UInt64, _ kind: PeerJudge.Step) {
        #expect(PeerJudge.kind(ofStep: step) == kind)
    }

    @Test("a peer that answers is healthy, however old its handshake is")
    func healthy() {
        var course = PeerCourse()
        #expect(course.verdict.state == .healthy)
        course.facts.handshake = 1
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("one lost echo raises nothing, nor do several before the counters were watched")
    func patience() {
        var course = PeerCourse()
        for _ in 0..<4 {
            course.look(rx: 0, tx: 80, answered: false)
            #expect(course.fault == nil)
        }
        course.look(rx: 0, tx: 148, answered: false)
        #expect(course.fault == .unreachable)
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    /// Per look of five seconds: bytes received and sent, as measured with wireguard-go.
    static let cases: [(String, [(UInt64, UInt64)], PeerFault, String)] = [
        (
            "B's link is down, or B is dead, or does not know us",
            [(0, 80), (0, 80), (0, 80), (0, 228), (0, 228), (0, 228)], .unreachable, "remote"
        ),
        (
            "A's firewall drops what it sends",
            [(0, 0), (0, 0), (0, 0), (148, 0), (148, 0), (148, 0)], .oneWay, "local_send"
        ),
        (
            "nothing leaves", [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)], .unreachable,
            "local_send"
        ),
        (
            "B drops what comes: one way",
            [(0, 80), (0, 80), (0, 80), (148, 240), (148, 240), (148, 240)], .oneWay, "remote"
        ),
        (
            "the same with keepalives",
            [(32, 80), (0, 80), (32, 80), (148, 240), (180, 240), (148, 240)], .oneWay, "remote"
        ),
        (
            "allowed IPs or ICMP at B",
            [(0, 80), (32, 80), (0, 80), (32, 80), (0, 80), (32, 80)], .filtered, "remote"
        ),
        (
            "other traffic goes on",
            [(80, 80), (1500, 80), (160, 80), (992, 80), (80, 80), (0, 80)],
            .filtered, "remote"
        ),
    ]

    @Test("every break is named as far as one end can tell", arguments: cases)
    func table(
        _ name: String, _ looks: [(UInt64, UInt64)], _ fault: PeerFault, _ cause: String
    ) {
        var course = PeerCourse()
        for (rx, tx) in looks { course.look(rx: rx, tx: tx, answered: false) }
        #expect(course.fault == fault, "\(name)")
        #expect(course.verdict.cause == cause, "\(name)")
        #expect(!course.verdict.meaning.isEmpty)
        #expect(course.verdict.evidence["echoes_lost"] == 6)
    }

    @Test("one way stays one way when the peer gives up, until it answers")
    func frozen() {
        var course = PeerCourse()
        for (rx, tx) in Self.cases[3].1 { course.look(rx: rx, tx: tx, answered: false) }
        for _ in 0..<40 { course.look(rx: 0, tx: 80, answered: false) }
        #expect(course.fault == .oneWay)
        #expect(course.verdict.isDead)
    }

    @Test("a peer that was filtered and then falls silent is unreachable")
    func silence() {
        var course = PeerCourse()
        for (rx, tx) in Self.cases[5].1 { course.look(rx: rx, tx: tx, answered: false) }
        #expect(course.fault == .filtered)
        for _ in 0..<8 { course.look(rx: 0, tx: 80, answered: false) }
        #expect(course.fault == .unreachable)
    }

    /// A peer of which nothing has come for so long that it is called unreachable.
    private func lost() -> PeerCourse {
        var course = PeerCourse()
        for (rx, tx) in Self.cases[0].1 { course.look(rx: rx, tx: tx, answered: false) }
        #expect(course.fault == .unreachable)
        return course
    }

    @Test("a new session at the end of a trouble is not taken for a filtered peer")
    func renewed() {
        var course = lost()
        course.facts.handshake = course.now.seconds + 4
        course.look(rx: 180, tx: 148, answered: false)
        #expect(course.fault == nil)
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("a look in the middle of the handshake that ends a trouble does not call it one way")
    func amidHandshake() {
        var course = lost()
        // Its attempt and our answer; the session counts only when it has used it.
        course.look(rx: 148, tx: 92, answered: false, every: 1)
        #expect(course.fault == nil)
        course.facts.handshake = course.now.seconds + 1
        course.look(rx: 32, tx: 80, answered: false, every: 1)
        #expect(course.fault == nil)
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("an attempt to shake hands that leads to nothing is one way, also without another")
    func unansweredAttempt() {
        var course = lost()
        course.look(rx: 148, tx: 92, answered: false, every: 1)
        for _ in 0..<6 {
            course.look(rx: 0, tx: 0, answered: false, every: 1)
            #expect(course.fault == nil)
        }
        course.look(rx: 0, tx: 0, answered: false, every: 1)
        #expect(course.fault == .oneWay)
    }

    @Test("a filtered peer that is looked at every second is never taken for a lost one")
    func everySecond() {
        var course = PeerCourse()
        for second in 1...120 {
            course.seconds += 1
            if second % 5 == 0 { course.facts.sent += 80 }
            if second % 5 == 2 {
                // It is known two seconds after it was sent.
                course.facts.echo.take(sentAt: course.now - .seconds(2), milliseconds: nil)
            }
            // Ten seconds after the last, and sometimes a little more.
            if second % 11 == 0 { course.facts.received += 32 }
            let verdict = course.judge.observe(course.facts, at: course.now)
            if case .faulty(let fault) = verdict.state { #expect(fault == .filtered, "\(second)") }
            if second > 60 { #expect(verdict.state == .faulty(.filtered), "\(second)") }
        }
    }

    @Test("data that comes before the next echo is no sign of a filter")
    func returning() {
        var course = lost()
        // Somebody else's echo was answered, and then ours.
        course.seconds += 1
        course.facts.received += 80
        #expect(course.judge.observe(course.facts, at: course.now).state != .faulty(.filtered))
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("counters that were reset begin the watch anew")
    func reset() {
        var course = PeerCourse()
        for _ in 0..<3 { course.look(rx: 0, tx: 80, answered: false) }
        course.facts.received = 0
        course.facts.sent = 0
        for _ in 0..<4 {
            course.look(rx: 0, tx: 80, answered: false)
            #expect(course.fault == nil)
        }
        course.look(rx: 0, tx: 80, answered: false)
        #expect(course.fault == .unreachable)
    }

    @Test("what cannot be sent is this node's own fault, and needs no watching")
    func notSent() {
        var course = PeerCourse()
        course.look(rx: 0, tx: 0, answered: false, notSent: "Network is unreachable")
        #expect(course.fault == nil)
        course.look(rx: 0, tx: 0, answered: false, notSent: "Network is unreachable")
        #expect(course.fault == .unreachable)
        #expect(course.verdict.cause == "local_send")
    }

    @Test("what could not be sent while the tunnel was switched off says nothing of the peer")
    func switchedOff() {
        var course = PeerCourse()
        // Nobody judges a peer meanwhile.
        for _ in 0..<3 {
            course.seconds += 5
            course.facts.echo.take(sentAt: course.now, milliseconds: nil, notSent: "ENETUNREACH")
        }
        course.seconds += 1
        let verdict = course.judge.observe(course.facts, at: course.now)
        #expect(verdict.state == .unknown("echoes are lost; the counters are being watched"))
        course.look(rx: 0, tx: 0, answered: false, notSent: "ENETUNREACH")
        #expect(course.fault == .unreachable)
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("a route that leads nowhere is named although a bound echo gets through")
    func blackhole() {
        var course = PeerCourse()
        course.facts.routeFault = "Invalid argument"
        course.healthy()
        #expect(course.fault == .unreachable)
        #expect(course.verdict.cause == "local_route")
        course.facts.routeFault = nil
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("a way to the endpoint that goes is named at once, one that never was there is not")
    func underlay() {
        var course = PeerCourse()
        course.facts.underlay = .gone("Network is unreachable")
        course.seconds += 1
        #expect(course.judge.observe(course.facts, at: course.now).cause == "underlay")
        // It is back.
        course.facts.underlay = .there("eth0")
        course.healthy()
        #expect(course.verdict.state == .healthy)
        // What was answered before the loss proves nothing.
        course.facts.underlay = .gone("Network is unreachable")
        course.healthy()
        #expect(course.verdict.cause == "underlay")
        // What was asked after it and answered does: rules know another way.
        course.healthy()
        #expect(course.verdict.state == .healthy)
        // A way that never was there is not missed.
        var other = PeerCourse(proven: false)
        other.facts.underlay = .gone("Network is unreachable")
        other.healthy()
        other.healthy()
        #expect(other.verdict.state == .healthy)
    }

    @Test("a peer that has never answered an echo is judged by its handshakes since it was asked")
    func unproven() {
        var course = PeerCourse(proven: false)
        for _ in 0..<8 {
            course.look(rx: 32, tx: 80, answered: false)
            #expect(course.fault == nil)
            #expect(course.verdict.state != .healthy, "its handshake is from before it was asked")
        }
        course.facts.handshake = course.now.seconds
        course.look(rx: 32, tx: 80, answered: false)
        #expect(course.verdict.state == .healthy)
        #expect(course.verdict.isByHandshake)
        course.facts.handshake -= 200
        for _ in 0..<8 { course.look(rx: 0, tx: 148, answered: false) }
        #expect(course.fault == .unreachable)
        #expect(course.verdict.isDead)
    }

    @Test("an agent that starts in an outage never calls the peer healthy, and names the fault")
    func startedInOutage() {
        var course = PeerCourse(proven: false)
        var isNamed = false
        for _ in 0..<60 {
            course.look(rx: 0, tx: 148, answered: false)
            #expect(course.verdict.state != .healthy)
            isNamed = isNamed || course.fault == .unreachable
        }
        #expect(isNamed)
    }

    @Test("another address to ask is a new beginning, and no proof of health")
    func otherTarget() {
        var course = PeerCourse()
        course.facts.echo = EchoRecord(target: "10.88.0.77")
        for _ in 0..<8 {
            course.look(rx: 32, tx: 80, answered: false)
            #expect(course.verdict.state != .healthy)
        }
    }

    @Test("an echo that this process cannot send says nothing of the peer")
    func ownTrouble() {
        var course = PeerCourse()
        course.look(rx: 0, tx: 80, answered: false)
        course.facts.echo.ownTrouble = "Too many open files"
        for _ in 0..<80 {
            course.seconds += 5
            let verdict = course.judge.observe(course.facts, at: course.now)
            guard case .unknown = verdict.state else {
                Issue.record("\(verdict)")
                return
            }
            #expect(!verdict.isMoot)
        }
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("a peer that comes and goes is away when it sleeps, also one that has answered before")
    func asleep() {
        var course = PeerCourse()
        course.facts.isRoaming = true
        course.healthy()
        for _ in 0..<60 {
            course.look(rx: 0, tx: 148, answered: false)
            #expect(course.verdict.state == .away)
        }
        // It answers from wherever it is.
        course.facts.underlay = .gone("Network is unreachable")
        course.healthy()
        #expect(course.verdict.state == .healthy)
    }

    @Test("a peer with an endpoint that never shook hands is unreachable")
    func never() {
        var course = PeerCourse(proven: false)
        course.facts.handshake = 0
        for _ in 0..<5 { course.look(rx: 0, tx: 148, answered: false) }
        #expect(course.fault == .unreachable)
    }

    @Test("a peer that moves is said to have moved until something of it has come from there")
    func moves() {
        var watch = EndpointWatch()
        var course = PeerCourse()
        #expect(watch.observe(course.facts, at: course.now) == nil)
        course.facts.endpoint = "10.99.1.9:51820"
        course.healthy()
        let move = watch.observe(course.facts, at: course.now)
        #expect(move?.from == "10.99.1.2:51820")
        #expect(move?.to == "10.99.1.9:51820")
        #expect(watch.home == "10.99.1.2:51820")
        course.healthy()
        #expect(watch.observe(course.facts, at: course.now) == nil)
        #expect(watch.home == "10.99.1.9:51820")
        #expect(watch.heardAt == course.now)
        course.facts.isRoaming = true
        course.facts.endpoint = "10.99.1.3:51820"
        #expect(watch.observe(course.facts, at: course.now) == nil)
    }

    @Test("a place from which nothing comes lasts, whoever has written it")
    func misplaced() {
        var watch = EndpointWatch()
        var course = PeerCourse(proven: false)
        course.facts.received = 1000
        #expect(watch.observe(course.facts, at: course.now) == nil)
        course.facts.endpoint = "10.99.1.77:51820"
        for _ in 0..<100 {
            course.look(rx: 0, tx: 148, answered: false)
            #expect(watch.observe(course.facts, at: course.now)?.to == "10.99.1.77:51820")
        }
        // Given anew its counters begin anew, which is no sign of it.
        course.facts.received = 0
        #expect(watch.observe(course.facts, at: course.now) != nil)
        course.facts.endpoint = "10.99.1.2:51820"
        #expect(watch.observe(course.facts, at: course.now) == nil)
        // Where the file says, or an action has put it, it has not moved.
        course.facts.endpoint = "10.99.1.8:51820"
        course.facts.configuredEndpoint = "10.99.1.8:51820"
        #expect(watch.observe(course.facts, at: course.now) == nil)
        #expect(watch.home == "10.99.1.8:51820")
    }
}
