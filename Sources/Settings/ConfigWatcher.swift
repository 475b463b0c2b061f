import Glibc
import Synchronization
import Threads

/// Keeps a configuration up to date while its file is edited: a saved edit applies within a second, all
/// or nothing; an edit with a mistake leaves the old configuration in force.
///
/// Looks at the file when inotify hints at a change, and about once a second in any case. A file that is
/// being written is left alone for a moment, so that half of an edit is not taken for the whole. The
/// looking happens on a thread of its own, since file systems can hang.
package final class ConfigWatcher: Sendable {
    package enum Change: Sendable, Equatable {
        /// The file is in force, again or anew.
        case applied(LoadedConfig)
        /// The file has mistakes (or is gone); what was in force stays so.
        case refused(ConfigError)
    }

    /// How long the watcher waits for what. `look` and `quiet` together stay below a second: a saved edit
    /// applies within one even where inotify hears nothing.
    struct Timing: Sendable {
        /// Between two looks at the file.
        var look: Duration = .milliseconds(800)
        /// A file that did not change for this long is taken for finished.
        var quiet: Duration = .milliseconds(50)
        /// A file that keeps changing, is open for writing or is gone is read after this in any case.
        var patience: Duration = .milliseconds(400)
    }

    /// Changes kept for a subscriber that does not listen; older ones are dropped, `current` is always
    /// the newest.
    static let changeLimit = 16

    private struct State {
        var current: LoadedConfig
        var lastError: ConfigError?
        var subscribers: [Int: AsyncStream<Change>.Continuation] = [:]
        var nextSubscriber = 0
        var isStarted = false
        var isStopped = false
    }

    private let state: Mutex<State>
    private let environment: [String: String]
    private let timing: Timing
    private let usesNotices: Bool

    /// - Parameters:
    ///   - loaded: what is in force now; without a file nothing is watched.
    ///   - environment: what `loaded` was read with.
    package convenience init(_ loaded: LoadedConfig, environment: [String: String]) {
        self.init(loaded, environment: environment, timing: Timing(), usesNotices: true)
    }

    init(
        _ loaded: LoadedConfig, environment: [String: String], timing: Timing, usesNotices: Bool
    ) {
        state = Mutex(State(current: loaded))
        self.environment = environment
        self.timing = timing
        self.usesNotices = usesNotices
    }

    /// What is in force.
    package var current: LoadedConfig { state.withLock { $0.current } }

    /// Why the file as it is now is not in force; `nil` when it is.
    package var lastError: ConfigError? { state.withLock { $0.lastError } }

    /// Every change from now on, for any number of listeners; ends with `stop`.
    package func changes() -> AsyncStream<Change> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Change.self, bufferingPolicy: .bufferingNewest(Self.changeLimit))
        let number: Int? = state.withLock { state in
            guard !state.isStopped else { return nil }
            state.nextSubscriber += 1
            state.subscribers[state.nextSubscriber] = continuation
            return state.nextSubscriber
        }
        guard let number else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.subscribers.removeValue(forKey: number) }
        }
        return stream
    }

    /// Begins to watch; also notices what was saved since the configuration was loaded. Whoever starts
    /// a watcher stops it.
    package func start() {
        let file: String? = state.withLock { state in
            defer { state.isStarted = true }
            return state.isStarted ? nil : state.current.file
        }
        guard let file else { return }
        let isStarted = startThread(name: "config-watch") { [self] in look(at: file) }
        // Only a machine out of threads or memory gets here; nothing useful can be done on it.
        precondition(isStarted, "cannot start the thread that watches the configuration")
    }

    /// Ends all streams and the watching. Returns at once; the thread ends with its next look.
    package func stop() {
        let subscribers = state.withLock { state in
            state.isStopped = true
            defer { state.subscribers = [:] }
            return Array(state.subscribers.values)
        }
        // Not under the lock, which the streams' handlers take.
        for subscriber in subscribers { subscriber.finish() }
    }

    // MARK: The thread

    private func look(at file: String) {
        var notices = usesNotices ? FileNotices(file: file) : nil
        var seen: FileSignature?
        // What was saved before `start` must be found, too.
        var mustRead = true
        var isHinted = true
        while !isStopped {
            if isHinted {
                notices?.watch()
                mustRead = (notices?.listen().isTouched ?? false) || mustRead
            }
            let signature = FileSignature(file)
            if mustRead || signature != seen {
                seen = settled(file, signature, &notices)
                if !isStopped { reload(file) }
                mustRead = false
                isHinted = true
            } else {
                isHinted = wait(timing.look, notices?.descriptor)
                // Bounds how often a busy folder can wake this thread.
                if isHinted { _ = wait(timing.quiet, nil) }
            }
        }
    }

    /// Waits until nobody changes the file any more, but not for ever.
    private func settled(
        _ file: String, _ signature: FileSignature?, _ notices: inout FileNotices?
    ) -> FileSignature? {
        var last = signature
        let deadline = ContinuousClock.now + timing.patience
        while !isStopped, ContinuousClock.now < deadline {
            // Hints do not end this wait: each of them says that it is not quiet yet.
            _ = wait(timing.quiet, nil)
            notices?.watch()
            let heard = notices?.listen() ?? FileNotices.Heard()
            let now = FileSignature(file)
            if now != nil, now == last, !heard.isTouched, !heard.isBeingWritten { break }
            last = now
        }
        return last
    }

    private var isStopped: Bool { state.withLock { $0.isStopped } }

    /// Sleeps until there is a hint or the time is over. Whether there is a hint.
    private func wait(_ time: Duration, _ notices: CInt?) -> Bool {
        var waiting = pollfd(fd: notices ?? -1, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, CInt(time / .milliseconds(1))) > 0
    }

    private func reload(_ file: String) {
        do throws(ConfigError) {
            let loaded = try ConfigLoader.load(file: file, environment: environment)
            publish(.applied(loaded)) { state in
                defer { (state.current, state.lastError) = (loaded, nil) }
                return state.current != loaded || state.lastError != nil
            }
        } catch {
            publish(.refused(error)) { state in
                defer { state.lastError = error }
                return state.lastError != error
            }
        }
    }

    /// Tells everyone about a change, if it is one.
    private func publish(_ change: Change, _ update: (inout State) -> Bool) {
        let subscribers = state.withLock { state in
            update(&state) ? Array(state.subscribers.values) : []
        }
        for subscriber in subscribers { subscriber.yield(change) }
    }
}
