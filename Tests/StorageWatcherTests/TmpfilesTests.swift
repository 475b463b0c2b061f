import Antibody
import Glibc
import Platform
import Protocol
import Settings
import TestSupport
import Testing

@testable import StorageWatcher

@Suite("What tmpfiles.d wants left alone") struct TmpfilesTests {
    /// A node of its own with `/tmp` and `tmpfiles.d`; its processes are this machine's.
    private struct Host {
        let tree: ScratchTree
        let cleaner: Cleaner
        var config = Config()

        init() throws {
            tree = try ScratchTree()
            for name in ["tmp", "etc/tmpfiles.d", "run/tmpfiles.d", "usr/lib/tmpfiles.d"] {
                tree.directory(name)
            }
            symlink("/proc", tree.path + "/proc")
            cleaner = Cleaner(
                root: HostRoot(tree.path), tools: CleaningTools(), stateDirectory: "/nowhere")
            config.local.cleanupTemp = Config.Cleanup(
                roots: ["/tmp"], patterns: ["*"], minAge: .zero)
        }

        func write(_ name: String, _ text: String) throws {
            let descriptor = open(tree.path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
            defer { close(descriptor) }
            try #require(Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count)
        }

        func files(_ names: String...) throws {
            for name in names {
                if let slash = name.lastIndex(of: "/") { tree.directory(String(name[..<slash])) }
                try tree.file(name)
            }
        }

        func run(isDryRun: Bool = false) throws -> JSON.Object {
            let config = config
            let verb = CleanupVerb(.temp, cleaner) { config }
            let plan = try verb.plan(VerbCall(parameters: [:], isDryRun: isDryRun))
            return isDryRun ? plan.effect : try verb.execute(plan)
        }

        func left(_ result: JSON.Object) -> Int64? {
            result["skipped"]?.object?["tmpfiles_d"]?.integer
        }
    }

    @Test("x keeps all below, X the path itself, any other line what it names; the rest goes")
    func lines() throws {
        let host = try Host()
        try host.write(
            "etc/tmpfiles.d/a.conf",
            """
            # Comment
            D /tmp 1777 root root -
            x /tmp/keep-*
            X /tmp/shallow
            X /tmp/file
              d   /tmp/aged 0755 root root 10d
            e /tmp/*/empty - - - -
            r! /tmp/.X[0-9]*-lock
            x /tmp/deep/er/still
            x "/tmp/with space" - - -
            x /tmp/with\\x20escape
            f /tmp/st*r - - - -
            """)
        let kept = [
            "tmp/keep-1/a/b", "tmp/keep-2", "tmp/file", "tmp/aged/x", "tmp/any/empty/x",
            "tmp/.X12-lock", "tmp/deep/er/still/x/y", "tmp/with space", "tmp/with escape",
            "tmp/st*r",
        ]
        let gone = [
            "tmp/shallow/x", "tmp/any/full/x", "tmp/deep/er/other", "tmp/deep/still", "tmp/plain",
            "tmp/star", "tmp/aged-not", "tmp/keep",
        ]
        for name in kept + gone { try host.files(name) }
        let dry = try host.run(isDryRun: true)
        let result = try host.run()
        for name in kept { #expect(host.tree.exists(name), "\(name)") }
        for name in gone { #expect(!host.tree.exists(name), "\(name)") }
        #expect(result["files"]?.integer == Int64(gone.count))
        // The lock's name belongs to what running services have, whatever tmpfiles.d says.
        #expect(host.left(result) == 9 && host.left(dry) == 9)
        #expect(result["tmpfiles_d_odd"] == nil)
    }

    @Test("a file of the same name overrides, and a link to /dev/null or an empty one masks")
    func precedence() throws {
        let host = try Host()
        try host.write("usr/lib/tmpfiles.d/one.conf", "x /tmp/vendor\n")
        try host.write("run/tmpfiles.d/one.conf", "x /tmp/run\n")
        try host.write("usr/lib/tmpfiles.d/two.conf", "x /tmp/two\n")
        symlink("/dev/null", host.tree.path + "/etc/tmpfiles.d/two.conf")
        try host.write("usr/lib/tmpfiles.d/three.conf", "x /tmp/three\n")
        try host.write("etc/tmpfiles.d/three.conf", "")
        try host.write("etc/tmpfiles.d/four.conf.bak", "x /tmp/four\n")
        // A link to elsewhere on the node, as some systems have them.
        host.tree.directory("static")
        try host.write("static/five.conf", "x /tmp/five\n")
        symlink("/static/five.conf", host.tree.path + "/etc/tmpfiles.d/five.conf")
        try host.files("tmp/vendor", "tmp/run", "tmp/two", "tmp/three", "tmp/four", "tmp/five")
        let result = try host.run()
        #expect(result["files"]?.integer == 4 && host.left(result) == 2)
        #expect(host.tree.exists("tmp/run") && host.tree.exists("tmp/five"))
    }

    @Test("what cannot be understood keeps what it can, and is said")
    func oddities() throws {
        let host = try Host()
        try host.write(
            "etc/tmpfiles.d/odd.conf",
            """
            x
            x relative/path
            k /tmp/unknown-type
            x "/tmp/open-quote
            x /tmp/esc\\q/x
            x /tmp/spec-%y/x
            x /tmp/set-[[:digit:]]
            x /tmp/up/../other
            x /tmp/boot-%b-x
            """)
        let kept = [
            "tmp/unknown-type", "tmp/open-quote-and-more", "tmp/escape", "tmp/spec-1/z",
            "tmp/set-1", "tmp/up/x", "tmp/boot-1-x",
        ]
        let gone = ["tmp/other", "tmp/boot-1", "tmp/spec"]
        for name in kept + gone { try host.files(name) }
        let result = try host.run()
        for name in kept { #expect(host.tree.exists(name), "\(name)") }
        for name in gone { #expect(!host.tree.exists(name), "\(name)") }
        let said = try #require(result["tmpfiles_d_odd"]?.array).compactMap(\.string)
        #expect(said.count == 8)
        #expect(said[0] == #"/etc/tmpfiles.d/odd.conf:1: "x" names no path"#)
        #expect(said[5].hasSuffix(#"%y is not known; what begins with "/tmp/spec-" is left alone"#))
    }

    @Test(
        "x of the directory itself, or of one above, leaves all of it alone",
        arguments: ["x /tmp", "x /", "x /t*", "x %T", "x \"/tm", "x /%y"])
    func wholeRoot(_ line: String) throws {
        let host = try Host()
        try host.write("usr/lib/tmpfiles.d/all.conf", line + "\n")
        try host.files("tmp/a")
        let failure = #expect(throws: VerbFailure.self) { try host.run() }
        #expect(failure?.reason.contains("/usr/lib/tmpfiles.d/all.conf:1") == true)
        #expect(host.tree.exists("tmp/a"))
    }

    @Test("what cannot be read, or is too much, leaves all alone")
    func unreadable() throws {
        for mess in ["directory", "fifo", "large", "dangling", "loop", "many"] {
            let host = try Host()
            try host.files("tmp/a")
            let place = host.tree.path + "/etc/tmpfiles.d/mess.conf"
            switch mess {
            case "directory": mkdir(place, 0o755)
            case "fifo": mkfifo(place, 0o600)
            case "large": try ScratchTree.write(place, bytes: TmpfilesRules.byteLimit + 1)
            case "dangling": symlink("/none", place)
            case "loop": symlink("mess.conf", place)
            default:
                let line = "x /y\n"
                try host.write(
                    "etc/tmpfiles.d/mess.conf",
                    String(repeating: line, count: TmpfilesRules.ruleLimit + 1))
            }
            let failure = #expect(throws: VerbFailure.self, "\(mess)") { try host.run() }
            #expect(failure?.reason.contains("what tmpfiles.d wants left alone") == true)
            #expect(host.tree.exists("tmp/a"), "\(mess)")
        }
    }

    @Test("whatever bytes are in a file, nothing traps")
    func noise() {
        var state: UInt64 = 1
        let alphabet = Array("xXdD! /tmp%bTy\\\"'[]*?-.\n#\u{e9}".utf8) + [0xFF, 0]
        for _ in 0..<500 {
            let text = (0..<200).map { _ -> UInt8 in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return alphabet[Int(state >> 33) % alphabet.count]
            }
            var rules = TmpfilesRules()
            let isRoom = rules.add(text, file: "f")
            #expect(isRoom)
            _ = rules.verdict(on: "/tmp")
        }
    }

    @Test(
        "the system's own files: of running services and of X11 nothing is touched",
        .enabled(
            if: access("/usr/lib/tmpfiles.d/x11.conf", R_OK) == 0
                && access("/usr/lib/tmpfiles.d/systemd-tmp.conf", R_OK) == 0,
            "systemd's files are not here"))
    func stock() throws {
        let rules = try TmpfilesRules.read(HostRoot())
        #expect(rules.oddities.isEmpty, "\(rules.oddities)")
        let host = try Host()
        for name in ["x11", "systemd-tmp", "tmp", "systemd", "legacy", "home", "var"] {
            let path = "/usr/lib/tmpfiles.d/\(name).conf"
            guard let text = try? HostFiles(root: HostRoot()).read(path, limit: 1 << 20) else {
                continue
            }
            try host.write(String(path.dropFirst()), String(decoding: text, as: UTF8.self))
        }
        let kept = [
            "tmp/systemd-private-0123-a.service-x/tmp/file", "tmp/.X11-unix/x", "tmp/.ICE-unix/1",
            "tmp/.font-unix/a", "tmp/.XIM-unix/b",
        ]
        for name in kept + ["tmp/a", "tmp/dir/b"] { try host.files(name) }
        let result = try host.run()
        for name in kept { #expect(host.tree.exists(name), "\(name)") }
        #expect(result["files"]?.integer == 2)
        #expect(host.left(result) == 4)
    }

    @Test(
        "systemd-tmpfiles itself leaves alone what we do",
        .enabled(
            if: CleaningTools.find(HostRoot()).tmpfiles != nil, "systemd-tmpfiles is not here"))
    func sameAsSystemd() throws {
        let program = try #require(CleaningTools.find(HostRoot()).tmpfiles)
        let tree = try ScratchTree()
        let top = tree.directory("top")
        let lines = """
            d \(top) - - - 0
            x \(top)/x-*
            X \(top)/shallow
            X \(top)/file
            d \(top)/own 0755 - - -
            f \(top)/f - - - -
            r \(top)/r
            R \(top)/R
            z \(top)/z*
            x \(top)/a/b/c
            x "\(top)/with space"
            """
        let names = [
            "x-1/y", "x", "shallow/s", "file", "own/o", "f", "r", "R/x", "z1", "a/b/c", "a/b/d",
            "with space", "with", "plain/p",
        ]
        for name in names {
            if let slash = name.lastIndex(of: "/") { tree.directory("top/" + name[..<slash]) }
            try tree.file("top/" + name)
        }
        let conf = tree.path + "/c.conf"
        let descriptor = open(conf, O_WRONLY | O_CREAT, 0o644)
        try #require(write(descriptor, lines, lines.utf8.count) == lines.utf8.count)
        close(descriptor)
        var rules = TmpfilesRules()
        let isRoom = rules.add(Array(lines.utf8), file: "c.conf")
        #expect(isRoom)
        guard case .walk(let exclusions) = rules.verdict(on: top) else {
            Issue.record("left alone")
            return
        }
        var selection = FileSelection(patterns: [GlobPattern(name: "*")], unchangedSince: .infinity)
        selection.exclusions = exclusions
        let directory = try SafeDirectory.open(top, root: HostRoot())
        defer { directory.close() }
        var ours: Set<String> = []
        var walk = SafeWalk(
            selection, openFiles: try OpenFiles.collect(HostRoot()), stop: { _ in nil }
        ) { file, _ in
            ours.insert(
                String(decoding: file.directoryPath, as: UTF8.self) + String(cString: file.name))
        }
        _ = walk.run(directory)
        _ = try Subprocess(program, ["--clean", conf], timeLimit: .seconds(30)).run()
        let theirs = Set(names.filter { !tree.exists("top/" + $0) })
        #expect(!theirs.isEmpty)
        #expect(ours == theirs)
    }
}
