import Glibc
import Synchronization

/// The signals that stop a program.
package enum Signals {
    /// The exit code when a second signal arrives before the stop is complete.
    package static let impatientExitCode: Int32 = 130

    /// How many of SIGTERM and SIGINT have arrived. The handler may only touch what exists already; `stops`
    /// sees to that.
    private static let count = Atomic<Int>(0)
    /// The end of a pipe that the handler writes to.
    private static let pipeEnd = Atomic<CInt>(-1)

    /// Takes over SIGTERM, SIGINT and SIGHUP, and ignores SIGPIPE. The first of them is an element of the
    /// stream; a second SIGTERM or SIGINT ends the process at once with `impatientExitCode`. A terminal that
    /// goes says SIGHUP, often more than once; whoever has it ignored (`nohup`) is not stopped by it. Call it
    /// once, first thing.
    ///
    /// By handlers, and not by blocking the signals and waiting for them: the Swift runtime parks the
    /// main thread in a `sigsuspend` that lets every signal through, so a blocked one would still kill.
    /// Children are free of handlers after `exec`, but not of the ignored SIGPIPE.
    package static func stops() -> AsyncStream<String> {
        var ends: [CInt] = [-1, -1]
        precondition(pipe(&ends) == 0, "cannot make a pipe: \(errorText(errno))")
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        // Nobody reads what comes after the first.
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        let isFirst = pipeEnd.exchange(ends[1], ordering: .sequentiallyConsistent) < 0
        precondition(isFirst, "the signals of a process have one receiver")
        count.store(0, ordering: .sequentiallyConsistent)
        install()
        let reader = ends[0]
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        startNeededThread(name: "signals") {
            var number: UInt8 = 0
            while read(reader, &number, 1) != 1 && errno == EINTR {}
            let name =
                switch CInt(number) {
                case SIGINT: "SIGINT"
                case SIGHUP: "SIGHUP"
                default: "SIGTERM"
                }
            continuation.yield(name)
        }
        return stream
    }

    private static func install() {
        signal(SIGPIPE, SIG_IGN)
        var action = sigaction()
        action.sa_flags = SA_RESTART
        action.__sigaction_handler.sa_handler = { number in
            // No cleaning up: whoever asks twice wants it over, and every file is good after a kill.
            if number != SIGHUP, Signals.count.add(1, ordering: .relaxed).oldValue > 0 {
                _exit(Signals.impatientExitCode)
            }
            let saved = errno
            var byte = UInt8(truncatingIfNeeded: number)
            _ = write(Signals.pipeEnd.load(ordering: .relaxed), &byte, 1)
            errno = saved
        }
        sigaction(SIGTERM, &action, nil)
        sigaction(SIGINT, &action, nil)
        var hangup = sigaction()
        sigaction(SIGHUP, nil, &hangup)
        let isIgnored =
            unsafeBitCast(hangup.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
        if !isIgnored { sigaction(SIGHUP, &action, nil) }
    }
}
