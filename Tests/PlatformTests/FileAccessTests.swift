import Foundation
import Glibc
import Platform
import Testing

/// A directory that is gone with its last user.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/skos-platform-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path + "/sys", withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var files: HostFiles { HostFiles(root: HostRoot(path)) }

    @discardableResult
    func file(_ name: String, _ content: String, mode: Int = 0o644) throws -> String {
        let file = path + "/sys/" + name
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(content.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    func content(_ name: String) throws -> String {
        String(
            decoding: try Data(contentsOf: URL(fileURLWithPath: path + "/sys/" + name)),
            as: UTF8.self)
    }
}

@Suite struct FileAccessTests {
    @Test(arguments: [("", ""), ("/", ""), ("/host", "/host"), ("/host///", "/host")])
    func rootsLoseTheirSlash(_ row: (text: String, prefix: String)) {
        #expect(HostRoot(row.text).prefix == row.prefix)
        #expect(HostRoot(row.text).real("/sys/x") == row.prefix + "/sys/x")
    }

    @Test(
        arguments: [
            ("42", 42), ("42\n", 42), ("  -7 \n", -7), ("+5", 5), ("0", 0), ("\t12\u{0}", 12),
            ("9223372036854775807", .max), ("-9223372036854775808", .min),
            ("9223372036854775808", nil), ("-9223372036854775809", nil), ("", nil), ("\n", nil),
            ("-", nil), ("1 2", nil), ("1.5", nil), ("0x10", nil), ("1e3", nil), ("--1", nil),
        ] as [(String, Int64?)])
    func integers(_ row: (text: String, value: Int64?)) {
        #expect(Int64(sysfs: Array(row.text.utf8)) == row.value)
    }

    @Test func readsUpToTheLimit() throws {
        let scratch = try Scratch()
        try scratch.file("x", "12345")
        #expect(try scratch.files.read("/sys/x", limit: 5) == Array("12345".utf8))
        #expect(throws: FileFailure(.read, scratch.path + "/sys/x", .tooLong(limit: 4))) {
            try scratch.files.read("/sys/x", limit: 4)
        }
    }

    @Test func whatIsNoFileIsNotRead() throws {
        let scratch = try Scratch()
        try #require(mkfifo(scratch.path + "/sys/fifo", 0o644) == 0)
        for name in ["fifo", "", "../dev"] {
            try FileManager.default.createDirectory(
                atPath: scratch.path + "/dev", withIntermediateDirectories: true)
            #expect(throws: FileFailure(.open, scratch.path + "/sys/" + name, .notAFile)) {
                try scratch.files.read("/sys/" + name, limit: 10)
            }
            #expect(throws: FileFailure(.write, scratch.path + "/sys/" + name, .notAFile)) {
                try scratch.files.write("/sys/" + name, [1])
            }
        }
        // A terminal or a disk in place of a file.
        #expect(throws: FileFailure(.open, "/dev/null", .notAFile)) {
            try HostFiles(root: HostRoot()).read("/dev/null", limit: 10)
        }
    }

    @Test func missingFilesAreNotCreated() throws {
        let scratch = try Scratch()
        let real = scratch.path + "/sys/none"
        #expect(throws: FileFailure(.open, real, errno: ENOENT)) {
            try scratch.files.read("/sys/none", limit: 10)
        }
        #expect(throws: FileFailure(.write, real, errno: ENOENT)) {
            try scratch.files.write("/sys/none", [1])
        }
        #expect(access(real, F_OK) != 0)
    }

    @Test func aShorterContentLeavesNothingOfTheOld() throws {
        let scratch = try Scratch()
        try scratch.file("knob", "4000000\n")
        try scratch.files.checkWritable("/sys/knob")
        #expect(try scratch.content("knob") == "4000000\n")
        try scratch.files.write("/sys/knob", Array("800000\n".utf8))
        #expect(try scratch.content("knob") == "800000\n")
    }

    @Test(.enabled(if: geteuid() != 0, "root is let in everywhere"))
    func missingPermissionSaysSo() throws {
        let scratch = try Scratch()
        let real = try scratch.file("x", "1", mode: 0o000)
        #expect(throws: FileFailure(.open, real, errno: EACCES)) {
            try scratch.files.read("/sys/x", limit: 10)
        }
        #expect(throws: FileFailure(.write, real, errno: EACCES)) {
            try scratch.files.checkWritable("/sys/x")
        }
    }

    @Test func failuresSayWhatWhereAndWhy() {
        let failure = FileFailure(.read, "/sys/x", errno: ENODATA)
        #expect(failure.description == "cannot read /sys/x: No data available (ENODATA)")
        #expect(FileFailure(.open, "/sys/x", .notAFile).description.contains("not a regular file"))
        #expect(FileFailure(.write, "/x", errno: EBUSY).isTransient)
        #expect(!FileFailure(.write, "/x", errno: EROFS).isTransient)
        #expect(errnoName(12_345) == "errno 12345")
    }

    @Test func linksAreFollowedInsideTheRoot() throws {
        let scratch = try Scratch()
        try scratch.file("devices/a/name", "x")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path + "/sys/link", withDestinationPath: "devices/a")
        #expect(scratch.files.resolve("/sys/link") == "/sys/devices/a")
        #expect(scratch.files.resolve("/sys/none") == nil)
    }

    @Test func textIsTrimmedAndRepaired() throws {
        let scratch = try Scratch()
        try Data([0x20, 0x41, 0xC0, 0xC0, 0x0A]).write(
            to: URL(fileURLWithPath: scratch.path + "/sys/label"))
        #expect(try scratch.files.text("/sys/label") == "A\u{FFFD}\u{FFFD}")
    }
}
