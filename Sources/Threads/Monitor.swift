internal import Glibc

/// A value behind a lock that threads can also wait on; `Synchronization.Mutex` has no condition.
///
/// `@unchecked Sendable`: the value is only touched while the pthread mutex is held.
package final class Monitor<State>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state: State

    package init(_ state: State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Runs `body` with the lock held; it must neither block nor resume a continuation.
    package func withLock<R>(_ body: (inout State) -> R) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }

    /// Runs `body` again and again, sleeping until `wake()` in between, until it returns a value.
    package func waitFor<R>(_ body: (inout State) -> R?) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state) { return result }
            pthread_cond_wait(condition, mutex)
        }
    }

    /// As `waitFor`, but `body` also says until when to sleep.
    package func waitUntil<R>(_ body: (inout State) -> Wait<R>) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            switch body(&state) {
            case .done(let result): return result
            case .sleep(nil): pthread_cond_wait(condition, mutex)
            case .sleep(let deadline?):
                var time = timespec(
                    tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
                pthread_cond_timedwait(condition, mutex, &time)
            }
        }
    }

    /// What the body of `waitUntil` has found.
    package enum Wait<R> {
        case done(R)
        /// To be asked again when woken, or at a time of `MonotonicClock` (`nil`: only when woken).
        case sleep(until: UInt64?)
    }

    /// Wakes every thread that waits.
    package func wake() { pthread_cond_broadcast(condition) }
}
