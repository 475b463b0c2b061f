import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Platform

/// Sweeps that delete everything that may be deleted, whatever its age.
enum Sweeping {
    static let everything = FileSelection(
        patterns: [GlobPattern(name: "*")], unchangedSince: .greatestFiniteMagnitude)

    static func run(
        _ path: String, _ method: SafeDirectory.Method? = nil,
        _ selection: FileSelection = everything, isDryRun: Bool = false,
        openFiles: OpenFiles? = nil,
        stop: @escaping (WalkReport) -> WalkReport.End? = { _ in nil },
        before: ((UnsafePointer<CChar>) -> Void)? = nil
    ) throws -> WalkReport {
        let top = try SafeDirectory.open(path, root: HostRoot(), method: method)
        defer { top.close() }
        var sweep = Sweep(
            selection, openFiles: try openFiles ?? OpenFiles.collect(HostRoot()),
            isDryRun: isDryRun, stop: stop)
        sweep.beforeDeleting = before
        return sweep.run(top)
    }
}

@Suite struct SweepTests {
    typealias Method = SafeDirectory.Method

    @Test(
        "deletes files and leaves directories, links and what they lead to",
        arguments: Method.allCases)
    func deletes(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root/a/b")
        tree.directory("outside/deep")
        try tree.file("outside/deep/victim")
        for name in ["root/x", "root/a/y", "root/a/b/z", "root/a/b/new\nline"] {
            try tree.file(name)
        }
        symlink(tree.path + "/outside", tree.path + "/root/link")
        symlink(tree.path + "/outside/deep/victim", tree.path + "/root/file-link")
        mkfifo(tree.path + "/root/fifo", 0o600)
        let report = try Sweeping.run(tree.path + "/root", method)
        #expect(report.files == 4)
        #expect(report.bytes > 0)
        #expect(report.skipped == [.notAFile: 3])
        #expect(report.end == .complete && report.failure == nil)
        #expect(tree.exists("outside/deep/victim") && tree.exists("root/a/b"))
        #expect(tree.exists("root/link/deep/victim") && tree.exists("root/fifo"))
    }

    @Test("a dry run counts the same and deletes nothing", arguments: Method.allCases)
    func dryRun(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root/a")
        for index in 0..<50 { try tree.file("root/a/\(index)", bytes: 5000) }
        let dry = try Sweeping.run(tree.path + "/root", method, isDryRun: true)
        #expect(ScratchTree.count(tree.path) == 50)
        #expect(try Sweeping.run(tree.path + "/root", method) == dry)
        #expect(ScratchTree.count(tree.path) == 0)
    }

    @Test("an open directory can be walked again", arguments: Method.allCases)
    func again(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root")
        for index in 0..<5 { try tree.file("root/\(index)") }
        let top = try SafeDirectory.open(tree.path + "/root", root: HostRoot(), method: method)
        defer { top.close() }
        let files = try OpenFiles.collect(HostRoot())
        for _ in 0..<2 {
            let sweep = Sweep(
                Sweeping.everything, openFiles: files, isDryRun: true, stop: { _ in nil })
            #expect(sweep.run(top).files == 5)
        }
    }

    @Test("what is young, hard-linked, open or named otherwise stays", arguments: Method.allCases)
    func skips(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root")
        let linked = try tree.file("root/linked.log")
        link(linked, tree.path + "/other-name")
        let opened = try tree.file("root/opened.log")
        let descriptor = Glibc.open(opened, O_RDONLY | O_CLOEXEC)
        defer { close(descriptor) }
        try tree.file("root/other.txt")
        try tree.file("root/old.log")
        var selection = FileSelection(
            patterns: [GlobPattern(name: "*.log"), GlobPattern(name: "*.gz")],
            unchangedSince: .greatestFiniteMagnitude)
        let report = try Sweeping.run(tree.path + "/root", method, selection)
        #expect(report.files == 1)
        #expect(report.skipped == [.hardLinked: 1, .open: 1, .otherName: 1])
        #expect(!tree.exists("root/old.log") && tree.exists("root/opened.log"))
        // An old date is quickly forged; the time of the last change is not.
        try tree.file("root/forged.log")
        var times = [timespec(tv_sec: 0, tv_nsec: 0), timespec(tv_sec: 0, tv_nsec: 0)]
        utimensat(AT_FDCWD, tree.path + "/root/forged.log", &times, 0)
        selection.unchangedSince = Date().timeIntervalSince1970 - 3600
        let young = try Sweeping.run(tree.path + "/root", method, selection)
        #expect(young.files == 0 && young.skipped[.tooYoung] == 2)
    }

    @Test("the directory to be kept is left alone", arguments: Method.allCases)
    func kept(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root")
        tree.directory("root/state")
        tree.directory("root/state/nats")
        try tree.file("root/state/thermal.journal")
        try tree.file("root/state/nats/1.blk")
        try tree.file("root/old")
        symlink(tree.path + "/root/state", tree.path + "/alias")
        var selection = Sweeping.everything
        selection.kept = DirectoryIdentity(tree.path + "/alias")
        let report = try Sweeping.run(tree.path + "/root", method, selection)
        #expect(report.files == 1 && report.skipped == [.kept: 1])
        #expect(tree.exists("root/state/thermal.journal") && tree.exists("root/state/nats/1.blk"))
    }

    @Test("names need not be text") func bytes() throws {
        let tree = try ScratchTree()
        let names: [[UInt8]] = [[0xFF, 0xFE], [0x0A], Array("a\\b".utf8), [0x2A], [0x20]]
        for name in names {
            try ScratchTree.write(Array(tree.path.utf8) + [0x2F] + name, bytes: 0)
        }
        #expect(try Sweeping.run(tree.path).files == names.count)
        #expect(ScratchTree.count(tree.path) == 0)
    }

    @Test(
        "two hundred levels with long names are reached, and no more than allowed",
        arguments: Method.allCases)
    func depth(_ method: Method) throws {
        let tree = try ScratchTree()
        let long = String(repeating: "d", count: 200)
        var directory = Glibc.open(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        for _ in 0..<200 {
            mkdirat(directory, long, 0o755)
            let next = openat(directory, long, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            close(directory)
            directory = next
        }
        let file = openat(directory, "deepest", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        #expect(file >= 0)
        close(file)
        var selection = Sweeping.everything
        selection.depthLimit = 200
        #expect(try Sweeping.run(tree.path, method, selection).skipped == [.tooDeep: 1])
        #expect(try Sweeping.run(tree.path, method).files == 1)
        #expect(faccessat(directory, "deepest", F_OK, 0) != 0)
        close(directory)
    }

    @Test("stops when it is told to") func stops() throws {
        let tree = try ScratchTree()
        for index in 0..<500 { try tree.file("\(index)") }
        let report = try Sweeping.run(tree.path) { $0.files >= 10 ? .enough : nil }
        #expect(report.files == 10 && report.end == .enough)
        let none = try Sweeping.run(tree.path, stop: { _ in .outOfTime })
        #expect(none.files <= 1 && none.end == .outOfTime)
        #expect(ScratchTree.count(tree.path) == 490 - none.files)
    }

    @Test("the top must be a real directory that is not the system's", arguments: Method.allCases)
    func tops(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("real/inner")
        symlink(tree.path + "/real", tree.path + "/link")
        for path in [tree.path + "/link", tree.path + "/link/inner"] {
            let failure = #expect(throws: FileFailure.self) {
                try SafeDirectory.open(path, root: HostRoot(), method: method)
            }
            #expect(failure?.errno == ELOOP || failure?.errno == ENOTDIR)
        }
        for path in ["/", "//", "/etc", "/usr/", "tmp", "/tmp/../etc", "/tmp/./x", ""] {
            let failure = #expect(throws: FileFailure.self) {
                try SafeDirectory.open(path, root: HostRoot(), method: method)
            }
            #expect(failure?.problem == .forbidden, "\(path)")
        }
    }

    @Test(
        "stays on its mount, also where the file system is the same",
        .enabled(if: Volume.isPossible, "needs root"), arguments: Method.allCases)
    func mounts(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root/bind")
        tree.directory("root/tmpfs")
        tree.directory("outside")
        try tree.file("outside/victim")
        try tree.file("root/own")
        let bind = try Volume(.bind(tree.path + "/outside"), at: tree.path + "/root/bind")
        let tmpfs = try Volume(.tmpfs(megabytes: 1), at: tree.path + "/root/tmpfs")
        try tree.file("root/tmpfs/victim")
        let report = try Sweeping.run(tree.path + "/root", method)
        #expect(report.files == 1 && report.skipped == [.otherMount: 2])
        #expect(tree.exists("outside/victim") && tree.exists("root/tmpfs/victim"))
        bind.unmount()
        tmpfs.unmount()
    }

    @Test("what cannot be seen to be closed is left alone")
    func noProc() throws {
        let tree = try ScratchTree()
        tree.directory("proc")
        #expect(throws: FileFailure.self) { try OpenFiles.collect(HostRoot(tree.path)) }
        #expect(throws: FileFailure.self) { try OpenFiles.collect(HostRoot(tree.path + "/none")) }
    }
}

/// Somebody who changes the tree at the worst moment.
@Suite struct HostileTreeTests {
    typealias Method = SafeDirectory.Method

    @Test("a directory that becomes a link just before deleting", arguments: Method.allCases)
    func exchanged(_ method: Method) throws {
        let tree = try ScratchTree()
        tree.directory("root/d")
        tree.directory("outside")
        for name in ["a", "b"] {
            try tree.file("root/d/" + name)
            try tree.file("outside/" + name)
        }
        let path = tree.path
        var isDone = false
        let report = try Sweeping.run(path + "/root", method) { _ in
            nil
        } before: { _ in
            guard !isDone else { return }
            isDone = true
            rename(path + "/root/d", path + "/root/e")
            symlink(path + "/outside", path + "/root/d")
        }
        #expect(ScratchTree.count(path + "/outside") == 2)
        #expect(report.files >= 1)
    }

    @Test("a file that becomes a name of another just before deleting")
    func replaced() throws {
        let tree = try ScratchTree()
        tree.directory("root")
        try tree.file("root/f")
        try tree.file("victim")
        let path = tree.path
        _ = try Sweeping.run(path + "/root") { _ in
            nil
        } before: { _ in
            unlink(path + "/root/f")
            link(path + "/victim", path + "/root/f")
        }
        #expect(tree.exists("victim"))
        try tree.file("root/g")
        let report = try Sweeping.run(path + "/root") { _ in
            nil
        } before: { _ in
            unlink(path + "/root/g")
            mkdir(path + "/root/g", 0o755)
        }
        #expect(report.skipped[.changed] == 1 && tree.exists("root/g"))
    }

    @Test("a directory that is moved out of the tree is left")
    func moved() throws {
        let tree = try ScratchTree()
        tree.directory("root/d")
        for index in 0..<300 { try tree.file("root/d/\(index)") }
        let path = tree.path
        var isDone = false
        let report = try Sweeping.run(path + "/root") { _ in
            nil
        } before: { _ in
            guard !isDone else { return }
            isDone = true
            rename(path + "/root/d", path + "/moved")
        }
        #expect(report.files <= 64 && report.skipped[.changed] == 1)
        #expect(ScratchTree.count(path + "/moved") == 300 - report.files)
    }

    @Test(
        "a tree that is turned over all the time loses nothing outside", arguments: Method.allCases)
    func race(_ method: Method) throws {
        let tree = try ScratchTree()
        let path = tree.path
        for index in 0..<6 {
            tree.directory("outside/d\(index)/sub")
            tree.directory("root/d\(index)/sub")
            for file in 0..<8 {
                try tree.file("outside/d\(index)/f\(file)")
                try tree.file("outside/d\(index)/sub/f\(file)")
            }
        }
        let isOver = Atomic(false)
        let turns = Atomic(0)
        let attacker = Thread {
            var turn = 0
            while !isOver.load(ordering: .relaxed) {
                turn += 1
                let name = "d\(turn % 6)"
                let (mine, theirs) = (path + "/root/" + name, path + "/outside/" + name)
                for file in 0..<4 {
                    try? ScratchTree.write(mine + "/f\(file)", bytes: 1)
                    try? ScratchTree.write(mine + "/sub/f\(file)", bytes: 1)
                    link(theirs + "/f\(file)", mine + "/h\(file)")
                }
                rename(mine, path + "/root/away")
                symlink(turn % 2 == 0 ? theirs : "../outside/" + name, mine)
                sched_yield()
                unlink(mine)
                rename(path + "/root/away", mine)
                rename(mine + "/sub", mine + "/away")
                symlink(theirs + "/sub", mine + "/sub")
                sched_yield()
                unlink(mine + "/sub")
                rename(mine + "/away", mine + "/sub")
                turns.wrappingAdd(1, ordering: .relaxed)
            }
        }
        attacker.start()
        var deleted = 0
        var sweeps = 0
        let openFiles = try OpenFiles.collect(HostRoot())
        // As long as it takes to have met a changing tree often.
        while turns.load(ordering: .relaxed) < 1000 || sweeps < 200 {
            deleted += try Sweeping.run(path + "/root", method, openFiles: openFiles).files
            sweeps += 1
        }
        isOver.store(true, ordering: .relaxed)
        while attacker.isExecuting { usleep(1000) }
        #expect(deleted > 0)
        #expect(ScratchTree.count(path + "/outside") == 6 * 16)
    }
}
