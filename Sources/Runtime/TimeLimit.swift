import Synchronization

/// Something was not done within its time limit; it may still be going on.
package struct TimeLimitExceeded: Error, Equatable, CustomStringConvertible {
    package let limit: Duration

    package init(limit: Duration) { self.limit = limit }

    package var description: String { "not done within \(limit)" }
}

/// Waits for `body`, but no longer than `limit`.
///
/// A body that is late is cancelled and left behind: it runs on for as long as it likes, and what it
/// returns is dropped. That is the only way to live with a call into the kernel that hangs, so give such
/// calls a `WorkerThread` of their own as `executor`, and look at its `isBusy` before the next one.
///
/// - Throws: `TimeLimitExceeded`, `CancellationError` when the waiting task is cancelled, or what `body`
///   throws.
package func withTimeLimit<Value: Sendable>(
    _ limit: Duration, on executor: (any TaskExecutor)? = nil,
    _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    let race = Race<Value>()
    let work = Task(executorPreference: executor) {
        do { race.finish(.success(try await body())) } catch { race.finish(.failure(error)) }
    }
    let timer = Task {
        try await Task.sleep(for: limit, tolerance: limit / 100, clock: .continuous)
        race.finish(.failure(TimeLimitExceeded(limit: limit)))
    }
    defer {
        timer.cancel()
        work.cancel()
    }
    return try await withTaskCancellationHandler {
        try await race.value()
    } onCancel: {
        race.finish(.failure(CancellationError()))
    }
}

/// The first of several results, for one waiting task.
private final class Race<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(CheckedContinuation<Value, any Error>)
        case done(Result<Value, any Error>)
        case taken
    }

    private let state = Mutex(State.open)

    func finish(_ result: Result<Value, any Error>) {
        // The continuation is resumed outside of the lock: what it runs may take the lock again.
        let waiter: CheckedContinuation<Value, any Error>? = state.withLock { state in
            switch state {
            case .open:
                state = .done(result)
                return nil
            case .waiting(let continuation):
                state = .taken
                return continuation
            case .done, .taken: return nil
            }
        }
        waiter?.resume(with: result)
    }

    func value() async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let result: Result<Value, any Error>? = state.withLock { state in
                if case .done(let result) = state {
                    state = .taken
                    return result
                }
                state = .waiting(continuation)
                return nil
            }
            if let result { continuation.resume(with: result) }
        }
    }
}
