/// The pauses between tries of something that fails: each twice as long as the one before, up to a
/// limit, and each shortened by a random part so that many nodes do not come back in step.
package struct Backoff: Sendable {
    /// The longest first pause.
    package let base: Duration
    /// The longest pause of all.
    package let limit: Duration
    private var ceiling: Duration
    private var random: SplitMix

    /// Pauses from `base` to `limit`; the same seed gives the same ones.
    package init(base: Duration, limit: Duration, seed: UInt64) {
        precondition(base > .zero && limit >= base, "a pause takes time")
        self.base = base
        self.limit = limit
        ceiling = base
        random = SplitMix(seed: seed)
    }

    /// The pause before the next try: between half and all of the current step.
    package mutating func next() -> Duration {
        let nanoseconds = max(ceiling / .nanoseconds(1), 2)
        let pause = Duration.nanoseconds(
            Int64.random(in: Int64(nanoseconds / 2)...Int64(nanoseconds), using: &random))
        ceiling = min(ceiling * 2, limit)
        return pause
    }

    /// Starts over after a success.
    package mutating func reset() { ceiling = base }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014). Small and
/// repeatable; not for secrets.
package struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
