import Glibc

/// Access to the node's small files under `/sys` and `/proc`. Paths are the node's own, without the
/// host root. Tests put one in between that answers as broken drivers do.
package protocol FileAccess: Sendable {
    /// The content of a regular file, at most `limit` bytes of it.
    func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8]
    /// Replaces the content of an existing file in one `write`; never creates one.
    func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure)
    /// Finds out whether `write` would be let in, and changes nothing.
    func checkWritable(_ path: String) throws(FileFailure)
    /// The names in a directory, without `.` and `..`, in no particular order.
    func names(in directory: String) throws(FileFailure) -> [String]
    /// The path with all symbolic links followed, as the node sees it; `nil` when it leads nowhere.
    func resolve(_ path: String) -> String?
}

extension FileAccess {
    /// The content as text without the white space around it; bytes that are no UTF-8 are replaced,
    /// because labels and serial numbers in sysfs may hold any byte.
    package func text(_ path: String) throws(FileFailure) -> String {
        let bytes = try read(path, limit: HostFiles.attributeLimit)
        return String(decoding: bytes.trimmingWhiteSpace(), as: UTF8.self)
    }

    /// The content as text, or `nil` when it cannot be read.
    package func textIfReadable(_ path: String) -> String? { try? text(path) }

    /// A decimal integer, or `nil` when the file cannot be read or holds anything else.
    package func integerIfReadable(_ path: String) -> Int64? {
        guard let bytes = try? read(path, limit: HostFiles.attributeLimit) else { return nil }
        return Int64(sysfs: bytes)
    }
}

/// The real files of the node.
package struct HostFiles: FileAccess {
    /// A sysfs attribute is at most one page long.
    package static let attributeLimit = 4096
    /// More names than this in one directory are an error; `/sys/class/hwmon` has a few dozen.
    package static let maxNames = 8192
    /// How often one system call is repeated after EINTR.
    static let maxInterrupts = 3

    package let root: HostRoot
    private let resolvedPrefix: String

    package init(root: HostRoot) {
        self.root = root
        resolvedPrefix = root.isMachine ? "" : realPath(root.prefix) ?? root.prefix
    }

    package func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        let real = root.real(path)
        let descriptor = try open(real, O_RDONLY, .open)
        defer { close(descriptor) }
        // One byte more than the limit tells "exactly as long" from "longer".
        var failure: FileFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: limit + 1) { buffer, count in
            var got = -1
            for _ in 0...Self.maxInterrupts {
                got = Glibc.read(descriptor, buffer.baseAddress, limit + 1)
                if got >= 0 || errno != EINTR { break }
            }
            count = max(got, 0)
            if got < 0 { failure = FileFailure(.read, real, errno: errno) }
        }
        if let failure { throw failure }
        if bytes.count > limit { throw FileFailure(.read, real, .tooLong(limit: limit)) }
        return bytes
    }

    /// The content of a file that the kernel hands out piece by piece, such as `/proc/self/mountinfo`.
    package func readAll(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        let real = root.real(path)
        let descriptor = try open(real, O_RDONLY, .open)
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let got = Glibc.read(descriptor, &chunk, chunk.count)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw FileFailure(.read, real, errno: errno) }
            if got == 0 { return bytes }
            guard bytes.count + got <= limit else {
                throw FileFailure(.read, real, .tooLong(limit: limit))
            }
            bytes += chunk[..<got]
        }
    }

    package func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure) {
        let real = root.real(path)
        let descriptor = try open(real, O_WRONLY, .write)
        defer { close(descriptor) }
        var put = -1
        for _ in 0...Self.maxInterrupts {
            put = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if put >= 0 || errno != EINTR { break }
        }
        guard put >= 0 else { throw FileFailure(.write, real, errno: errno) }
        guard put == bytes.count else { throw FileFailure(.write, real, errno: EIO) }
        // sysfs ignores this; an ordinary file would keep the tail of a longer old content.
        _ = ftruncate(descriptor, off_t(put))
    }

    package func checkWritable(_ path: String) throws(FileFailure) {
        close(try open(root.real(path), O_WRONLY, .write))
    }

    package func names(in directory: String) throws(FileFailure) -> [String] {
        let real = root.real(directory)
        guard let stream = opendir(real) else { throw FileFailure(.list, real, errno: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            guard names.count < Self.maxNames else {
                throw FileFailure(.list, real, .tooLong(limit: Self.maxNames))
            }
            names.append(name)
        }
        return names
    }

    package func resolve(_ path: String) -> String? {
        guard let resolved = realPath(root.real(path)) else { return nil }
        guard resolved.hasPrefix(resolvedPrefix + "/") else { return resolved }
        return String(resolved.dropFirst(resolvedPrefix.count))
    }

    /// Opens without ever waiting (a FIFO or a device in place of a file would hang a plain open) and
    /// lets only regular files through.
    private func open(
        _ real: String, _ flags: Int32, _ operation: FileFailure.Operation
    ) throws(FileFailure) -> Int32 {
        var descriptor: Int32 = -1
        for _ in 0...Self.maxInterrupts {
            descriptor = Glibc.open(real, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
            if descriptor >= 0 || errno != EINTR { break }
        }
        guard descriptor >= 0 else {
            // What a FIFO without a reader, and a directory, answer to a writer.
            if errno == ENXIO && flags == O_WRONLY || errno == EISDIR {
                throw FileFailure(operation, real, .notAFile)
            }
            throw FileFailure(operation, real, errno: errno)
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw FileFailure(operation, real, .notAFile)
        }
        return descriptor
    }
}

/// `realpath(3)`: the path without symbolic links, or `nil`.
private func realPath(_ path: String) -> String? {
    guard let pointer = realpath(path, nil) else { return nil }
    defer { free(pointer) }
    return String(cString: pointer)
}

extension Collection where Element == UInt8 {
    /// The bytes without spaces, tabs, newlines and NULs at both ends.
    func trimmingWhiteSpace() -> SubSequence {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte <= 0x0D }
        var rest = self[...]
        while let first = rest.first, isBlank(first) { rest = rest.dropFirst() }
        var count = 0
        var last = 0
        for byte in rest {
            count += 1
            if !isBlank(byte) { last = count }
        }
        return rest.prefix(last)
    }
}

extension Int64 {
    /// The integer that a sysfs attribute holds: decimal digits with an optional sign and white space
    /// around them; `nil` for anything else, and for what does not fit 64 bits.
    package init?(sysfs bytes: some Collection<UInt8>) {
        var digits = bytes.trimmingWhiteSpace()
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative || digits.first == UInt8(ascii: "+") { digits = digits.dropFirst() }
        guard !digits.isEmpty else { return nil }
        var value: Int64 = 0
        for byte in digits {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let digit = Int64(byte - 0x30)
            let (sum, overflow2) = product.addingReportingOverflow(isNegative ? -digit : digit)
            guard !overflow, !overflow2 else { return nil }
            value = sum
        }
        self = value
    }
}
