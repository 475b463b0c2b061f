import Glibc

/// Files that hold a secret: for their owner only, from the first byte on.
package enum SecretFile {
    /// Replaces a file as a whole, or makes it: after a crash it is the old one or the new one. On the
    /// disk when this returns.
    package static func replace(_ path: String, _ bytes: [UInt8]) throws(FileFailure) {
        let temporary = "\(path).skos-new"
        // Left behind by a crash.
        unlink(temporary)
        let descriptor = open(
            temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw FileFailure(.write, temporary, errno: errno) }
        do throws(FileFailure) { try put(descriptor, temporary, bytes) } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, path) == 0 else {
            let code = errno
            unlink(temporary)
            throw FileFailure(.write, path, errno: code)
        }
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        let directory = open(String(path[..<slash]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            close(directory)
        }
    }

    /// Writes all bytes, syncs and closes.
    private static func put(
        _ descriptor: Int32, _ path: String, _ bytes: [UInt8]
    ) throws(FileFailure) {
        defer { close(descriptor) }
        // Whatever the process's mask is.
        guard fchmod(descriptor, 0o600) == 0 else {
            throw FileFailure(.write, path, errno: errno)
        }
        try writeAll(bytes, to: descriptor, path)
        guard fsync(descriptor) == 0 else { throw FileFailure(.write, path, errno: errno) }
    }
}
