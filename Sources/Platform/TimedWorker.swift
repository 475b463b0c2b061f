import Glibc
import Synchronization
import Threads

/// Runs calls that may hang (a dead bus behind a sensor, a wedged GPU driver) on threads of their own,
/// under a time limit, so that neither the caller nor Swift's thread pool ever waits for them.
///
/// A call that does not return in time is left behind: its thread cannot be ended safely. At most
/// `maxHung` such threads are tolerated; from then on every call fails at once until one comes back.
package final class TimedWorker: Sendable {
    /// How many calls may be left behind at the same time.
    package let maxHung: Int
    private let hung = Mutex(0)

    /// Stack of a worker thread. Vendors' libraries run on it, so it is not as small as it could be;
    /// only the pages that are touched take memory.
    static let stackBytes = 1 << 20

    package init(maxHung: Int = 4) {
        precondition(maxHung > 0)
        self.maxHung = maxHung
    }

    /// How many calls are hanging now.
    package var hungCount: Int { hung.withLock { $0 } }

    /// Whether the next call would be refused because too many hang.
    package var isExhausted: Bool { hungCount >= maxHung }

    /// Calls `body` on a thread of its own. Returns its result, or `nil` when it has not returned
    /// within `limit`, when too many calls hang already, or when the task is cancelled.
    package func run<T: Sendable>(
        limit: Duration, _ body: @escaping @Sendable () -> T
    ) async -> T? {
        guard let call = start(body) else { return nil }
        return await withTaskGroup(of: Void.self) { group in
            group.addTask {
                try? await Task.sleep(for: limit)
                call.expire()
            }
            let value = await call.value()
            group.cancelAll()
            return value
        }
    }

    /// The same for callers that are allowed to block, such as a command-line verb or a start-up.
    package func runBlocking<T: Sendable>(
        limit: Duration, _ body: @escaping @Sendable () -> T
    ) -> T? {
        start(body)?.wait(limit: limit)
    }

    private func start<T: Sendable>(_ body: @escaping @Sendable () -> T) -> TimedCall<T>? {
        guard !isExhausted else { return nil }
        let call = TimedCall<T>(
            onHang: { self.hung.withLock { $0 += 1 } }, onReturn: { self.hung.withLock { $0 -= 1 } }
        )
        let started = startThread(name: "timed-call", stackBytes: Self.stackBytes) {
            call.finish(body())
        }
        return started ? call : nil
    }
}

/// One call of a `TimedWorker`: whichever comes first, the result or the end of the time, decides.
private final class TimedCall<T: Sendable>: Sendable {
    private enum State {
        case running(waiter: CheckedContinuation<T?, Never>?)
        case done(T)
        case expired
    }

    private let state = Monitor(State.running(waiter: nil))
    private let onHang: @Sendable () -> Void
    private let onReturn: @Sendable () -> Void

    init(onHang: @escaping @Sendable () -> Void, onReturn: @escaping @Sendable () -> Void) {
        self.onHang = onHang
        self.onReturn = onReturn
    }

    /// The result, or `nil` once expired. One caller only.
    func value() async -> T? {
        await withCheckedContinuation { continuation in
            let ready: T?? = state.withLock { state in
                switch state {
                case .running:
                    state = .running(waiter: continuation)
                    return nil
                case .done(let value): return .some(value)
                case .expired: return .some(nil)
                }
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    func wait(limit: Duration) -> T? {
        let deadline = MonotonicClock.deadline(after: limit)
        state.waitUntil { state in
            guard case .running = state, MonotonicClock.now < deadline else { return .done(()) }
            return .sleep(until: deadline)
        }
        expire()
        return state.withLock { if case .done(let value) = $0 { value } else { nil } }
    }

    func finish(_ value: T) {
        let (waiter, wasHung) = state.withLock {
            state -> (CheckedContinuation<T?, Never>?, Bool) in
            switch state {
            case .running(let waiter):
                state = .done(value)
                return (waiter, false)
            case .done, .expired: return (nil, true)
            }
        }
        waiter?.resume(returning: value)
        if wasHung { onReturn() }
        state.wake()
    }

    func expire() {
        let (waiter, isHung) = state.withLock {
            state -> (CheckedContinuation<T?, Never>?, Bool) in
            guard case .running(let waiter) = state else { return (nil, false) }
            state = .expired
            // Counted under the lock: the call's return, which counts down, comes after it.
            onHang()
            return (waiter, true)
        }
        if isHung { waiter?.resume(returning: nil) }
    }
}
