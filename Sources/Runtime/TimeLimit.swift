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
/// calls a `WorkerThread` of their own, and look at its `isHanging` before the next one.
///
/// - Throws: `TimeLimitExceeded`, `CancellationError` when the waiting task is cancelled, or what `body`
///   throws.
package func withTimeLimit<Value: Sendable>(
    _ limit: Duration, on worker: WorkerThread? = nil,
    _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    let race = Race<Value>(worker)
    let work = Task(executorPreference: worker) {
        do { race.end(.success(try await body())) } catch { race.end(.failure(error)) }
    }
    let timer = Task {
        try await Task.sleep(for: limit, tolerance: limit / 100, clock: .continuous)
        race.abandon(TimeLimitExceeded(limit: limit))
    }
    defer {
        timer.cancel()
        work.cancel()
    }
    return try await withTaskCancellationHandler {
        try await race.value()
    } onCancel: {
        race.abandon(CancellationError())
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
    /// Where the work is done.
    private let worker: WorkerThread?

    init(_ worker: WorkerThread?) { self.worker = worker }

    /// The work has ended, in time or not.
    func end(_ result: Result<Value, any Error>) {
        if !finish(result, first: {}) { worker?.returned() }
    }

    /// Nobody waits for the work any longer.
    func abandon(_ error: any Error) {
        // Known before the waiting task goes on and asks.
        _ = finish(.failure(error), first: { worker?.isLeftBehind() })
    }

    /// Says whether this result is the first.
    private func finish(_ result: Result<Value, any Error>, first: () -> Void) -> Bool {
        // The continuation is resumed outside of the lock: what it runs may take the lock again.
        let (isFirst, waiter) = state.withLock {
            state -> (Bool, CheckedContinuation<Value, any Error>?) in
            switch state {
            case .open:
                state = .done(result)
                first()
                return (true, nil)
            case .waiting(let continuation):
                state = .taken
                first()
                return (true, continuation)
            case .done, .taken: return (false, nil)
            }
        }
        waiter?.resume(with: result)
        return isFirst
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
