import Foundation
import TestSupport
import Testing

@testable import Settings

/// What inotify tells, without waiting: its events are there when the system call returns.
@Suite struct FileNoticesTests {
    private let folder: TemporaryFolder
    private var path: String { folder.path + "/config.yaml" }

    init() throws {
        folder = try TemporaryFolder()
        try Self.put("old", to: path)
    }

    /// Nobody has the file open afterwards, which would be told later.
    private static func put(_ text: String, to path: String) throws {
        try withPrivateDescriptors {
            try Data(text.utf8).write(to: URL(filePath: path), options: [])
        }
    }

    private func isReadable(_ descriptor: CInt, within milliseconds: CInt = 0) -> Bool {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, milliseconds) == 1
    }

    private func unavailable() {
        Issue.record("inotify_init1: \(String(cString: strerror(errno)))")
    }

    private func rename(_ text: String, over path: String) throws {
        let other = folder.path + "/other"
        try Self.put(text, to: other)
        #expect(Glibc.rename(other, path) == 0)
    }

    @Test func writingInPlace() throws {
        guard var notices = FileNotices(file: path) else { return unavailable() }
        _ = notices.listen()
        #expect(!isReadable(notices.descriptor))
        let file = open(path, O_WRONLY)
        #expect(write(file, "new", 3) == 3)
        #expect(isReadable(notices.descriptor))
        let heard1 = notices.listen()
        #expect(heard1 == .init(isTouched: true, isBeingWritten: true))
        // Nothing new, but the writer is still there.
        let heard2 = notices.listen()
        #expect(heard2 == .init(isTouched: false, isBeingWritten: true))
        close(file)
        // A process that another test starts has a copy of it for a moment.
        #expect(isReadable(notices.descriptor, within: 60_000))
        let heard3 = notices.listen()
        #expect(heard3 == .init(isTouched: true, isBeingWritten: false))
    }

    @Test func renamingOver() throws {
        guard var notices = FileNotices(file: path) else { return unavailable() }
        _ = notices.listen()
        for text in ["one", "two"] {
            try rename(text, over: path)
            #expect(isReadable(notices.descriptor))
            notices.watch()
            let heard4 = notices.listen()
            #expect(heard4.isTouched)
        }
        #expect(!isReadable(notices.descriptor))
    }

    @Test func aWriterOfTheReplacedFileDoesNotCount() throws {
        guard var notices = FileNotices(file: path) else { return unavailable() }
        let file = open(path, O_WRONLY)
        defer { close(file) }
        #expect(write(file, "new", 3) == 3)
        let heard5 = notices.listen()
        #expect(heard5.isBeingWritten)
        try rename("newer", over: path)
        notices.watch()
        let heard6 = notices.listen()
        #expect(heard6 == .init(isTouched: true, isBeingWritten: false))
    }

    @Test func swappingALinkOnTheWay() throws {
        let link = folder.path + "/..data"
        for name in ["a", "b"] {
            let version = folder.path + "/" + name
            try FileManager.default.createDirectory(
                atPath: version, withIntermediateDirectories: false)
            try Self.put(name, to: version + "/config.yaml")
        }
        #expect(symlink("a", link) == 0)
        let linked = folder.path + "/linked.yaml"
        #expect(symlink("..data/config.yaml", linked) == 0)
        guard var notices = FileNotices(file: linked) else { return unavailable() }
        _ = notices.listen()
        let before = FileSignature(linked)
        #expect(symlink("b", folder.path + "/new") == 0)
        #expect(Glibc.rename(folder.path + "/new", link) == 0)
        #expect(isReadable(notices.descriptor))
        #expect(FileSignature(linked) != before)
        notices.watch()
        let heard7 = notices.listen()
        #expect(heard7.isTouched)
    }

    @Test func neighboursWakeButDoNotTouch() throws {
        guard var notices = FileNotices(file: path) else { return unavailable() }
        _ = notices.listen()
        try Self.put("x", to: folder.path + "/neighbour")
        #expect(isReadable(notices.descriptor))
        let heard8 = notices.listen()
        #expect(heard8 == .init())
        #expect(!isReadable(notices.descriptor))
    }

    @Test(arguments: ["/", "x", "no/such/folder/x", "/dev/null"])
    func anyPathWillDo(_ path: String) throws {
        guard var notices = FileNotices(file: path) else { return unavailable() }
        notices.watch()
        _ = notices.listen()
        #expect((FileSignature(path) == nil) == (path.hasSuffix("x")))
    }
}
