import Glibc
import Synchronization

/// The signals that stop a program.
package enum Signals {
    /// The exit code when a second signal arrives before the stop is complete.
    package static let impatientExitCode: Int32 = 130

    private static let isTaken = Atomic<Bool>(false)

    /// Takes over SIGTERM and SIGINT, and ignores SIGPIPE. The first of them is an element of the stream;
    /// a second one ends the process at once with `impatientExitCode`.
    ///
    /// Call it once, first thing in `main`: threads that exist already would still die of the signals.
    package static func stops() -> AsyncStream<String> {
        let isFirst = isTaken.compareExchange(
            expected: false, desired: true, ordering: .relaxed
        ).exchanged
        precondition(isFirst, "the signals of a process have one receiver")
        signal(SIGPIPE, SIG_IGN)
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        let status = pthread_sigmask(SIG_BLOCK, &signals, nil)
        precondition(status == 0, "blocking signals needs no permission")
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        startThread(name: "signals") {
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGTERM)
            sigaddset(&signals, SIGINT)
            var number: CInt = 0
            while sigwait(&signals, &number) != 0 {}
            continuation.yield(number == SIGINT ? "SIGINT" : "SIGTERM")
            while sigwait(&signals, &number) != 0 {}
            // No cleaning up: whoever asks twice wants it over, and every file is good after a kill.
            _exit(impatientExitCode)
        }
        return stream
    }
}
