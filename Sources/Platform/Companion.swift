import CShim
package import Glibc
import Synchronization
import Threads

/// A program that runs beside this one and never outlives it: when this process ends, however that
/// happens, the kernel kills the program.
///
/// It has a process group of its own, so that Ctrl-C in a terminal does not reach it: it ends when we
/// say so.
package final class Companion: Sendable {
    /// How a program ended.
    package enum Ending: Sendable, Equatable, CustomStringConvertible {
        case exited(Int32)
        case killed(signal: Int32)

        package var description: String {
            switch self {
            case .exited(let code): "it exited with code \(code)"
            case .killed(let signal): "signal \(signal) ended it"
            }
        }
    }

    /// Bytes of a line that are kept; the rest of it is dropped.
    package static let lineLimit = 4096

    /// Reading lines needs little.
    private static let stackBytes = 256 * 1024

    private enum State {
        case starting
        case running(pid_t)
        case ended(Ending)
    }

    package let program: String
    private let state = Mutex(State.starting)

    private init(_ program: String) { self.program = program }

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - program: an absolute path.
    ///   - arguments: what follows the program's name.
    ///   - environment: all of its environment.
    ///   - line: is given each line that it prints, on standard output or error; on a thread of its own.
    ///   - ended: is told of its end, once, after the last line.
    /// - Returns: the running program.
    /// - Throws: `Subprocess.Failure.notStarted`.
    package static func start(
        _ program: String, _ arguments: [String], environment: [String: String],
        line: @escaping @Sendable (String) -> Void,
        ended: @escaping @Sendable (Ending) -> Void
    ) async throws(Subprocess.Failure) -> Companion {
        let companion = Companion(program)
        let code: Int32 = await withCheckedContinuation { continuation in
            // The kernel binds the program to the thread that starts it, so that thread stays: it reads
            // what the program prints, and waits for its end.
            let isStarted = startThread(name: "companion", stackBytes: Self.stackBytes) {
                companion.run(
                    arguments, environment, line, ended,
                    started: { continuation.resume(returning: $0) })
            }
            if !isStarted { continuation.resume(returning: EAGAIN) }
        }
        guard code == 0 else { throw .notStarted(program: program, errno: code) }
        return companion
    }

    /// The number of the process; `nil` when it has ended.
    package var processID: pid_t? {
        state.withLock { if case .running(let process) = $0 { process } else { nil } }
    }

    /// How it ended; `nil` while it runs.
    package var ending: Ending? {
        state.withLock { if case .ended(let ending) = $0 { ending } else { nil } }
    }

    /// Sends a signal, unless the program has ended. Never hits another process: the number is only
    /// given up to the system under the same lock.
    package func signal(_ number: Int32) {
        state.withLock { state in
            if case .running(let process) = state { kill(process, number) }
        }
    }

    // MARK: The thread

    private func run(
        _ arguments: [String], _ environment: [String: String], _ line: (String) -> Void,
        _ ended: (Ending) -> Void, started: (Int32) -> Void
    ) {
        var output: Int32 = -1
        let process = spawn(arguments, environment, &output)
        guard process > 0 else { return started(errno) }
        defer { close(output) }
        state.withLock { $0 = .running(process) }
        started(0)
        readLines(output, line)
        ended(reap(process))
    }

    private func spawn(
        _ arguments: [String], _ environment: [String: String], _ output: inout Int32
    ) -> pid_t {
        var vector: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
        vector.append(nil)
        var variables: [UnsafeMutablePointer<CChar>?] = environment.sorted { $0.key < $1.key }
            .map { strdup("\($0.key)=\($0.value)") }
        variables.append(nil)
        defer { for pointer in vector + variables { free(pointer) } }
        return skos_spawn_bound(program, &vector, &variables, &output)
    }

    private func readLines(_ descriptor: Int32, _ line: (String) -> Void) {
        var current: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let got = read(descriptor, &chunk, chunk.count)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else { break }
            for byte in chunk[..<got] {
                if byte == UInt8(ascii: "\n") {
                    line(String(decoding: current, as: UTF8.self))
                    current.removeAll(keepingCapacity: true)
                } else if current.count < Self.lineLimit {
                    current.append(byte)
                }
            }
        }
        if !current.isEmpty { line(String(decoding: current, as: UTF8.self)) }
    }

    private func reap(_ process: pid_t) -> Ending {
        // Waits without giving the number up, so that `signal` cannot hit who gets it next.
        var information = siginfo_t()
        while waitid(P_PID, id_t(process), &information, WEXITED | WNOWAIT) != 0 && errno == EINTR {
        }
        return state.withLock { state in
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0 && errno == EINTR {}
            let signal = status & 0x7F
            let ending: Ending =
                signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
            state = .ended(ending)
            return ending
        }
    }
}
