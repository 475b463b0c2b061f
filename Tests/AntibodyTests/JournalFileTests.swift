import Antibody
import Foundation
import Protocol
import TestSupport
import Testing

@Suite("Journal file")
struct JournalFileTests {
    private let directory = TemporaryDirectory()
    private static let agent = "lamp-keeper-nova"

    private func open(_ subdirectory: String = "") throws -> (JournalFile, Ledger) {
        try JournalFile.open(
            directory: directory.path + subdirectory, name: "lamp", agent: Self.agent)
    }

    private var path: String { directory.path + "/lamp.journal" }

    private func contents() throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    @Test("directories are created, and a reopened journal says what was appended")
    func reopen() throws {
        do {
            let (file, ledger) = try open("/a/b")
            #expect(ledger == Ledger())
            try file.append([planned("a"), .epoch(3)])
            try file.append([.done(id: "a", result("a", .done, .succeeded), nil)])
        }
        let (_, ledger) = try open("/a/b")
        #expect(ledger["a"]?.phase == .active)
        #expect(ledger.highestEpoch == 3)
    }

    @Test("a torn end is dropped, and what comes after it is read again")
    func torn() throws {
        do {
            let (file, _) = try open()
            try file.append([planned("a"), planned("b")])
        }
        let whole = try contents()
        try Data(whole.dropLast(7)).write(to: URL(fileURLWithPath: path))
        do {
            let (file, ledger) = try open()
            #expect(ledger.order == ["a"])
            try file.append([planned("c")])
        }
        let (file, ledger) = try open()
        #expect(ledger.order == ["a", "c"])
        #expect(file.damage == nil)
    }

    @Test("a damaged journal is read as far as it goes, and never written to")
    func damaged() throws {
        do {
            let (file, _) = try open()
            try file.append([planned("a"), planned("b"), planned("c")])
        }
        var bytes = try contents()
        let second = try #require(bytes.firstIndex(of: 0x0A))
        bytes[second + 30] ^= 1
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let (file, ledger) = try open()
        #expect(ledger.order == ["b", "c"])
        #expect(file.damage?.hasPrefix("\(path), line 2: the checksum does not match") == true)
        #expect(throws: JournalFile.Failure.self) { try file.append([.epoch(1)]) }
        #expect(throws: JournalFile.Failure.self) { try file.rewrite(ledger) }
        #expect(try contents() == bytes)
    }

    @Test("a rewrite makes it short, keeps what counts, and later records follow")
    func rewrite() throws {
        let (file, _) = try open()
        var ledger = Ledger()
        for number in 0..<2000 {
            let records: [JournalRecord] = [
                planned("a\(number)"),
                .done(id: "a\(number)", result("a\(number)", .done, .succeeded), nil),
                .undone(id: "a\(number)", result("a\(number)", .undone, .succeeded)),
            ]
            for record in records { _ = ledger.apply(record) }
            if number < 300 { try file.append(records) }
        }
        #expect(file.isLong)
        ledger.forget(at: at(1e6))
        try file.rewrite(ledger)
        #expect(!file.isLong)
        try file.append([planned("b")])
        #expect(try contents().count < 1000)
        let (_, again) = try open()
        #expect(again.order == ["b"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).count == 1)
    }

    @Test(
        "on a disk without a byte left there is room for many records, also after a restart",
        .enabled(if: Volume.isPossible, "needs root and loop devices"),
        arguments: [Volume.Kind.ext4(megabytes: 8, inodes: nil), .tmpfs(megabytes: 4)])
    func reserve(_ kind: Volume.Kind) throws {
        let volume = try Volume(kind)
        func open() throws -> (JournalFile, Ledger) {
            try JournalFile.open(directory: volume.point, name: "lamp", agent: Self.agent)
        }
        let (file, _) = try open()
        try file.append([planned("a")])
        #expect(throws: (any Error).self) {
            try ScratchTree.write(volume.point + "/all", bytes: 16 << 20)
        }
        for number in 0..<20 { try file.append([planned("b\(number)")]) }
        file.close()
        let (again, ledger) = try open()
        #expect(ledger.order.count == 21)
        for number in 0..<20 { try again.append([planned("c\(number)")]) }
    }

    @Test("a full disk refuses the record, leaves those before it, and works again with room")
    func fullDisk() async throws {
        await #expect(processExitsWith: .success) { [path = directory.path as String] in
            signal(SIGXFSZ, SIG_IGN)
            let (file, _) = try JournalFile.open(
                directory: path, name: "lamp", agent: "lamp-keeper-nova")
            try file.append([planned("a")])
            let length = try Data(contentsOf: URL(fileURLWithPath: file.path)).count
            // The next record is cut off after 40 bytes, as on a full disk.
            var limit = rlimit(rlim_cur: rlim_t(length + 40), rlim_max: rlim_t.max)
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            #expect(throws: JournalFile.Failure.self) { try file.append([planned("b")]) }
            #expect(!file.isBroken)
            #expect(try Data(contentsOf: URL(fileURLWithPath: file.path)).count == length)
            var ledger = Ledger()
            for number in 0..<10 { _ = ledger.apply(planned("x\(number)")) }
            #expect(throws: JournalFile.Failure.self) { try file.rewrite(ledger) }
            limit.rlim_cur = rlim_t.max
            setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
            try file.append([planned("c")])
        }
        let (file, ledger) = try open()
        #expect(file.damage == nil)
        #expect(ledger.order == ["a", "c"])
    }

    @Test("killed at any time, it holds every record whose append had returned, and is whole")
    func killed() async throws {
        let acknowledged = directory.path + "/acknowledged"
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [path = directory.path as String, acknowledged = acknowledged as String] in
            let (file, _) = try JournalFile.open(
                directory: path, name: "lamp", agent: "lamp-keeper-nova")
            let output = Glibc.open(acknowledged, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            Thread.detachNewThread {
                var status = stat()
                while fstat(output, &status) != 0 || status.st_size < 30 { usleep(1000) }
                usleep(.random(in: 0..<20_000))
                kill(getpid(), SIGKILL)
            }
            var ledger = Ledger()
            var number = 0
            while true {
                let record = planned("a\(number)")
                _ = ledger.apply(record)
                try file.append([record])
                if number % 10 == 9 { try file.rewrite(ledger) }
                let text = [UInt8]("a\(number)\n".utf8)
                _ = write(output, text, text.count)
                number += 1
            }
        }
        let told = try String(contentsOfFile: acknowledged, encoding: .utf8)
            .split(separator: "\n").map(String.init)
        let (file, ledger) = try open()
        #expect(file.damage == nil)
        #expect(told.count > 1)
        #expect(Array(ledger.order.prefix(told.count)) == told)
        #expect(ledger.order.count - told.count <= 1)
    }

    @Test("a place that cannot be used says why")
    func unusable() throws {
        #expect(throws: JournalFile.Failure.self) {
            try JournalFile.open(directory: "/proc/x", name: "lamp", agent: Self.agent)
        }
        try FileManager.default.createSymbolicLink(
            atPath: path, withDestinationPath: "/etc/passwd")
        let failure = #expect(throws: JournalFile.Failure.self) { try open() }
        #expect(failure?.reason == "cannot open \(path): Too many levels of symbolic links")
    }
}
