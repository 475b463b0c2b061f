import Glibc
package import Protocol

/// Wall-clock time that never jumps: the system's time when the clock was made, plus the time that has
/// passed since, suspend included.
///
/// Someone who sets the system's clock, or a time server that steps it, moves nothing that is measured
/// with this one; `drift` tells how far the two have come apart.
package struct SteadyClock: Sendable {
    private let real: Timestamp
    private let boot: Duration

    package init() { self.init(real: Self.wallTime(), boot: Self.sinceBoot()) }

    /// A clock that read `real` when the machine had been up for `boot`.
    package init(real: Timestamp, boot: Duration) {
        self.real = real
        self.boot = boot
    }

    /// The time now.
    package func now() -> Timestamp { time(sinceBoot: Self.sinceBoot()) }

    /// The time when the machine has been up for `uptime`.
    package func time(sinceBoot uptime: Duration) -> Timestamp { real + (uptime - boot) }

    /// How far the system's clock is ahead of this one; negative when it is behind.
    package func drift() -> Duration { Self.wallTime() - now() }

    /// What the system's clock says (`CLOCK_REALTIME`): for log lines, and nothing that is compared.
    package static func wallTime() -> Timestamp {
        let (seconds, nanoseconds) = read(CLOCK_REALTIME)
        return Timestamp(nanoseconds: seconds * 1_000_000_000 + nanoseconds)
    }

    /// Time since the machine started, suspend included (`CLOCK_BOOTTIME`). It survives a restart of the
    /// process; together with `bootID` it is what leases are measured with.
    package static func sinceBoot() -> Duration {
        let (seconds, nanoseconds) = read(CLOCK_BOOTTIME)
        return .seconds(seconds) + .nanoseconds(nanoseconds)
    }

    /// The kernel's name of this boot, from `/proc/sys/kernel/random/boot_id`; `nil` when that cannot be
    /// read, and then nothing may be assumed about what was written before.
    package static func bootID() -> String? {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // A UUID has 36 characters and a newline.
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 36 else { return nil }
        return String(decoding: bytes[0..<36], as: UTF8.self)
    }

    private static func read(_ clock: clockid_t) -> (Int64, Int64) {
        var time = timespec()
        let status = clock_gettime(clock, &time)
        precondition(status == 0, "Linux has had these clocks since 2.6.39")
        return (Int64(time.tv_sec), Int64(time.tv_nsec))
    }
}
