import Glibc

/// A file that holds a secret: for its owner only, from the first byte on.
package struct SecretFile: Sendable {
    package let path: String

    /// Writes a file that is there for a moment only, in memory where the system has a place for that.
    package static func temporary(_ bytes: [UInt8]) throws(FileFailure) -> SecretFile {
        let directory =
            ["/run", "/dev/shm"].first { (place: String) in
                access(place, W_OK) == 0
            } ?? "/tmp"
        var template = Array("\(directory)/skos-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        let path = template.withUnsafeBufferPointer { name in
            name.baseAddress.map { String(cString: $0) } ?? ""
        }
        guard descriptor >= 0 else { throw FileFailure(.write, path, errno: errno) }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        let file = SecretFile(path: path)
        do throws(FileFailure) { try put(descriptor, path, bytes) } catch {
            file.remove()
            throw error
        }
        return file
    }

    package func remove() { unlink(path) }

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
        var start = 0
        while start < bytes.count {
            let put = bytes[start...].withUnsafeBytes {
                write(descriptor, $0.baseAddress, $0.count)
            }
            if put < 0 && errno == EINTR { continue }
            guard put > 0 else { throw FileFailure(.write, path, errno: put < 0 ? errno : EIO) }
            start += put
        }
        guard fsync(descriptor) == 0 else { throw FileFailure(.write, path, errno: errno) }
    }
}
