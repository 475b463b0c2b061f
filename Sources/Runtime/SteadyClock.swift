import CTimex
import Glibc
package import Protocol
import Synchronization

/// Wall-clock time that does not jump: the system's time when the clock was made, plus the time that has
/// passed since, suspend included.
///
/// Someone who sets the system's clock moves nothing that is measured with this one; `drift` tells how
/// far the two have come apart. One step is followed: a machine without a clock of its own starts with a
/// wrong time, and when the kernel says for the first time that its clock is synchronised, `follow`
/// takes that time over.
package final class SteadyClock: Sendable {
    /// What the wall clock showed when the machine started, in nanoseconds since the epoch.
    private let origin: Atomic<Int64>
    /// Whether the origin is one that the kernel vouched for, or never said anything about.
    private let isSettled: Atomic<Bool>

    package convenience init() {
        self.init(
            real: Self.wallTime(), boot: Self.sinceBoot(),
            isSynchronized: Self.isSynchronized() ?? true)
    }

    /// A clock that read `real` when the machine had been up for `boot`.
    package init(real: Timestamp, boot: Duration, isSynchronized: Bool = true) {
        origin = Atomic((real - boot).nanoseconds)
        isSettled = Atomic(isSynchronized)
    }

    /// The time now.
    package func now() -> Timestamp { time(sinceBoot: Self.sinceBoot()) }

    /// The time when the machine has been up for `uptime`.
    package func time(sinceBoot uptime: Duration) -> Timestamp {
        Timestamp(nanoseconds: origin.load(ordering: .relaxed)) + uptime
    }

    /// How far the system's clock is ahead of this one; negative when it is behind.
    package func drift() -> Duration { Self.wallTime() - now() }

    /// Takes over the system's time once, when the kernel says for the first time that it is
    /// synchronised. To be called every few seconds; returns the step when there was one.
    package func follow() -> Duration? {
        guard !isSettled.load(ordering: .relaxed), let isSynchronized = Self.isSynchronized() else {
            return nil
        }
        return follow(
            isSynchronized: isSynchronized, real: Self.wallTime(), boot: Self.sinceBoot())
    }

    /// The same with a given answer of the kernel, and what the clocks show.
    package func follow(isSynchronized: Bool, real: Timestamp, boot: Duration) -> Duration? {
        guard isSynchronized, !isSettled.exchange(true, ordering: .relaxed) else { return nil }
        let step = real - time(sinceBoot: boot)
        origin.store((real - boot).nanoseconds, ordering: .relaxed)
        return step
    }

    /// Whether a time server keeps the system's clock; `nil` when the kernel does not tell, as in some
    /// containers.
    package static func isSynchronized() -> Bool? {
        // Without modes it only asks.
        var request = timex()
        let answer = adjtimex(&request)
        return answer < 0 ? nil : answer != TIME_ERROR
    }

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
