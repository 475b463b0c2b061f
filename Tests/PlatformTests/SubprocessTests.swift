import Foundation
import Glibc
import Platform
import Testing

@Suite struct SubprocessTests {
    private func shell(
        _ script: String, timeLimit: Duration = .seconds(20), outputLimit: Int = 1000
    ) throws -> Subprocess.Output {
        try Subprocess(
            "/bin/sh", ["-c", script], timeLimit: timeLimit, outputLimit: outputLimit
        ).run()
    }

    @Test func outputAndExitCode() throws {
        let output = try shell("echo hello; echo secret >&2; exit 9")
        #expect(output == .init(exitCode: 9, output: Array("hello\n".utf8)))
        #expect(try shell("kill -TERM $$").exitCode == 128 + 15)
    }

    @Test func argumentsAreNotInterpreted() throws {
        let output = try Subprocess("/bin/echo", ["$HOME; ls", "a  b"]).run()
        #expect(output.output == Array("$HOME; ls a  b\n".utf8))
    }

    @Test func theEnvironmentIsItsOwn() throws {
        setenv("SKOS_TEST_SECRET", "x", 1)
        defer { unsetenv("SKOS_TEST_SECRET") }
        let output = try shell("echo $SKOS_TEST_SECRET-$LC_ALL")
        #expect(output.output == Array("-C\n".utf8))
    }

    @Test func descriptorsAreNotInherited() throws {
        let descriptor = open("/dev/null", O_RDONLY)
        defer { close(descriptor) }
        #expect(try shell("ls /proc/$$/fd | tr '\\n' ' '").output.count < 10)
        #expect(try shell("test -e /proc/$$/fd/\(descriptor)").exitCode == (descriptor < 3 ? 0 : 1))
    }

    @Test func aProgramThatDoesNotEndIsKilledWithItsChildren() throws {
        let scratch = try Scratch()
        let file = scratch.path + "/pid"
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try shell("sleep 1000 & echo $! > \(file); wait", timeLimit: .seconds(2))
        }
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let child = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        // The grandchild was killed as well; it is gone or waits for init to collect it.
        // On a busy machine the kernel may take a moment to end it.
        var isGone = false
        for _ in 0..<1000 where !isGone {
            let state = try? String(contentsOfFile: "/proc/\(child)/stat", encoding: .utf8)
            isGone = state.map { $0.contains(") Z") || $0.contains(") X") } ?? true
            if !isGone { usleep(10_000) }
        }
        #expect(isGone)
    }

    @Test func aProgramThatPrintsTooMuchIsKilled() {
        #expect(throws: Subprocess.Failure.tooMuchOutput(program: "/bin/sh")) {
            try shell("yes")
        }
    }

    @Test func aProgramThatIsNotThere() {
        #expect(throws: Subprocess.Failure.notStarted(program: "/none", errno: ENOENT)) {
            try Subprocess("/none", []).run()
        }
    }

    @Test func errorsAreKeptWhereTheyAreWanted() throws {
        var process = Subprocess("/bin/sh", ["-c", "echo a; echo b >&2"], timeLimit: .seconds(20))
        process.keepsErrors = true
        #expect(try process.run().output == Array("a\nb\n".utf8))
    }

    @Test func whatACompletedProgramLeavesBehindLivesOn() throws {
        let scratch = try Scratch()
        let file = scratch.path + "/pid"
        let script = "sleep 1000 & echo $! > \(file); echo x; yes | head -n 100000; exit 4"
        let process = Subprocess("/bin/sh", ["-c", script], timeLimit: .seconds(60))
        #expect(try process.complete() == 4)
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let child = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        defer { kill(child, SIGKILL) }
        #expect(kill(child, 0) == 0)
        let hanging = Subprocess("/bin/sh", ["-c", "sleep 1000"], timeLimit: .milliseconds(50))
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try hanging.complete()
        }
    }
}
