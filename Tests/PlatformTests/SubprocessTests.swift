import Foundation
import Glibc
import Platform
import Testing

@Suite(.serialized) struct SubprocessTests {
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
        let output = try Subprocess(
            "/bin/echo", ["$HOME; ls", "a  b"], timeLimit: .seconds(60)
        ).run()
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
        // By the shell itself, for which it opens the directory: a pipe would have descriptors, too.
        let list = try shell("for each in /proc/$$/fd/*; do echo ${each##*/}; done").output
        let numbers = String(decoding: list, as: UTF8.self).split(separator: "\n")
        #expect(Set(numbers).isSubset(of: ["0", "1", "2", "3"]))
        #expect(numbers.count >= 3)
        #expect(try shell("test -e /proc/$$/fd/\(descriptor)").exitCode == (descriptor < 3 ? 0 : 1))
    }

    @Test func aProgramThatDoesNotEndIsKilledWithItsChildren() throws {
        let scratch = try Scratch()
        let file = scratch.path + "/pid"
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try shell("sleep 1000 & echo $! > \(file); wait", timeLimit: .seconds(8))
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
        var process = Subprocess("/bin/sh", ["-c", "echo a; echo b >&2"], timeLimit: .seconds(60))
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

    @Test func whatHasDoneWhatMattersIsNotKilled() throws {
        let scratch = try Scratch()
        let file = scratch.path + "/pid"
        let slow = Subprocess(
            "/bin/sh", ["-c", "echo $$ > \(file); exec sleep 1000"], timeLimit: .milliseconds(50))
        var child: pid_t?
        let code = try slow.complete(unless: { _ in
            // It may not have come so far yet.
            for _ in 0..<6000 where child == nil {
                let text = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
                child = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines))
                usleep(10_000)
            }
            return true
        })
        #expect(code == nil)
        let left = try #require(child)
        #expect(Subprocess.goesOn(left))
        kill(left, SIGKILL)
        for _ in 0..<6000 where Subprocess.goesOn(left) { usleep(10_000) }
        #expect(!Subprocess.goesOn(left))
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try slow.complete(unless: { _ in false })
        }
        let quick = Subprocess("/bin/sh", ["-c", "exit 3"], timeLimit: .seconds(60))
        #expect(try quick.complete(unless: { _ in true }) == 3)
    }

    @Test(
        "what cannot be killed is left alone, and collected when it has ended after all",
        .enabled(if: StuckMount.isPossible, "needs root and /dev/fuse"), .timeLimit(.minutes(10)))
    func unkillable() async throws {
        let scratch = try Scratch()
        // Not where other tests look for mounts.
        let mount = try StuckMount(at: "/var/tmp/skos-stuck-\(getpid())")
        defer { mount.end() }
        let file = scratch.path + "/pid"
        let script = "echo $$ > \(file); exec stat -f \(mount.point)"
        Thread.detachNewThread { mount.take() }
        // It would never come back.
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try shell(script, timeLimit: .seconds(5))
        }
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let child = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        #expect(kill(child, 0) == 0)
        #expect(try shell("echo on").output == Array("on\n".utf8))
        mount.end()
        while kill(child, 0) == 0 {
            _ = try shell(":")
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    @Test("a program that closes its output and goes on is killed in time")
    func closesItsOutput() {
        #expect(throws: Subprocess.Failure.timedOut(program: "/bin/sh")) {
            try shell("exec >&-; exec sleep 1000", timeLimit: .seconds(1))
        }
    }

    @Test("started by somebody who ignores the end of children, exit codes are known all the same")
    func ignored() async {
        await #expect(processExitsWith: .exitCode(9)) {
            signal(SIGCHLD, SIG_IGN)
            let output = try Subprocess("/bin/sh", ["-c", "exit 9"], timeLimit: .seconds(60)).run()
            exit(output.exitCode)
        }
    }

    @Test("a child that somebody else has collected has not succeeded") func collected() async {
        await #expect(processExitsWith: .exitCode(7)) {
            let process = Subprocess("/bin/sh", ["-c", "exit 0"], timeLimit: .seconds(60))
            guard try process.run().exitCode == 0 else { exit(1) }
            signal(SIGCHLD, SIG_IGN)
            let lost = Subprocess.Failure.lost(program: "/bin/sh")
            do { _ = try process.run() } catch let error as Subprocess.Failure where error == lost {
                do { _ = try process.complete() } catch let error as Subprocess.Failure
                    where error == lost
                { exit(7) }
            }
            exit(2)
        }
    }
}
