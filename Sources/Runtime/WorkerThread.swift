import Glibc
import Synchronization
import Threads

/// A thread of its own for work that may block, so that the threads all tasks share never do.
///
/// It is a task executor: `Task(executorPreference: worker) { … }` runs the task's nonisolated code on
/// this thread, one piece at a time. The thread starts with the first piece of work, so that an agent
/// that never acts has none for acting. Call `stop` when done with it.
package final class WorkerThread: TaskExecutor, Sendable {
    package let name: String
    private let state = Mutex(State())
    private let available: Semaphore

    private struct State {
        var jobs: [UnownedJob] = []
        var isStarted = false
        var isStopped = false
        /// Work that was left behind and has not returned yet.
        var leftBehind = 0
    }

    /// - Parameter name: shown by `ps -L` and debuggers; Linux keeps 15 characters.
    package init(name: String) {
        self.name = name
        available = Semaphore()
    }

    /// Whether it still hangs in work whose time limit has passed.
    package var isHanging: Bool { state.withLock { $0.leftBehind > 0 } }

    /// Nobody waits any longer for a piece of work, which goes on.
    func isLeftBehind() { state.withLock { $0.leftBehind += 1 } }

    /// A piece of work that was left behind has returned.
    func returned() { state.withLock { $0.leftBehind -= 1 } }

    /// Lets the thread end when everything queued is done. Work enqueued afterwards still runs.
    package func stop() {
        let isWaiting = state.withLock { state in
            state.isStopped = true
            return state.isStarted
        }
        if isWaiting { available.signal() }
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let mustStart = state.withLock { state in
            state.jobs.append(job)
            defer { state.isStarted = true }
            return !state.isStarted
        }
        if mustStart { startNeededThread(name: name) { [self] in runLoop() } }
        available.signal()
    }

    private func runLoop() {
        while true {
            available.wait()
            while let job = takeJob() {
                job.runSynchronously(on: asUnownedTaskExecutor())
            }
            let mayEnd = state.withLock { state in
                guard state.isStopped, state.jobs.isEmpty else { return false }
                state.isStarted = false
                return true
            }
            if mayEnd { return }
        }
    }

    private func takeJob() -> UnownedJob? {
        state.withLock { state in
            state.jobs.isEmpty ? nil : state.jobs.removeFirst()
        }
    }
}

/// Starts a thread that the program cannot do without.
func startNeededThread(name: String, _ body: @escaping @Sendable () -> Void) {
    // Only a machine out of threads or memory gets here; nothing useful can be done on it.
    precondition(startThread(name: name, body), "cannot start thread \(name)")
}

/// A counting semaphore; the C one, since it may be signalled from anywhere.
private final class Semaphore: @unchecked Sendable {
    // Unchecked: sem_t is made for use by several threads at once, and its address never changes.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func signal() { sem_post(semaphore) }

    func wait() {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
    }
}
