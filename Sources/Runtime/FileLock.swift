import Glibc
import Synchronization

/// A lock on a file that one process at a time can hold (`flock`); the kernel releases it when the
/// process ends, however that happens.
package final class FileLock: Sendable {
    package let path: String
    /// The open file, or -1 once released.
    private let descriptor: Mutex<CInt>

    /// Takes the lock without waiting, and writes this process's number into the file for people.
    ///
    /// - Throws: `FileLockFailure.held` when another process has it, `.unusable` when the file cannot be
    ///   opened or locked.
    package init(path: String) throws(FileLockFailure) {
        self.path = path
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .unusable(path: path, reason: errorText(errno)) }
        var status: CInt
        repeat { status = flock(descriptor, LOCK_EX | LOCK_NB) } while status != 0 && errno == EINTR
        guard status == 0 else {
            let code = errno
            defer { close(descriptor) }
            guard code == EWOULDBLOCK else { throw .unusable(path: path, reason: errorText(code)) }
            throw .held(path: path, by: Self.readNumber(descriptor))
        }
        // The number is a courtesy for the error message of the next one; a full disk may keep it out.
        let number = [UInt8]("\(getpid())\n".utf8)
        if ftruncate(descriptor, 0) == 0 { _ = pwrite(descriptor, number, number.count, 0) }
        self.descriptor = Mutex(descriptor)
    }

    deinit { release() }

    /// Gives the lock back; doing it twice does no harm. The file stays: removing it would let two
    /// processes lock two files of one name.
    package func release() {
        descriptor.withLock { descriptor in
            guard descriptor >= 0 else { return }
            // A process that another thread starts has a copy until its `exec`, and with it the lock.
            flock(descriptor, LOCK_UN)
            close(descriptor)
            descriptor = -1
        }
    }

    private static func readNumber(_ descriptor: CInt) -> Int? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        let digits = bytes[0..<count].prefix { (0x30...0x39).contains($0) }
        return Int(String(decoding: digits, as: UTF8.self))
    }
}

/// Why a lock was not taken.
package enum FileLockFailure: Error, Equatable, CustomStringConvertible {
    /// Another process holds it; its number, when the file told.
    case held(path: String, by: Int?)
    /// The lock file cannot be used.
    case unusable(path: String, reason: String)

    package var description: String {
        switch self {
        case .held(let path, let number?):
            "\(path) is locked by process \(number): stop that one first"
        case .held(let path, nil): "\(path) is locked by another process: stop that one first"
        case .unusable(let path, let reason): "\(path) cannot be locked: \(reason)"
        }
    }
}

/// What the C library says about an error number, such as `No space left on device`.
package func errorText(_ code: CInt) -> String {
    // strerror's buffer is shared between threads; this one is ours.
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
        guard let base = buffer.baseAddress, strerror_r(code, base, buffer.count) == 0 else {
            return "error \(code)"
        }
        return String(cString: base)
    }
}
