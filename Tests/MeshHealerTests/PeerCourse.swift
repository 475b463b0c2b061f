import Protocol

@testable import MeshHealer

/// A peer over time, as its counters and echoes show it: one look every five seconds, one echo before
/// each.
struct PeerCourse {
    var judge = PeerJudge()
    var facts = PeerFacts()
    var seconds: Int64 = 0
    var verdict = PeerVerdict(.unknown(""))

    /// A peer that is well, and was so for a while.
    init(proven: Bool = true) {
        facts.handshake = start
        facts.received = 10_000
        facts.sent = 10_000
        facts.endpoint = "10.99.1.2:51820"
        facts.underlay = .there("eth0")
        facts.echo = EchoRecord(target: "10.88.0.2")
        guard proven else { return }
        for _ in 0..<4 { healthy() }
    }

    private let start: Int64 = 1_700_000_000
    var now: Timestamp { Timestamp(seconds: start + seconds) }

    /// One more look: how many bytes came and went since the last, and whether the echo was answered.
    mutating func look(
        rx: UInt64, tx: UInt64, answered: Bool, notSent: String? = nil, every interval: Int64 = 5
    ) {
        seconds += interval
        facts.received += rx
        facts.sent += tx
        facts.echo.take(
            sentAt: now, milliseconds: answered ? 1 : nil, notSent: notSent)
        verdict = judge.observe(facts, at: now)
    }

    mutating func healthy() { look(rx: 80, tx: 80, answered: true) }

    var fault: PeerFault? { if case .faulty(let fault) = verdict.state { fault } else { nil } }
}
