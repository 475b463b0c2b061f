internal import Glibc

/// The clock by which threads wait (`CLOCK_MONOTONIC`); it stands still while the machine is suspended.
package enum MonotonicClock {
    /// Nanoseconds since the machine started.
    package static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// The time that comes a duration from now, in nanoseconds; now for a negative one, and centuries
    /// away at the most.
    package static func deadline(after duration: Duration) -> UInt64 {
        let nanoseconds = min(max(0, duration / .nanoseconds(1)), 0x1p62)
        return now + UInt64(nanoseconds)
    }
}
