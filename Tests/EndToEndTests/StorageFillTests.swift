import Foundation
import TestSupport
import Testing

/// Real file systems are filled by real writes; the agent, the coordinator and a real server do the rest.
@Suite(
    "A node whose disks fill up", .serialized,
    .enabled(if: Program.path != nil, "skos is not built"),
    .enabled(if: Volume.isPossible, "needs root and loop devices"))
struct StorageFillTests {
    /// Each in turn with another server.
    static let cases: [StorageSite.Case] = {
        var cases: [StorageSite.Case] = [
            .init(name: "ext4", kind: .ext4(megabytes: 64, inodes: nil)),
            .init(name: "tmpfs", kind: .tmpfs(megabytes: 64)),
            .init(
                name: "ext4 without inodes", kind: .ext4(megabytes: 64, inodes: 1000),
                isAboutInodes: true, fileBytes: 100),
        ]
        if Volume.hasBtrfs { cases.append(.init(name: "btrfs", kind: .btrfs(megabytes: 160))) }
        let servers = NATSServer.binaries
        for index in cases.indices where !servers.isEmpty {
            cases[index].natsServer = servers[index % servers.count]
        }
        return cases
    }()

    @Test(
        "is healed at each severity by its own action, and the audit tells the truth",
        .timeLimit(.minutes(15)), arguments: cases)
    func heals(_ item: StorageSite.Case) async throws {
        let human = try HTTPServer(.status(200))
        defer { human.close() }
        let site = try await StorageSite(item, webhook: human.url)
        try site.fill("kept", to: 70)
        try await site.start()
        let kept = try site.manifest(site.point + "/kept")

        try site.unseen { try site.fill("temp", to: 82) }
        try await site.wait(forOutcome: "cleanup_temp succeeded")
        try await site.waitResolved(1)
        #expect(site.used < 75)

        // So few logs that deleting them is not enough, so that the next rung has to follow.
        let data = try site.unseen {
            try site.fill("logs", to: 72, suffix: ".1")
            try site.fill("data", to: 92)
            return try site.manifest(site.point + "/data")
        }
        try await site.wait(forOutcome: "archive_old_data succeeded")
        try await site.waitResolved(2)
        #expect(site.used < 75)
        let restored = site.node.directory.path + "/restored"
        try site.unpack(into: restored)
        #expect(try site.manifest(restored) == data)
        #expect(ScratchTree.count(site.point + "/data") == 0)

        try site.unseen { try site.fill("temp", to: 96) }
        try await site.wait(forOutcome: "emergency_cleanup succeeded")
        try await site.waitResolved(3)
        #expect(site.used < 75)
        #expect(try site.manifest(site.point + "/kept") == kept)

        // Now what fills it may not be deleted by anybody but a human.
        let extra = site.point + "/extra"
        mkdir(extra, 0o755)
        try site.unseen {
            try FileManager.default.removeItem(atPath: site.point + "/temp")
            mkdir(site.point + "/temp", 0o755)
            try site.fill("extra", to: 96)
        }
        try await site.node.wait(for: "the call for a human") {
            try !site.changes("escalated").isEmpty && !human.requests.isEmpty
        }
        #expect(ScratchTree.count(extra) > 0)
        #expect(human.requests.first?.body.contains(site.point) == true)
        try FileManager.default.removeItem(atPath: extra)
        try await site.waitResolved(4)

        try check(site)
    }

    private func check(_ site: StorageSite) throws {
        let opened = try site.opened()
        #expect(
            opened.map { $0["severity"] as? String }
                == ["warning", "critical", "emergency", "emergency"])
        for alert in opened {
            #expect(alert["type"] as? String == "storage")
            #expect(alert["resource"] as? String == site.point)
            let details = alert["details"] as? [String: Any]
            #expect(details?["kind"] as? String == (site.item.isAboutInodes ? "inodes" : "space"))
        }
        // Named first, because a failed `try` within an expectation does not show its value.
        let dispatched = try site.dispatched()
        #expect(
            dispatched == [
                "cleanup_temp", "cleanup_logs", "archive_old_data", "emergency_cleanup",
                "emergency_cleanup",
            ])
        let outcomes = try site.outcomes()
        #expect(
            outcomes == [
                "cleanup_temp succeeded", "cleanup_logs succeeded", "archive_old_data succeeded",
                "emergency_cleanup succeeded", "emergency_cleanup permanent_failure",
            ])
        #expect(try site.changes("escalated").count == 1)
        #expect(try site.changes("resolved").count == 4)
        let verified = try site.node.run("audit", "verify")
        #expect(verified.code == 0, "\(verified.output)")
    }
}
