import Antibody
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import TestSupport
import Testing

@testable import StorageWatcher

/// A FUSE file system whose server never says a word.
final class DeadMount: Sendable {
    let point: String
    private let server: Mutex<Int32?>

    init() throws {
        var template = Array("/tmp/skos-dead-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Volume.Failure(description: "mkdtemp") }
        point = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
        let descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        server = Mutex(descriptor)
        guard descriptor >= 0 else { throw Volume.Failure(description: "/dev/fuse: \(errno)") }
        typealias Mount =
            @convention(c) (
                UnsafePointer<CChar>?, UnsafePointer<CChar>?, UnsafePointer<CChar>?, UInt,
                UnsafeRawPointer?
            ) -> Int32
        // <sys/mount.h> is not part of Swift's Glibc module.
        guard let symbol = dlsym(nil, "mount") else {
            throw Volume.Failure(description: "no mount")
        }
        let options = "fd=\(descriptor),rootmode=40000,user_id=0,group_id=0"
        let code = unsafeBitCast(symbol, to: Mount.self)(
            "nobody", point, "fuse.dead", 0, options)
        guard code == 0 else { throw Volume.Failure(description: "mount: \(errno)") }
    }

    deinit { end() }

    /// Ends the server, so that whoever waits for it gets an error.
    func endServer() {
        if let descriptor = server.withLock({ $0.take() }) { _ = close(descriptor) }
    }

    /// Takes the mount away as well.
    func end() {
        endServer()
        try? Volume.run("/usr/bin/umount", ["-l", point])
        rmdir(point)
    }

    static let isPossible = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0
}

@Suite(.serialized) struct DeadMountTests {
    private func state(_ sample: Sample, _ point: String) -> String? {
        let mounts = sample.metadata["mounts"]?.array?.compactMap(\.object) ?? []
        let entry = mounts.first { $0["mount"]?.string == point }
        return entry.map { $0["state"]?.string ?? "ok" }
    }

    @Test(
        "a dead FUSE mount is reported, stops nothing, and is well again when it is gone",
        .enabled(if: DeadMount.isPossible && Volume.isPossible, "needs root and /dev/fuse"))
    func dead() async throws {
        let dead = try DeadMount()
        let healthy = try Volume(.tmpfs(megabytes: 4))
        let node = try CleanedNode()
        let module = node.module(watching: "/tmp", readLimit: .seconds(3))
        let first = await module.sample(at: .later(0))
        #expect(state(first, dead.point) == "hung" && state(first, healthy.point) == "ok")
        #expect(
            first.symptoms.first { $0.type == "storage_hung" && $0.resource == dead.point } == nil)
        let second = await module.sample(at: .later(5))
        let hung = second.symptoms.first { $0.type == "storage_hung" && $0.resource == dead.point }
        #expect(hung?.severity == .warning)
        #expect(second.metadata["reads_hung"]?.integer == 1)
        #expect(
            second.symptoms.contains { $0.type == "storage" && $0.resource == healthy.point })
        dead.endServer()
        var ended = await module.sample(at: .later(10))
        while state(ended, dead.point) == "hung" {
            try await Task.sleep(for: .milliseconds(20))
            ended = await module.sample(at: .later(15))
        }
        #expect(state(ended, dead.point) == "dead")
        dead.end()
        let gone = await module.sample(at: .later(20)).symptoms
        let last = gone.first { $0.type == "storage_hung" && $0.resource == dead.point }
        #expect(last?.severity == .ok)
    }

    @Test("five hundred mounts of which many hang are read in time, and by few threads")
    func many() async throws {
        let lines = (0..<500).map { index in
            let isRemote = index % 50 == 0
            return Mounts.line(
                index, "\(isRemote ? 0 : 8):\(index)", "/mnt/\(index)", isRemote ? "nfs4" : "ext4")
        }
        let text = Array(lines.joined().utf8)
        let scanner = StorageScanner(
            source: StorageScanner.Source(
                table: { .success(text) },
                ask: { mount in
                    if mount.type == "nfs4" { while true { sleep(1000) } }
                    return .usage(.percent(10))
                }),
            settings: Config.Storage(), readLimit: .seconds(3))
        for look in 0..<4 {
            let observations = try await scanner.scan()
            let counts = Dictionary(grouping: observations, by: \.state).mapValues(\.count)
            let hung = look == 0 ? 3 : 4
            #expect(counts == ["ok": 490, "hung": hung, "unread": 10 - hung], "look \(look)")
        }
        #expect(scanner.hungCount == 4)
    }

    @Test(
        "a root on a dead mount keeps neither the actions nor doctor from being told",
        .enabled(if: DeadMount.isPossible, "needs root and /dev/fuse"))
    func deadRoot() throws {
        let dead = try DeadMount()
        var node = try CleanedNode()
        node.config.local.cleanupTemp.roots = [dead.point + "/temp"]
        let module = node.module(watching: "/nowhere")
        #expect(module.verbs().count == 4)
        #expect(!module.withheld(node.config).contains("cleanup_temp"))
        let roots = module.cleaningRoots()
        #expect(roots.first?.obstacle?.contains("does not answer") == true)
        #expect(roots.last?.obstacle == nil)
        dead.end()
    }

    /// What a mount answers whose server, disk or process is gone, and what any may answer.
    @Test(
        arguments: [
            (ENOTCONN, "dead"), (ESTALE, "dead"), (EHOSTDOWN, "dead"), (EIO, "dead"),
            (ETIMEDOUT, "dead"), (ECONNREFUSED, "dead"), (ECONNABORTED, "dead"),
            (ENODEV, "dead"), (ESHUTDOWN, "dead"), (EACCES, "failed"), (EINTR, "failed"),
            (ENOMEM, "failed"),
        ] as [(Int32, String)])
    func answers(_ row: (errno: Int32, state: String)) {
        let answer = StorageScanner.answer(FileFailure(.read, "/mnt", errno: row.errno))
        let observation = MountObservation(mount: Mounts.entry("/mnt"), answer: answer)
        #expect(observation.state == row.state)
        var judge = StorageJudge(Config())
        _ = judge.observe([observation], at: .later(0))
        let second = judge.observe([observation], at: .later(5))
        #expect(second.contains { $0.type == "storage_hung" } == (row.state == "dead"))
    }

    @Test("a list of mounts that makes no sense is not taken for an empty one") func senseless()
        async
    {
        let scanner = StorageScanner(
            source: StorageScanner.Source(
                table: { .success(Array("nonsense\n".utf8)) }, ask: { _ in .hidden }),
            settings: Config.Storage())
        await #expect(throws: FileFailure.self) { try await scanner.scan() }
    }
}
