import Synchronization

/// A sleep that can be ended early: one task waits, anyone rings. A ring while nobody waits is kept for
/// the next wait; several count as one.
package final class Wakeup: Sendable {
    private struct State {
        var isRung = false
        var round: UInt64 = 0
        var waiter: CheckedContinuation<Bool, Never>?
    }

    private let state = Mutex(State())

    package init() {}

    /// Ends the current wait, or the next one at once.
    package func ring() {
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            guard let waiter = state.waiter else {
                state.isRung = true
                return nil
            }
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: true)
    }

    /// Sleeps until someone rings, the time is over, or the task is cancelled.
    ///
    /// - Parameter limit: `nil`: no limit.
    /// - Returns: whether someone rang.
    package func wait(atMost limit: Duration? = nil) async -> Bool {
        let round = state.withLock { state in
            state.round += 1
            return state.round
        }
        let timer = limit.map { limit in
            Task { [self] in
                try await Task.sleep(for: limit, tolerance: limit / 100, clock: .continuous)
                end(round)
            }
        }
        defer { timer?.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    precondition(state.waiter == nil, "one task waits for a wakeup")
                    if state.isRung || Task.isCancelled || state.round != round {
                        defer { state.isRung = false }
                        return state.isRung
                    }
                    state.waiter = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            end(round)
        }
    }

    /// Ends one wait, and none that comes after it.
    private func end(_ round: UInt64) {
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            guard state.round == round else { return nil }
            defer { state.waiter = nil }
            if state.waiter == nil { state.round += 1 }
            return state.waiter
        }
        waiter?.resume(returning: false)
    }
}
