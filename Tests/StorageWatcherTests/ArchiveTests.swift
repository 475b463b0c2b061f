import Antibody
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import TestSupport
import Testing

@testable import StorageWatcher

@Suite(.serialized, .enabled(if: Volume.isPossible, "needs root, for another file system"))
struct ArchiveTests {
    /// A tree with files to archive, and a file system to put them on.
    struct Site {
        let node: CleanedNode
        let volume: Volume
        let verb: ArchiveVerb
        var root: String { node.tree.path + "/data" }

        init(
            megabytes: Int = 64,
            interrupt: @escaping @Sendable (Archiver.Step) -> Bool = { _ in false }
        ) throws {
            var node = try CleanedNode(
                tools: CleaningTools.find(HostRoot()), budget: .seconds(600))
            volume = try Volume(.tmpfs(megabytes: megabytes))
            node.tree.directory("data/deep/er")
            node.config.local.archive.roots = [node.tree.path + "/data"]
            node.config.local.archive.minAge = .zero
            node.config.local.archive.destination = volume.point
            self.node = node
            let config = node.config
            var verb = ArchiveVerb(node.cleaner) { config }
            verb.isInterrupted = interrupt
            self.verb = verb
        }

        func fill() throws {
            for (index, name) in [
                "a", "deep/b", "deep/er/c d", "deep/er/new\nline", "-dash", "deep/:colon",
            ].enumerated() {
                try node.tree.file("data/" + name, bytes: 100_000 * index + 7)
            }
            chmod(node.tree.path + "/data/a", 0o640)
        }

        func execute() throws -> JSON.Object {
            try verb.execute(try verb.plan(VerbCall(parameters: [:])))
        }

        /// Names in the destination.
        var archives: [String] {
            ((try? HostFiles(root: HostRoot()).names(in: volume.point)) ?? []).sorted()
        }

        /// Unpacks all archives over one another into a directory, as a person would.
        func restore(into name: String) throws -> String {
            let target = node.tree.directory(name)
            for archive in archives where archive.hasSuffix(".tar.zst") {
                try Volume.run(
                    "/usr/bin/tar",
                    ["--force-local", "-xf", volume.point + "/" + archive, "-C", target])
            }
            return target
        }
    }

    @Test("moves old files into an archive that restores bit for bit") func restores() throws {
        let site = try Site()
        try site.fill()
        try Volume.run("/bin/cp", ["-a", site.root, site.node.tree.path + "/expected"])
        let result = try site.execute()
        #expect(result["files"]?.integer == 6 && result["complete"]?.bool == true)
        #expect(ScratchTree.count(site.root) == 0)
        #expect(site.archives.count == 1 && result["archives"]?.array?.count == 1)
        let restored = try site.restore(into: "restored")
        try Volume.run("/usr/bin/diff", ["-r", site.node.tree.path + "/expected", restored])
        var status = stat()
        #expect(stat(restored + "/a", &status) == 0 && status.st_mode & 0o777 == 0o640)
        #expect(stat(site.volume.point + "/" + site.archives[0], &status) == 0)
        #expect(status.st_mode & 0o077 == 0)
    }

    @Test("goes on slice after slice while there is time") func slices() throws {
        let site = try Site()
        for index in 0...Archiver.sliceFiles {
            try ScratchTree.write("\(site.root)/\(index)", bytes: 1)
        }
        let result = try site.execute()
        let story = Comment(rawValue: "\(result)")
        #expect(result["files"]?.integer == Int64(Archiver.sliceFiles + 1), story)
        #expect(result["complete"]?.bool == true, story)
        #expect(site.archives.count == 2 && ScratchTree.count(site.root) == 0)
    }

    @Test("what another node has not finished in the same place is left alone")
    func shared() throws {
        let site = try Site()
        try site.fill()
        let other = ".skos-archive-other.1-1.partial"
        for name in [other, ".skos-archive-localhost.1-1.partial"] {
            try ScratchTree.write("\(site.volume.point)/\(name)", bytes: 1)
        }
        _ = try site.execute()
        #expect(site.archives.count == 2 && site.archives.contains(other))
        #expect(site.archives.contains { $0.hasPrefix("skos-localhost-") })
    }

    @Test(
        "interrupted anywhere it loses nothing, and the next run tidies up",
        arguments: Archiver.Step.allCases)
    func interrupted(_ step: Archiver.Step) throws {
        let site = try Site(interrupt: { $0 == step })
        try site.fill()
        try Volume.run("/bin/cp", ["-a", site.root, site.node.tree.path + "/expected"])
        #expect(throws: VerbFailure.self) { try site.execute() }
        let restored = try site.restore(into: "restored")
        try Volume.run("/bin/cp", ["-a", site.root + "/.", restored])
        try Volume.run("/usr/bin/diff", ["-r", site.node.tree.path + "/expected", restored])

        let config = site.node.config
        let next = ArchiveVerb(site.node.cleaner) { config }
        _ = try next.execute(try next.plan(VerbCall(parameters: [:])))
        #expect(ScratchTree.count(site.root) == 0)
        #expect(site.archives.allSatisfy { $0.hasSuffix(".tar.zst") })
        let again = try site.restore(into: "again")
        try Volume.run("/usr/bin/diff", ["-r", site.node.tree.path + "/expected", again])
    }

    @Test("a real kill -9 in the middle of deleting loses nothing") func killed() async throws {
        let site = try Site()
        try site.fill()
        try Volume.run("/bin/cp", ["-a", site.root, site.node.tree.path + "/expected"])
        setenv("SKOS_TEST_ARCHIVE", site.root + ":" + site.volume.point, 1)
        await #expect(processExitsWith: .signal(SIGKILL)) {
            let parts = String(cString: getenv("SKOS_TEST_ARCHIVE")).split(separator: ":")
            var settings = Config.Archive()
            settings.roots = [String(parts[0])]
            settings.minAge = .zero
            settings.destination = String(parts[1])
            var config = Config()
            config.local.archive = settings
            let (cleaner, fixed) = (
                Cleaner(
                    root: HostRoot(), tools: CleaningTools.find(HostRoot()),
                    stateDirectory: "/nowhere"), config
            )
            var verb = ArchiveVerb(cleaner) { fixed }
            verb.isInterrupted = { step in
                if step == .deleted { kill(getpid(), SIGKILL) }
                return false
            }
            _ = try verb.execute(try verb.plan(VerbCall(parameters: [:])))
        }
        #expect(ScratchTree.count(site.root) == 5)
        let restored = try site.restore(into: "restored")
        try Volume.run("/usr/bin/diff", ["-r", site.node.tree.path + "/expected", restored])
        _ = try site.execute()
        #expect(ScratchTree.count(site.root) == 0)
        #expect(site.archives.allSatisfy { $0.hasSuffix(".tar.zst") })
    }

    @Test("what changes while it is archived stays") func changes() throws {
        let path = Mutex("")
        let site = try Site(interrupt: { step in
            guard step == .packed else { return false }
            try? ScratchTree.write(path.withLock { $0 } + "/deep/b", bytes: 3)
            return false
        })
        try site.fill()
        path.withLock { $0 = site.root }
        let result = try site.execute()
        #expect(result["files"]?.integer == 5)
        #expect(result["skipped"]?.object?["changed"]?.integer == 1)
        #expect(site.node.tree.exists("data/deep/b"))
    }

    @Test("a destination without room, or on the same file system, loses nothing") func refuses()
        throws
    {
        let full = try Site(megabytes: 1)
        try full.fill()
        #expect(throws: VerbFailure.self) { try full.execute() }
        #expect(ScratchTree.count(full.root) == 6 && full.archives.isEmpty)

        var node = full.node
        node.tree.directory("near")
        node.config.local.archive.destination = node.tree.path + "/near"
        let config = node.config
        let near = ArchiveVerb(node.cleaner) { config }
        let failure = #expect(throws: VerbFailure.self) {
            try near.execute(try near.plan(VerbCall(parameters: [:])))
        }
        #expect(failure?.reason.contains("same file system") == true)
        #expect(ScratchTree.count(full.root) == 6)
    }

    @Test("a destination that is nearly full itself is not filled") func fullDestination() throws {
        let site = try Site()
        try site.fill()
        try ScratchTree.write(site.volume.point + "/others", bytes: 55 << 20)
        let failure = #expect(throws: VerbFailure.self) { try site.execute() }
        #expect(failure?.reason.hasSuffix(" % full itself") == true)
        #expect(ScratchTree.count(site.root) == 6)
    }

    @Test("a dry run tells what it would archive") func dryRun() throws {
        let site = try Site()
        try site.fill()
        let plan = try site.verb.plan(VerbCall(parameters: [:], isDryRun: true))
        #expect(plan.effect["files"]?.integer == 6)
        #expect(ScratchTree.count(site.root) == 6 && site.archives.isEmpty)
    }

    @Test("what cannot be deleted is not archived again and again") func undeletable() throws {
        let site = try Site()
        try site.fill()
        let locked = try Volume(.bind(site.root), at: site.root)
        try locked.remount("remount,bind,ro")
        for _ in 0..<2 {
            let failure = #expect(throws: VerbFailure.self) { try site.execute() }
            #expect(failure?.reason.contains("cannot be deleted") == true)
        }
        locked.unmount()
        #expect(ScratchTree.count(site.root) == 6 && site.archives.isEmpty)

        // One that can be written to, with files that cannot be deleted.
        let volume = try Volume(.ext4(megabytes: 16, inodes: nil), at: site.root)
        try ScratchTree.write(site.root + "/fixed", bytes: 10)
        try Volume.run("/usr/bin/chattr", ["+i", site.root + "/fixed"])
        for _ in 0..<2 { #expect(throws: VerbFailure.self) { try site.execute() } }
        #expect(ScratchTree.count(site.root) == 1 && site.archives.isEmpty)
        volume.unmount()
    }

    @Test("files of other users are archived without the right to give files away")
    func withoutOwners() async throws {
        let site = try Site()
        try site.fill()
        chown(site.root + "/a", 1000, 1000)
        setenv("SKOS_TEST_OWNERS", site.root + ":" + site.volume.point, 1)
        await #expect(processExitsWith: .success) {
            let parts = String(cString: getenv("SKOS_TEST_OWNERS")).split(separator: ":")
            // PR_CAPBSET_DROP of CAP_CHOWN: tar, started later, has not got it.
            typealias Control = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
            guard let symbol = dlsym(nil, "prctl"),
                unsafeBitCast(symbol, to: Control.self)(24, 0, 0, 0, 0) == 0
            else { exit(1) }
            var config = Config()
            config.local.archive.roots = [String(parts[0])]
            config.local.archive.minAge = .zero
            config.local.archive.destination = String(parts[1])
            let fixed = config
            let cleaner = Cleaner(
                root: HostRoot(), tools: CleaningTools.find(HostRoot()), stateDirectory: "/nowhere")
            let verb = ArchiveVerb(cleaner) { fixed }
            _ = try verb.execute(try verb.plan(VerbCall(parameters: [:])))
        }
        #expect(ScratchTree.count(site.root) == 0)
        let restored = try site.restore(into: "restored")
        var status = stat()
        #expect(stat(restored + "/a", &status) == 0 && status.st_uid == 1000)
    }

    @Test("what an archive would not keep whole stays where it is") func attributes() throws {
        let site = try Site()
        let volume = try Volume(.ext4(megabytes: 16, inodes: nil), at: site.root)
        defer { volume.unmount() }
        for name in ["plain", "marked"] { try ScratchTree.write(site.root + "/" + name, bytes: 10) }
        let mark = "import os, sys; os.setxattr(sys.argv[1], 'user.mark', b'1')"
        try Volume.run("/usr/bin/env", ["python3", "-c", mark, site.root + "/marked"])
        let plan = try site.verb.plan(VerbCall(parameters: [:], isDryRun: true))
        #expect(plan.effect["files"]?.integer == 1)
        #expect(plan.effect["skipped"]?.object?["attributes"]?.integer == 1)
        let result = try site.execute()
        #expect(result["files"]?.integer == 1)
        #expect(result["skipped"]?.object?["attributes"]?.integer == 1)
        #expect(access(site.root + "/marked", F_OK) == 0)
    }
}
