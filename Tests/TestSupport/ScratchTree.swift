import Glibc
import Platform

/// A directory that is gone with its last user, and a few ways to fill it.
package final class ScratchTree: Sendable {
    package let path: String

    package init() throws {
        var template = Array("/tmp/skos-tree-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw Volume.Failure(description: "mkdtemp: \(errno)")
        }
        path = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
    }

    deinit { try? Volume.run("/bin/rm", ["-rf", "--one-file-system", path]) }

    @discardableResult
    package func directory(_ name: String) -> String {
        let whole = path + "/" + name
        var made = ""
        for part in whole.split(separator: "/") {
            made += "/" + part
            mkdir(made, 0o755)
        }
        return whole
    }

    @discardableResult
    package func file(_ name: String, bytes: Int = 10) throws -> String {
        let whole = path + "/" + name
        try Self.write(whole, bytes: bytes)
        return whole
    }

    /// Writes a file of pseudo-random content; nobody has it open afterwards, not even a child that
    /// another test is about to start.
    ///
    /// - Throws: `Failure` with the errno, also when there is no room left.
    package static func write(_ path: String, bytes: Int) throws {
        try write(Array(path.utf8), bytes: bytes)
    }

    /// As above, for a name that need not be text.
    package static func write(_ path: [UInt8], bytes: Int) throws {
        try withPrivateDescriptors { try fill(path, bytes: bytes) }
    }

    private static func fill(_ bytesOfPath: [UInt8], bytes: Int) throws {
        let path = String(decoding: bytesOfPath, as: UTF8.self)
        let descriptor = open(
            bytesOfPath.map(CChar.init(bitPattern:)) + [0],
            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Volume.Failure(description: "open \(path): \(errno)") }
        defer { close(descriptor) }
        var state = UInt64(bytes) &* 2_654_435_761 &+ UInt64(bytesOfPath.count)
        var chunk = [UInt8](repeating: 0, count: min(max(bytes, 1), 1 << 16))
        for index in chunk.indices {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            chunk[index] = UInt8(truncatingIfNeeded: state >> 33)
        }
        var left = bytes
        while left > 0 {
            let put = Glibc.write(descriptor, chunk, min(left, chunk.count))
            guard put > 0 else { throw Volume.Failure(description: "write \(path): \(errno)") }
            left -= put
        }
    }

    package func exists(_ name: String) -> Bool { access(path + "/" + name, F_OK) == 0 }

    /// Names of all files below a directory, links not followed.
    package static func count(_ path: String) -> Int {
        guard
            let output = try? Subprocess(
                "/usr/bin/find", [path, "-xdev", "-type", "f", "-printf", "x"],
                timeLimit: .seconds(60),
                outputLimit: 16 << 20
            ).run()
        else { return -1 }
        return output.output.count
    }
}
