import Antibody
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import TestSupport
import Testing

@testable import StorageWatcher

@Suite struct CleaningTests {
    private func call(_ resource: String? = nil, isDryRun: Bool = false) -> VerbCall {
        VerbCall(
            parameters: resource.map { ["resource": .string($0)] } ?? [:], isDryRun: isDryRun)
    }

    private func verb(_ kind: CleanupVerb.Kind, _ node: CleanedNode) -> CleanupVerb {
        let config = node.config
        return CleanupVerb(kind, node.cleaner) { config }
    }

    @Test("each deletes in its own roots what its patterns match, and says so") func cleans() throws
    {
        let node = try CleanedNode()
        for name in ["temp/a", "temp/b.gz", "logs/x.log", "logs/x.log.1", "logs/x.log.2.gz"] {
            try node.tree.file(name, bytes: 10_000)
        }
        let temp = verb(.temp, node)
        let result = try temp.execute(try temp.plan(call()))
        #expect(result["files"]?.integer == 2 && result["complete"]?.bool == true)
        #expect((result["bytes"]?.integer ?? 0) >= 20_000)
        #expect(node.tree.exists("logs/x.log.1"))
        let logs = verb(.logs, node)
        let cleaned = try logs.execute(try logs.plan(call()))
        #expect(cleaned["files"]?.integer == 2)
        #expect(cleaned["skipped"]?.object?["other_name"]?.integer == 1)
        #expect(node.tree.exists("logs/x.log"))
    }

    @Test("a dry run tells and deletes nothing") func dryRun() throws {
        let node = try CleanedNode()
        for index in 0..<20 { try node.tree.file("temp/\(index)") }
        let temp = verb(.temp, node)
        let plan = try temp.plan(call(isDryRun: true))
        #expect(plan.effect["files"]?.integer == 20)
        #expect(ScratchTree.count(node.tree.path) == 20)
        #expect(try temp.execute(plan)["files"]?.integer == 20)
    }

    @Test("nothing to delete is a failure that says why") func nothing() throws {
        var node = try CleanedNode()
        try node.tree.file("temp/new")
        node.config.local.cleanupTemp.minAge = .seconds(3600)
        node.config.local.cleanupTemp.roots += [node.tree.path + "/none"]
        let temp = verb(.temp, node)
        let failure = #expect(throws: VerbFailure.self) {
            try temp.execute(try temp.plan(call()))
        }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("1 too_young") == true)
        #expect(failure?.reason.contains("no such directory") == true)
        #expect(node.tree.exists("temp/new"))
    }

    @Test("what the time does not suffice for is left to the next one") func slices() throws {
        let node = try CleanedNode(budget: .zero)
        for index in 0..<300 { try node.tree.file("temp/\(index)") }
        let temp = verb(.temp, node)
        let failure = #expect(throws: VerbFailure.self) { try temp.execute(try temp.plan(call())) }
        #expect(failure?.isTransient == true)
        #expect(ScratchTree.count(node.tree.path) == 300)
    }

    @Test("a resource that is no mount point is refused", arguments: ["/no/such/mount", "", "cpu"])
    func resources(_ resource: String) throws {
        let node = try CleanedNode()
        try node.tree.file("temp/a")
        #expect(throws: VerbFailure.self) { try verb(.temp, node).plan(call(resource)) }
        #expect(throws: VerbFailure.self) {
            try verb(.temp, node).plan(VerbCall(parameters: ["resource": 5]))
        }
    }

    @Test(
        "roots on other file systems are left alone", .enabled(if: Volume.isPossible, "needs root"))
    func otherFileSystem() throws {
        var node = try CleanedNode()
        let volume = try Volume(.tmpfs(megabytes: 4))
        mkdir(volume.point + "/temp", 0o755)
        try node.tree.file("temp/a")
        try ScratchTree.write(volume.point + "/temp/b", bytes: 10)
        node.config.local.cleanupTemp.roots = [node.tree.path + "/temp", volume.point + "/temp"]
        let temp = verb(.temp, node)
        let result = try temp.execute(try temp.plan(call(volume.point)))
        #expect(result["files"]?.integer == 1)
        #expect(node.tree.exists("temp/a"))
        #expect(access(volume.point + "/temp/b", F_OK) != 0)
    }

    @Test("cannot be undone, and says so") func undo() throws {
        let node = try CleanedNode()
        #expect(throws: VerbFailure.self) { try verb(.temp, node).undo([:], remaining: []) }
        #expect(!verb(.temp, node).isReversible)
    }

    @Test("is offered where there is something to clean") func offers() throws {
        let node = try CleanedNode()
        let module = node.module(watching: "/")
        #expect(module.withheld(node.config) == ["archive_old_data"])
        var config = node.config
        (config.local.cleanupTemp.roots, config.local.cleanupLogs.roots) = ([], [])
        #expect(module.withheld(config) == StorageModuleTests.all)
    }

    @Test("programs of the node are run first, and what they cannot do is said") func tools() throws
    {
        var tools = CleaningTools()
        (tools.tmpfiles, tools.journalctl) = ("/bin/true", "/bin/false")
        var node = try CleanedNode(tools: tools)
        node.config.local.journalMax = 1 << 30
        try node.tree.file("temp/a")
        let temp = verb(.temp, node)
        let result = try temp.execute(try temp.plan(call()))
        let places = result["places"]?.array?.compactMap(\.object) ?? []
        #expect(
            places.first?["tool"]?.string == "/bin/true --clean --prefix=\(node.tree.path)/temp")
        #expect(result["files"]?.integer == 1)
    }

    /// Looks at about so many entries before the time of an action is over.
    private func impatient(_ node: inout CleanedNode, looks: Int) {
        let start = ContinuousClock.now
        let asked = Mutex(0)
        node.cleaner = Cleaner(
            root: HostRoot(), tools: CleaningTools(), stateDirectory: "/nowhere",
            budget: .seconds(looks / 64),
            now: {
                start
                    + .seconds(
                        asked.withLock { asked in
                            asked += 1
                            return asked
                        })
            })
    }

    @Test("a tree of very many files that stay does not keep those behind them for ever")
    func goesOn() throws {
        var node = try CleanedNode()
        for directory in 0..<10 {
            node.tree.directory("temp/\(directory)/deep")
            for index in 0..<200 {
                try node.tree.file("temp/\(directory)/deep/\(index).keep", bytes: 0)
            }
            try node.tree.file("temp/\(directory)/deep/old.gz", bytes: 0)
        }
        node.tree.directory("other")
        try node.tree.file("other/old.gz", bytes: 0)
        node.config.local.cleanupTemp.roots += [node.tree.path + "/other"]
        node.config.local.cleanupTemp.patterns = ["*.gz"]
        impatient(&node, looks: 640)
        let temp = verb(.temp, node)
        var runs = 0
        while ScratchTree.count(node.tree.path) > 2000, runs < 20 {
            runs += 1
            _ = try? temp.execute(try temp.plan(call()))
        }
        #expect(ScratchTree.count(node.tree.path) == 2000, "after \(runs) runs")
        #expect(runs > 1)
        // What comes up behind a place that was passed is found, too.
        try node.tree.file("temp/0/deep/new.gz", bytes: 0)
        while ScratchTree.count(node.tree.path) > 2000, runs < 40 {
            runs += 1
            _ = try? temp.execute(try temp.plan(call()))
        }
        #expect(ScratchTree.count(node.tree.path) == 2000, "after \(runs) runs")
    }

    @Test("an emergency does not make files older than they are") func emergencyAge() throws {
        var node = try CleanedNode()
        try node.tree.file("temp/young")
        node.config.local.cleanupTemp.minAge = .seconds(7 * 86_400)
        let config = node.config
        let emergency = EmergencyVerb(node.cleaner) { config }
        #expect(throws: VerbFailure.self) { try emergency.execute(try emergency.plan(call())) }
        #expect(node.tree.exists("temp/young"))
    }

    @Test("what running services have in temporary directories stays") func reserved() throws {
        let node = try CleanedNode()
        node.tree.directory("temp/systemd-private-1234-x.service-a/tmp")
        try node.tree.file("temp/systemd-private-1234-x.service-a/tmp/data")
        try node.tree.file("temp/.X0-lock")
        try node.tree.file("temp/old")
        let temp = verb(.temp, node)
        let result = try temp.execute(try temp.plan(call()))
        #expect(result["files"]?.integer == 1)
        #expect(result["skipped"]?.object?["reserved"]?.integer == 2)
        #expect(node.tree.exists("temp/systemd-private-1234-x.service-a/tmp/data"))
    }

    @Test("a file system that says it has all inodes there can be stops nothing") func endless() {
        let usage = FileSystemUsage(
            size: .max, free: .max, available: .max, inodes: .max, inodesFree: .max)
        guard let top = try? SafeDirectory.open("/tmp", root: HostRoot()) else { return }
        defer { top.close() }
        var meter = CleaningMeter(
            CleaningGoal(space: -1, inodes: -1), top, isDryRun: false, base: usage)
        var walked = WalkReport()
        (walked.files, walked.bytes) = (1, .max)
        let isReached = meter.isReached(walked)
        #expect(!isReached)
    }
}
