internal import Threads

/// Threads for calls of cnats that block: those that all tasks share must not wait.
enum BusThread {
    /// Enough for cnats' connect, whose frames hold a 32 KiB line buffer, and for the resolver.
    private static let stackBytes = 512 * 1024

    /// Starts a detached thread. Returns false when the system gave none.
    static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        startThread(name: name, stackBytes: stackBytes, body)
    }

    /// Runs a blocking call on a thread of its own and waits for it without blocking the caller's.
    static func offload<R: Sendable>(
        _ name: String, _ body: @escaping @Sendable () -> R
    ) async -> R? {
        await withCheckedContinuation { (continuation: CheckedContinuation<R?, Never>) in
            let started = start(name) { continuation.resume(returning: body()) }
            if !started { continuation.resume(returning: nil) }
        }
    }
}
