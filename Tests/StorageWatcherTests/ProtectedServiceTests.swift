import Antibody
import Glibc
import Platform
import Protocol
import Settings
import TestSupport
import Testing

@testable import StorageWatcher

/// A thread that sees the mounts of its node as systemd shows them to a service with
/// `ProtectSystem=strict`.
enum ProtectedService {
    /// Whether this process may have mounts of its own, and sees those of the node now.
    static let isPossible: Bool = {
        guard Volume.isPossible, let own = try? MountTable.readOwn() else { return false }
        return (try? HostFiles(root: HostRoot()).readAll("/proc/1/mountinfo", limit: 1 << 24))
            == own
    }()

    /// Runs `body` where the root and a mount are read-only. Other tests' mounts are left alone: they may be
    /// gone at any moment.
    static func run<T: Sendable>(
        _ point: String, _ body: @escaping @Sendable () throws -> T
    ) throws -> T {
        let result = TimedWorker().runBlocking(limit: .seconds(60)) {
            Result<T, any Error> {
                try enter(point)
                return try body()
            }
        }
        return try #require(result).get()
    }

    private static func enter(_ point: String) throws {
        // <sched.h> shows unshare only with _GNU_SOURCE, which Swift's import does not set.
        typealias Unshare = @convention(c) (Int32) -> Int32
        guard let symbol = dlsym(nil, "unshare"),
            unsafeBitCast(symbol, to: Unshare.self)(0x0002_0000) == 0
        else { throw Volume.Failure(description: "unshare: \(errno)") }
        try Volume.run("/usr/bin/mount", ["--make-rprivate", "/"])
        for name in ["/", point] {
            try Volume.run("/usr/bin/mount", ["-o", "remount,bind,ro", name])
        }
    }
}

@Suite struct ProtectedServiceTests {
    @Test(
        "a full disk is one also to a service that sees everything read-only",
        .enabled(if: ProtectedService.isPossible, "needs root and the mounts of the node"))
    func protected() throws {
        let volume = try Volume(.tmpfs(megabytes: 4))
        try ScratchTree.write(volume.point + "/fill", bytes: 4_050_000)
        let point = volume.point
        let (own, symptom) = try ProtectedService.run(point) { () -> ([MountEntry], Symptom?) in
            let own = MountTable.parse(try MountTable.readOwn())
            let source = StorageScanner.Source(HostRoot())
            var selector = MountSelector(include: [point], exclude: [])
            let chosen = selector.select(MountTable.parse(try source.table().get()))
            let observations = chosen.map { choice in
                MountObservation(
                    mount: choice.mount, answer: source.ask(choice.mount), isLocked: choice.isLocked
                )
            }
            var judge = StorageJudge(Config())
            let symptoms = judge.observe(observations, at: .later(0))
            return (own, symptoms.first { $0.type == "storage" })
        }
        #expect(own.filter { ["/", point].contains($0.name) }.map(\.isReadOnly) == [true, true])
        #expect(symptom?.severity == .emergency && symptom?.resource == point)
    }
}
