import Glibc

/// Why a file of the node could not be read or written.
package struct FileFailure: Error, Equatable, CustomStringConvertible {
    /// What was tried.
    package enum Operation: String, Sendable { case open, read, write, list, delete }

    /// What stood in the way.
    package enum Problem: Sendable, Equatable {
        /// The system call's errno.
        case errno(Int32)
        /// A directory, FIFO, socket or device is in the place of a file.
        case notAFile
        /// There is more than this many bytes.
        case tooLong(limit: Int)
        /// Not a directory in which anything may be deleted.
        case forbidden
    }

    package var operation: Operation
    /// The real path, host root included.
    package var path: String
    package var problem: Problem

    package init(_ operation: Operation, _ path: String, _ problem: Problem) {
        self.operation = operation
        self.path = path
        self.problem = problem
    }

    package init(_ operation: Operation, _ path: String, errno: Int32) {
        self.init(operation, path, .errno(errno))
    }

    /// The errno, when a system call gave one.
    package var errno: Int32? { if case .errno(let code) = problem { code } else { nil } }

    /// Whether the same call may succeed in a moment.
    package var isTransient: Bool {
        errno == EAGAIN || errno == EBUSY || errno == EINTR
    }

    /// The errno's name (`ENODATA`), or what else was wrong in one word or two.
    package var shortReason: String {
        switch problem {
        case .errno(let code): errnoName(code)
        case .notAFile: "not a file"
        case .tooLong: "too long"
        case .forbidden: "forbidden"
        }
    }

    package var description: String {
        switch problem {
        case .errno(let code):
            "cannot \(operation.rawValue) \(path): \(errnoText(code)) (\(errnoName(code)))"
        case .notAFile: "cannot \(operation.rawValue) \(path): it is not a regular file"
        case .tooLong(let limit):
            "cannot \(operation.rawValue) \(path): it is longer than \(limit) bytes"
        case .forbidden:
            "\(path) is not cleaned: it is no absolute path without dots, or the system lives there"
        }
    }
}

/// Writes all bytes where an open file stands.
package func writeAll(
    _ bytes: [UInt8], to descriptor: Int32, _ path: String
) throws(FileFailure) {
    var start = 0
    while start < bytes.count {
        let put = bytes[start...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if put < 0 && errno == EINTR { continue }
        guard put > 0 else { throw FileFailure(.write, path, errno: put < 0 ? errno : EIO) }
        start += put
    }
}

/// The system's sentence for an errno, such as `No data available`.
package func errnoText(_ code: Int32) -> String {
    // glibc's strerror has used thread-local storage since 2.32, so this is safe on any thread.
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text)
}

/// The symbol of an errno that drivers are known to return, else `errno N`.
package func errnoName(_ code: Int32) -> String {
    switch code {
    case EACCES: "EACCES"
    case EAGAIN: "EAGAIN"
    case EBUSY: "EBUSY"
    case EINTR: "EINTR"
    case EINVAL: "EINVAL"
    case EIO: "EIO"
    case EISDIR: "EISDIR"
    case ELOOP: "ELOOP"
    case EMFILE: "EMFILE"
    case ENFILE: "ENFILE"
    case ENODATA: "ENODATA"
    case ENODEV: "ENODEV"
    case ENOENT: "ENOENT"
    case ENOMEM: "ENOMEM"
    case ENOSPC: "ENOSPC"
    case ENOTDIR: "ENOTDIR"
    case ENXIO: "ENXIO"
    case EOPNOTSUPP: "EOPNOTSUPP"
    case EPERM: "EPERM"
    case ENOTCONN: "ENOTCONN"
    case ENOTEMPTY: "ENOTEMPTY"
    case ERANGE: "ERANGE"
    case EROFS: "EROFS"
    case ESTALE: "ESTALE"
    case ETIMEDOUT: "ETIMEDOUT"
    case EXDEV: "EXDEV"
    default: "errno \(code)"
    }
}
