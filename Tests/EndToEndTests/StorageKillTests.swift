import Foundation
import TestSupport
import Testing

/// The agent is killed in the middle of what it does to real files.
@Suite(
    "A storage agent that is killed", .serialized,
    .enabled(if: Program.path != nil, "skos is not built"),
    .enabled(if: Volume.isPossible, "needs root and loop devices"))
struct StorageKillTests {
    private static let ext4 = StorageSite.Case(
        name: "ext4", kind: .ext4(megabytes: 64, inodes: 40_000), isAboutInodes: true,
        fileBytes: 0)

    /// Free inodes; asking costs microseconds.
    private func freeInodes(_ site: StorageSite) -> UInt64 {
        var status = statvfs()
        return statvfs(site.point, &status) == 0 ? UInt64(status.f_ffree) : 0
    }

    /// Kills the agent as soon as something is so; looks much more often than the agent acts.
    private func killAgent(
        _ site: StorageSite, when what: String, _ condition: () throws -> Bool
    ) throws {
        let deadline = ContinuousClock.now + .seconds(180)
        while try !condition() {
            try #require(
                ContinuousClock.now < deadline,
                "never happened: \(what)\n\((try? site.story()) ?? "")")
            usleep(200)
        }
        try site.killAgent()
    }

    /// On a busy machine the kill may come too late to show anything; then all is done once more.
    private func untilHit(_ scenario: () async throws -> Bool) async throws {
        for _ in 0..<5 where try await scenario() { return }
        Issue.record("each time the agent was killed too late")
    }

    @Test("in the middle of a cleanup: nothing else is lost, and the next start goes on")
    func cleanup() async throws { try await untilHit { try await killedCleanup() } }

    private func killedCleanup() async throws -> Bool {
        // Far apart, so that it is the same alert before and after, however much was deleted.
        let site = try await StorageSite(
            Self.ext4, levels: "thresholds: {warning: 30, critical: 97, emergency: 98}",
            ages: "1h", logs: false)
        let temp = site.point + "/temp"
        var old: [String] = []
        for index in 0..<34_000 {
            if index % 500 == 0 { mkdir("\(temp)/\(index / 500)", 0o755) }
            old.append("\(temp)/\(index / 500)/\(index)")
            try ScratchTree.write(old[index], bytes: 0)
        }
        for index in 0..<50 {
            old.append("\(site.point)/kept/\(index)")
            try ScratchTree.write(old[old.count - 1], bytes: 100)
        }
        try site.volume.age(old)
        // Young ones among the old, and ways out of the root.
        for index in 0..<68 {
            for young in 0..<10 { try ScratchTree.write("\(temp)/\(index)/y\(young)", bytes: 20) }
        }
        symlink("\(site.point)/kept", "\(temp)/0/link")
        link("\(site.point)/kept/0", "\(temp)/1/second")
        let kept = try site.manifest(site.point + "/kept")
        let before = freeInodes(site)
        try site.launch()
        try killAgent(site, when: "the first thousand is deleted") {
            freeInodes(site) > before + 1000
        }
        // Below the threshold the next start has nothing to go on with.
        guard site.used > 35, try site.outcomes().isEmpty else { return false }

        try site.startAgent()
        try await site.wait(forOutcome: "cleanup_temp succeeded")
        try await site.waitResolved(1)
        // All that is left is young, or has another name.
        #expect(ScratchTree.count(temp) == 680 + 1)
        #expect(try site.manifest(site.point + "/kept") == kept)
        #expect(try site.dispatched() == ["cleanup_temp", "cleanup_temp"])
        #expect(
            try site.outcomes() == ["cleanup_temp transient_failure", "cleanup_temp succeeded"])
        try check(site)
        return true
    }

    /// When the agent is killed, by what there is of its archive then.
    enum Moment: String, CaseIterable, Sendable { case packing, verifying, named, deleting }

    @Test(
        "in the middle of archiving: each file is in its place, in an archive, or in both",
        arguments: Moment.allCases)
    func archive(_ moment: Moment) async throws {
        try await untilHit { try await killedArchiving(moment) }
    }

    private func killedArchiving(_ moment: Moment) async throws -> Bool {
        var item = Self.ext4
        (item.isAboutInodes, item.fileBytes) = (false, 4096)
        let levels = """
            thresholds: {warning: 74, critical: 75, emergency: 99}
              clear: {warning: 72, critical: 73, emergency: 98}
            """
        let site = try await StorageSite(item, levels: levels, logs: false)
        try site.fill("kept", to: 70)
        try site.fill("data", to: 92)
        let expected = try site.manifest(site.point + "/data")
        let before = freeInodes(site)
        try site.launch()
        try killAgent(site, when: "\(moment)") {
            let names = try FileManager.default.contentsOfDirectory(atPath: site.archives.point)
            // All but done: it is too late.
            if freeInodes(site) > before + 2000 { return true }
            return switch moment {
            case .packing: names.contains { $0.hasSuffix(".partial") }
            case .verifying: names.contains { $0.hasSuffix(".copy") }
            case .named: names.contains { $0.hasSuffix(".tar.zst") }
            case .deleting: freeInodes(site) > before + 100
            }
        }
        guard try site.outcomes().allSatisfy({ !$0.hasPrefix("archive_old_data") }),
            site.used > 77
        else { return false }
        let union = site.node.directory.path + "/union"
        try site.unpack(into: union)
        try Volume.run("/bin/cp", ["-a", site.point + "/data/.", union])
        #expect(try site.manifest(union) == expected)

        try site.startAgent()
        try await site.wait(forOutcome: "archive_old_data succeeded")
        try await site.waitResolved(1)
        #expect(site.used < 72 && ScratchTree.count(site.point + "/data") == 0)
        let restored = site.node.directory.path + "/restored"
        try site.unpack(into: restored)
        #expect(try site.manifest(restored) == expected)
        let left = try FileManager.default.contentsOfDirectory(atPath: site.archives.point)
        #expect(left.allSatisfy { $0.hasSuffix(".tar.zst") }, "\(left)")
        let archiving = try site.outcomes().filter { $0.hasPrefix("archive_old_data") }
        #expect(
            archiving == ["archive_old_data transient_failure", "archive_old_data succeeded"])
        try check(site)
        return true
    }

    private func check(_ site: StorageSite) throws {
        let verified = try site.node.run("audit", "verify")
        #expect(verified.code == 0, "\(verified.output)")
        // A journal that does not make sense would stop all acting, and be said here.
        let nodes = try site.node.run("nodes").output
        #expect(!nodes.contains("journal"), "\(nodes)")
    }
}
