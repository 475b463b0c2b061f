package import Protocol
import Settings

/// What is wrong with a chain; the raw value is the type of its alert.
package enum Verdict: String, Sendable, CaseIterable {
    case depthExceeded = "depth_exceeded"
    case iterationsExceeded = "iterations_exceeded"
    case tokensExceeded = "tokens_exceeded"
    case rateExceeded = "rate_exceeded"
    case fanOutExceeded = "fan_out_exceeded"
    case cycleDetected = "cycle_detected"
    case contentRepeated = "content_repeated"
    case noProgress = "no_progress"

    /// Whether the chain is to be stopped; else it is only told of.
    package var stops: Bool { self != .noProgress }

    /// Whether it is about a number that was set, and not about what messages look like.
    var isSure: Bool {
        switch self {
        case .depthExceeded, .iterationsExceeded, .tokensExceeded, .rateExceeded, .fanOutExceeded:
            true
        case .cycleDetected, .contentRepeated, .noProgress: false
        }
    }

    package var severity: Severity { stops ? .critical : .warning }
}

/// A verdict with what led to it.
package struct Excess: Sendable, Equatable {
    package var verdict: Verdict
    /// What was counted, and how much is allowed.
    package var value: Int
    package var limit: Int
    /// One phrase: `depth 11 is over 10`.
    package var reason: String

    init(_ verdict: Verdict, _ value: Int, over limit: Int, _ what: String) {
        self.verdict = verdict
        self.value = value
        self.limit = limit
        reason = "\(what) \(value) is over \(limit)"
    }
}

/// What a message would make of its chain: what is judged.
struct Measure: Sendable, Equatable {
    var depth = 0
    var iteration = 0
    var tokens = 0
    var rate = 0
    var children = 0
    /// How often its sender has said the like within `Chain.repeatSpan` before.
    var repeats = 0
    /// How often the like has gone the same way, there and back, before.
    var rounds = 0
    /// Messages in a row that said nothing new.
    var stale = 0
}

extension Measure {
    /// What a message says of itself, whatever was counted.
    init(claimedBy envelope: Envelope) {
        self.init()
        depth = max(envelope.depth ?? 0, envelope.pathCount - 1)
        iteration = envelope.iteration ?? 0
        tokens = envelope.tokens
    }
}

extension Config.LoopLimits {
    /// Messages in a row that say nothing new before there is no progress.
    static let staleLimit = 20

    /// The first limit that is exceeded, the surest first.
    func finding(_ measure: Measure) -> Excess? {
        func over(_ value: Int, _ limit: Int) -> Bool { limit > 0 && value > limit }
        if over(measure.depth, depth) {
            return Excess(.depthExceeded, measure.depth, over: depth, "depth")
        }
        if over(measure.iteration, iterations) {
            return Excess(.iterationsExceeded, measure.iteration, over: iterations, "iteration")
        }
        if over(measure.tokens, tokens) {
            return Excess(.tokensExceeded, measure.tokens, over: tokens, "tokens:")
        }
        if over(measure.rate, rate) {
            return Excess(.rateExceeded, measure.rate, over: rate, "messages in a minute:")
        }
        if over(measure.children, fanOut) {
            return Excess(
                .fanOutExceeded, measure.children, over: fanOut, "messages caused by one:")
        }
        if over(measure.rounds, repeats) {
            return Excess(
                .cycleDetected, measure.rounds, over: repeats, "rounds with similar content:")
        }
        if over(measure.repeats, repeats) {
            return Excess(
                .contentRepeated, measure.repeats, over: repeats, "repeats of similar content:")
        }
        if repeats > 0, over(measure.stale, Self.staleLimit) {
            return Excess(
                .noProgress, measure.stale, over: Self.staleLimit,
                "messages without anything new:")
        }
        return nil
    }
}
