import Antibody
import Glibc
import Platform
import Protocol
import Settings
import TestSupport
import Testing

@testable import StorageWatcher

/// Real file systems that are really filled.
@Suite(.serialized, .enabled(if: Volume.isPossible, "needs root and loop devices"))
struct VolumeTests {
    /// What is filled, and what it runs out of.
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var kind: Volume.Kind
        var isAboutInodes = false
        var fileBytes = 64 * 1024
        var testDescription: String { name }
    }

    static let cases =
        [
            Case(name: "ext4", kind: .ext4(megabytes: 64, inodes: nil)),
            Case(name: "tmpfs", kind: .tmpfs(megabytes: 32)),
            Case(
                name: "ext4 without inodes", kind: .ext4(megabytes: 64, inodes: 600),
                isAboutInodes: true, fileBytes: 1),
        ] + (Volume.hasBtrfs ? [Case(name: "btrfs", kind: .btrfs(megabytes: 160))] : [])

    private func used(_ point: String, _ item: Case) throws -> Double {
        let descriptor = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(descriptor) }
        let usage = try FileSystemUsage(descriptor: descriptor)
        return (item.isAboutInodes ? usage.inodesUsedPercent : usage.usedPercent) ?? 0
    }

    /// Writes files into a directory until the file system is as full as said.
    private func fill(
        _ point: String, _ directory: String, to percent: Double, _ item: Case,
        _ count: inout Int
    ) throws {
        while try used(point, item) < percent {
            for _ in 0..<4 {
                count += 1
                try ScratchTree.write("\(point)/\(directory)/\(count)", bytes: item.fileBytes)
            }
            if count % 32 == 0, case .btrfs = item.kind { sync(point) }
        }
    }

    /// btrfs counts what was written only when it writes back.
    private func sync(_ point: String) {
        try? Volume.run("/bin/sync", ["-f", point])
    }

    private func severity(_ module: StorageModule, _ point: String, at second: Double) async
        -> Symptom?
    {
        await module.sample(at: .later(second)).symptoms.first {
            $0.type == "storage" && $0.resource == point
        }
    }

    @Test("is filled, noticed, and cleaned until it is well again", arguments: cases)
    func heals(_ item: Case) async throws {
        let volume = try Volume(item.kind)
        let point = volume.point
        for name in ["temp", "logs", "kept"] { mkdir(point + "/" + name, 0o755) }
        var node = try CleanedNode()
        node.allow(point)
        let module = node.module(watching: point)
        let verbs = Dictionary(uniqueKeysWithValues: module.verbs().map { ($0.name, $0) })
        let call = VerbCall(parameters: ["resource": .string(point)])
        var count = 0
        #expect(await severity(module, point, at: 0)?.severity == .ok)

        try fill(point, "kept", to: 70, item, &count)
        try fill(point, "temp", to: 82, item, &count)
        var symptom = await severity(module, point, at: 5)
        #expect(symptom?.severity == .warning)
        #expect(symptom?.details["kind"]?.string == (item.isAboutInodes ? "inodes" : "space"))
        let temp = try #require(verbs["cleanup_temp"])
        let cleaned = try temp.execute(try temp.plan(call))
        #expect((cleaned["files"]?.integer ?? 0) > 0)
        sync(point)
        #expect(await severity(module, point, at: 10)?.severity == .ok)

        try fill(point, "temp", to: 91, item, &count)
        #expect(await severity(module, point, at: 15)?.severity == .critical)
        try fill(point, "temp", to: 96, item, &count)
        symptom = await severity(module, point, at: 20)
        #expect(symptom?.severity == .emergency && symptom?.threshold == 95)
        let emergency = try #require(verbs["emergency_cleanup"])
        let before = ScratchTree.count(point + "/temp")
        let result = try emergency.execute(try emergency.plan(call))
        #expect(result["reached"]?.bool == true)
        let left = ScratchTree.count(point + "/temp")
        // It stops as soon as all is well: there is more that it could have deleted.
        #expect(left > 0 && left < before)
        sync(point)
        #expect(try used(point, item) < 75)
        #expect(try used(point, item) > 60)
        #expect(await severity(module, point, at: 25)?.severity == .ok)
        _ = try temp.execute(try temp.plan(call))
        sync(point)
        #expect(await severity(module, point, at: 30)?.severity == .ok)
        let kept = ScratchTree.count(point + "/kept")
        #expect(kept > 0)
    }

    @Test("a file system that becomes read-only is noticed") func readOnly() async throws {
        let volume = try Volume(.ext4(megabytes: 16, inodes: nil))
        let node = try CleanedNode()
        let module = node.module(watching: volume.point)
        _ = await module.sample(at: .later(0))
        try volume.remount("remount,ro")
        let symptoms = await module.sample(at: .later(5)).symptoms
        let found = symptoms.first { $0.type == "storage_readonly" }
        #expect(found?.severity == .critical && found?.resource == volume.point)
        try volume.remount("remount,rw")
        let again = await module.sample(at: .later(10)).symptoms
        #expect(again.first { $0.type == "storage_readonly" }?.severity == .ok)
    }

    @Test(
        "a file system that the kernel locks after an error is noticed",
        .enabled(if: access("/sys/fs/ext4", F_OK) == 0, "needs the kernel's ext4"))
    func failed() async throws {
        let volume = try Volume(.ext4(megabytes: 16, inodes: nil))
        try volume.remount("remount,errors=remount-ro")
        let module = try CleanedNode().module(watching: volume.point)
        _ = await module.sample(at: .later(0))
        let mount = try #require(
            MountTable.parse(try MountTable.readOwn()).last { $0.name == volume.point })
        let device = mount.source.split(separator: "/").last ?? ""
        let trigger = open("/sys/fs/ext4/\(device)/trigger_fs_error", O_WRONLY | O_CLOEXEC)
        #expect(write(trigger, "a test", 6) == 6)
        close(trigger)
        #expect(mkdir(volume.point + "/new", 0o755) != 0)
        let symptoms = await module.sample(at: .later(5)).symptoms
        let found = symptoms.first { $0.type == "storage_readonly" }
        #expect(found?.severity == .critical && found?.resource == volume.point)
    }

    @Test("a file system that fills while it is cleaned does not keep the walk for ever")
    func racing() async throws {
        let volume = try Volume(.tmpfs(megabytes: 8))
        for name in ["temp", "logs"] { mkdir(volume.point + "/" + name, 0o755) }
        var node = try CleanedNode(budget: .seconds(20))
        node.allow(volume.point)
        let verbs = node.module(watching: volume.point).verbs()
        let emergency = try #require(verbs.first { $0.name == "emergency_cleanup" })
        let point = volume.point
        let writer = Task.detached {
            var count = 0
            while !Task.isCancelled {
                count += 1
                try? ScratchTree.write("\(point)/temp/\(count)", bytes: 4096)
            }
        }
        while try used(point, Self.cases[1]) < 96 { try await Task.sleep(for: .milliseconds(10)) }
        let call = VerbCall(parameters: ["resource": .string(point)])
        let result = try emergency.execute(try emergency.plan(call))
        writer.cancel()
        await writer.value
        #expect((result["files"]?.integer ?? 0) > 0)
    }
}
