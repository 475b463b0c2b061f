import CShim
package import Glibc
import Synchronization

/// Runs a program and collects what it prints, with a limit on time and on output. The only place that
/// starts programs: always an argument vector, never a shell, never the caller's descriptors.
package struct Subprocess: Sendable {
    /// What a program that ended by itself left.
    package struct Output: Sendable, Equatable {
        /// The exit code; 128 + N when signal N ended it.
        package var exitCode: Int32
        /// At most `outputLimit` bytes of its standard output, and of its standard error where
        /// `keepsErrors` says so.
        package var output: [UInt8]

        package init(exitCode: Int32, output: [UInt8]) {
            self.exitCode = exitCode
            self.output = output
        }
    }

    /// Why there is no output.
    package enum Failure: Error, Equatable, CustomStringConvertible {
        /// It could not be started: errno.
        case notStarted(program: String, errno: Int32)
        /// It did not end in time, and was killed.
        case timedOut(program: String)
        /// It printed more than the limit, and was killed.
        case tooMuchOutput(program: String)
        /// It ended, but somebody else was told how.
        case lost(program: String)

        package var description: String {
            switch self {
            case .notStarted(let program, let code):
                "cannot start \(program): \(errnoText(code)) (\(errnoName(code)))"
            case .timedOut(let program): "\(program) did not end in time and was killed"
            case .tooMuchOutput(let program): "\(program) printed too much and was killed"
            case .lost(let program): "how \(program) ended is not known"
            }
        }
    }

    /// An absolute path.
    package var program: String
    package var arguments: [String]
    package var timeLimit: Duration
    package var outputLimit: Int
    /// Whether what it prints on standard error is kept, too.
    package var keepsErrors = false

    private static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]

    package init(
        _ program: String, _ arguments: [String], timeLimit: Duration = .seconds(5),
        outputLimit: Int = 64 * 1024
    ) {
        self.program = program
        self.arguments = arguments
        self.timeLimit = timeLimit
        self.outputLimit = outputLimit
    }

    /// Runs it to its end. Blocks for `timeLimit` at most, and a second more for one that has to be
    /// killed; so not on Swift's thread pool.
    package func run() throws(Failure) -> Output {
        let end = ContinuousClock.now + timeLimit
        let (child, descriptor) = try spawn()
        defer { close(descriptor) }
        let output: [UInt8]
        do throws(Failure) { output = try collect(descriptor, until: end) } catch {
            Children.end(child)
            throw error
        }
        // It may close its output and go on: nobody listens any more.
        return Output(exitCode: try wait(child, until: end), output: output)
    }

    /// Runs it to its end and keeps nothing of what it prints. Unlike with `run`, programs that it leaves
    /// behind in the background are not waited for, and live on.
    ///
    /// - Returns: the exit code; 128 + N when signal N ended it.
    package func complete() throws(Failure) -> Int32 {
        let end = ContinuousClock.now + timeLimit
        let (child, descriptor) = try spawn(isSilent: true)
        close(descriptor)
        return try wait(child, until: end)
    }

    /// The same for a program that is not to be killed once it has done what matters.
    ///
    /// - `isDone`: asked when its time is over, with its process.
    /// - Returns: the exit code; `nil`: it has done what matters, and goes on.
    package func complete(unless isDone: (Int32) -> Bool) throws(Failure) -> Int32? {
        let end = ContinuousClock.now + timeLimit
        let (child, descriptor) = try spawn(isSilent: true)
        close(descriptor)
        return try wait(child, until: end, unless: isDone)
    }

    private func wait(_ child: pid_t, until end: ContinuousClock.Instant) throws(Failure) -> Int32 {
        // What is never left to itself ends, or is killed.
        try wait(child, until: end, unless: { _ in false }) ?? 128 + SIGKILL
    }

    private func wait(
        _ child: pid_t, until end: ContinuousClock.Instant, unless isDone: (pid_t) -> Bool
    ) throws(Failure) -> Int32? {
        switch Children.wait(child, until: end) {
        case .ended(let status): return Self.exitCode(status)
        case .lost: throw .lost(program: program)
        case .alive:
            if isDone(child) {
                Children.leave(child)
                return nil
            }
            Children.end(child)
            throw .timedOut(program: program)
        }
    }

    /// Whether a program that was left to itself goes on.
    package static func goesOn(_ child: Int32) -> Bool { Children.isLeft(child) }

    private static func exitCode(_ status: Int32) -> Int32 {
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// One at a time: a child started in between would inherit the pipe and keep it open.
    private static let spawning = Mutex(())

    private func spawn(isSilent: Bool = false) throws(Failure) -> (pid_t, Int32) {
        guard Children.collect() < Children.unendingLimit else {
            throw Failure.notStarted(program: program, errno: EAGAIN)
        }
        return try Self.spawning.withLock { _ throws(Failure) in try spawnAlone(isSilent) }
    }

    private func spawnAlone(_ isSilent: Bool) throws(Failure) -> (pid_t, Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw Failure.notStarted(program: program, errno: errno)
        }
        defer { close(ends[1]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        if isSilent {
            posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        } else {
            posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        }
        if keepsErrors {
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        } else {
            posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        }
        // Not every library opens its sockets close-on-exec.
        Self.closeDescriptors(&actions)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))

        var child = pid_t()
        var vector: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
        vector.append(nil)
        // Numbers and dates must come out the same wherever this runs.
        var environment: [UnsafeMutablePointer<CChar>?] = Self.environment.map { strdup($0) }
        environment.append(nil)
        defer { for pointer in vector + environment { free(pointer) } }
        let code = posix_spawn(&child, program, &actions, &attributes, &vector, &environment)
        guard code == 0 else {
            close(ends[0])
            throw Failure.notStarted(program: program, errno: code)
        }
        return (child, ends[0])
    }

    /// Has a program that is started with these actions begin with nothing but its standard input, output
    /// and error, whatever other threads open meanwhile.
    package static func closeDescriptors(_ actions: inout posix_spawn_file_actions_t) {
        skos_close_from(&actions, 3)
    }

    /// Reads until the other end is closed, the time is over, or there is too much.
    private func collect(
        _ descriptor: Int32, until end: ContinuousClock.Instant
    ) throws(Failure) -> [UInt8] {
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let left = end - .now
            guard left > .zero else { throw Failure.timedOut(program: program) }
            var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let milliseconds =
                left.components.seconds * 1000
                + left.components.attoseconds / 1_000_000_000_000_000
            // Rounded up, so that the last millisecond is not spent spinning.
            if poll(&poller, 1, Int32(clamping: milliseconds + 1)) <= 0 { continue }
            let got = read(descriptor, &chunk, chunk.count)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else { return output }
            guard output.count + got <= outputLimit else {
                throw Failure.tooMuchOutput(program: program)
            }
            output += chunk[..<got]
        }
    }
}

/// The programs that were started.
private enum Children {
    enum End {
        case ended(status: Int32)
        /// There is no such child: somebody else has collected it.
        case lost
        case alive
    }

    /// How long one that was killed may take to be gone. One that waits for a dead disk or server
    /// is not gone before that answers.
    static let mercy: Duration = .seconds(1)
    /// Of programs that do not end, so many are left alone; then no other is started.
    static let unendingLimit = 16

    private static let unending = Mutex<[pid_t]>([])

    /// Whoever started us may have asked the kernel not to keep the ends of children, which is inherited.
    private static let areKept: Void = {
        var action = sigaction()
        guard sigaction(SIGCHLD, nil, &action) == 0 else { return }
        let isIgnored = unsafeBitCast(action.__sigaction_handler, to: Int.self) == 1
        if isIgnored || action.sa_flags & SA_NOCLDWAIT != 0 { signal(SIGCHLD, SIG_DFL) }
    }()

    /// Collects those that have ended at last, and returns how many have not.
    static func collect() -> Int {
        _ = areKept
        return unending.withLock { children in
            children.removeAll { waitpid($0, nil, WNOHANG) != 0 }
            return children.count
        }
    }

    /// Whether one that was left alone has not ended.
    static func isLeft(_ child: pid_t) -> Bool {
        _ = collect()
        return unending.withLock { $0.contains(child) }
    }

    /// Waits for the end of a child.
    static func wait(_ child: pid_t, until end: ContinuousClock.Instant) -> End {
        var status: Int32 = 0
        var pause: UInt32 = 500
        while true {
            let found = waitpid(child, &status, WNOHANG)
            if found == child { return .ended(status: status) }
            if found < 0 && errno != EINTR { return .lost }
            guard ContinuousClock.now < end else { return .alive }
            usleep(pause)
            pause = min(pause * 2, 20_000)
        }
    }

    /// Kills a child with all that it has started, which must not hold its pipe open. What does not die
    /// is collected before some later child is started.
    static func end(_ child: pid_t) {
        kill(-child, SIGKILL)
        if case .alive = wait(child, until: .now + mercy) { leave(child) }
    }

    /// Leaves a child alone, to be collected before some later child is started.
    static func leave(_ child: pid_t) { unending.withLock { $0.append(child) } }
}
