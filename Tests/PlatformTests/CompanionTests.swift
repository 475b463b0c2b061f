import Foundation
import Glibc
import Synchronization
import Testing

@testable import Platform

@Suite struct CompanionTests {
    private final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
        var all: [String] { lines.withLock { $0 } }
    }

    /// Runs a shell to its end.
    private func run(
        _ script: String, environment: [String: String] = [:], then: (Companion) -> Void = { _ in }
    ) async throws -> (ending: Companion.Ending, lines: [String]) {
        let lines = Lines()
        let (endings, continuation) = AsyncStream.makeStream(of: Companion.Ending.self)
        let companion = try await Companion.start(
            "/bin/sh", ["-c", script], environment: environment, line: { lines.add($0) },
            ended: { continuation.yield($0) })
        then(companion)
        for await ending in endings {
            #expect(companion.processID == nil)
            #expect(companion.ending == ending)
            // Somebody else may have the number by now.
            companion.signal(SIGKILL)
            return (ending, lines.all)
        }
        throw CancellationError()
    }

    @Test("tells lines, and how it ended")
    func ending() async throws {
        let (ending, lines) = try await run(
            "echo one; echo two >&2; printf three; exit 3", environment: ["A": "b"])
        #expect(ending == .exited(3))
        #expect(lines == ["one", "two", "three"])
    }

    @Test("has the environment it is given and no other")
    func environment() async throws {
        let (_, lines) = try await run("/usr/bin/env | /usr/bin/sort", environment: ["A": "b c"])
        #expect(lines.contains("A=b c"))
        #expect(!lines.contains { $0.hasPrefix("HOME=") })
    }

    @Test("dies of signals that this process blocks or ignores")
    func signals() async throws {
        signal(SIGPIPE, SIG_IGN)
        let (ending, _) = try await run("while :; do sleep 0.01; done") { $0.signal(SIGTERM) }
        #expect(ending == .killed(signal: SIGTERM))
        let (broken, _) = try await run("kill -PIPE $$; sleep 60")
        #expect(broken == .killed(signal: SIGPIPE))
    }

    @Test("has nothing open but its input and output, and a process group of its own")
    func isolation() async throws {
        let leak = open("/dev/null", O_RDONLY)
        defer { close(leak) }
        let (_, lines) = try await run(
            "ls /proc/$$/fd; readlink /proc/$$/fd/0; cut -d' ' -f1,5 /proc/$$/stat")
        #expect(lines.prefix(3) == ["0", "1", "2"])
        #expect(lines[3] == "/dev/null")
        let numbers = lines[4].split(separator: " ")
        #expect(numbers[0] == numbers[1])
    }

    @Test("a line without end is cut")
    func longLine() async throws {
        let (_, lines) = try await run("head -c 20000 /dev/zero | tr '\\0' x; echo; echo end")
        #expect(lines.map(\.count) == [Companion.lineLimit, 3])
    }

    @Test("what cannot be started says why")
    func missing() async throws {
        await #expect(throws: Subprocess.Failure.notStarted(program: "/nonexistent", errno: ENOENT))
        {
            try await Companion.start(
                "/nonexistent", [], environment: [:], line: { _ in }, ended: { _ in })
        }
        await #expect(throws: Subprocess.Failure.notStarted(program: "/etc/passwd", errno: EACCES))
        {
            try await Companion.start(
                "/etc/passwd", [], environment: [:], line: { _ in }, ended: { _ in })
        }
    }
}
