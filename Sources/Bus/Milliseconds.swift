internal import Protocol

extension Duration {
    /// Whole milliseconds as cnats takes them: at least 1, rounded up.
    var milliseconds: Int64 {
        let nanoseconds = wholeNanoseconds
        return max(1, nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0))
    }
}
