import Protocol
import Runtime
import Settings

@testable import LoopBreaker

/// A time in seconds after some morning.
func at(_ seconds: Double) -> Timestamp {
    Timestamp(seconds: 1_700_000_000) + .milliseconds(Int64((seconds * 1000).rounded()))
}

/// Limits of which none counts but those that are set.
func limits(_ change: (inout Config.LoopLimits) -> Void) -> Config.LoopLimits {
    var limits = Config.LoopLimits()
    limits.depth = 0
    limits.iterations = 0
    limits.repeats = 0
    change(&limits)
    return limits
}

/// A message from one agent to another.
func message(
    _ chain: String, _ from: String? = nil, _ to: String? = nil, says: String? = nil,
    _ change: (inout Envelope) -> Void = { _ in }
) -> Envelope {
    var envelope = Envelope(chainID: chain)
    envelope.from = from
    envelope.to = to
    envelope.content = says.flatMap(content)
    change(&envelope)
    return envelope
}

func content(_ text: String) -> Content? {
    Array(text.utf8).withUnsafeBytes { Content(payload: $0) }
}

extension ChainJudge {
    init(_ limits: Config.LoopLimits = .init(), cooldown: Duration = .seconds(60)) {
        self.init(limits: limits, cooldown: cooldown, at: at(0))
    }

    /// As a program that is not shared with others sees it: a trial is let through.
    mutating func check(_ envelope: Envelope, at now: Timestamp) -> Answer {
        let answer = ask(envelope, at: now)
        guard case .trial(let trial) = answer else { return answer }
        return settle(trial, granted: true, isMessage: false, at: now)
    }

    /// Observes a chain that goes to and fro; returns the number of the message that broke it.
    mutating func pingPong(_ chain: String, _ count: Int, from: Double = 0) -> Int? {
        for number in 1...count {
            let (one, other) = number % 2 == 1 ? ("a", "b") : ("b", "a")
            observe(message(chain, one, other), at: at(from + Double(number) / 1000))
            if breaks[.chain(ChainTable.key(chain))] != nil { return number }
        }
        return nil
    }

    func state(_ chain: String) -> Break.State? {
        breaks[.chain(ChainTable.key(chain))]?.state
    }
}

extension Answer {
    var isAllowed: Bool { self == .allow }

    var reason: String? { if case .deny(let reason, _) = self { reason } else { nil } }

    var until: Timestamp? { if case .deny(_, let until) = self { until } else { nil } }
}
