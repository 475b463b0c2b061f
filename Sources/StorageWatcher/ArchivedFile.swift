import Glibc
import Platform

/// One file on its way into an archive: where it is, and what it was when it was chosen.
struct ArchivedFile {
    /// Enough to notice that a file is not what it was.
    struct Identity: Equatable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var mode: UInt32
        var owner: UInt32
        var group: UInt32
        var modified: [Int]
        var changed: [Int]

        init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            size = Int64(status.st_size)
            mode = status.st_mode
            owner = status.st_uid
            group = status.st_gid
            modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
            changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
        }

        /// Whether a copy has all that a copy of ours can have: it belongs to us.
        func isRestored(by copy: Identity) -> Bool {
            size == copy.size && mode == copy.mode && modified == copy.modified
        }
    }

    /// Below the root, each name followed by a slash.
    var directoryPath: [UInt8]
    var name: [CChar]
    var identity: Identity
    /// Bytes on the disk.
    var bytes: Int64

    init(_ file: WalkedFile) {
        directoryPath = file.directoryPath
        name = Array(UnsafeBufferPointer(start: file.name, count: strlen(file.name) + 1))
        identity = Identity(file.status)
        bytes = file.bytes
    }

    /// Below the root.
    var path: [UInt8] { directoryPath + name.dropLast().map(UInt8.init(bitPattern:)) }
}

/// Reaches files below an open directory one after the other; those of one directory come together.
struct ArchivedFiles {
    private let top: SafeDirectory
    private var current: (path: [UInt8], directory: SafeDirectory)?

    init(_ top: SafeDirectory) { self.top = top }

    /// The directory a file is in; stays open until the next call, or `close`.
    mutating func directory(of file: ArchivedFile) throws(FileFailure) -> SafeDirectory {
        if let current, current.path == file.directoryPath { return current.directory }
        close()
        let names = file.directoryPath.split(separator: 0x2F).map { Array($0) }
        let directory = try top.descend(names)
        current = (file.directoryPath, directory)
        return directory
    }

    mutating func close() {
        current?.directory.close()
        current = nil
    }

    /// Opens a file for reading, never through a link and never waiting; `nil`: it is not there, or is
    /// no file.
    mutating func open(_ file: ArchivedFile) -> (
        descriptor: Int32, identity: ArchivedFile.Identity
    )? {
        guard let directory = try? directory(of: file) else { return nil }
        let flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
        let descriptor = openat(directory.descriptor, file.name, flags)
        guard descriptor >= 0 else { return nil }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            _ = Glibc.close(descriptor)
            return nil
        }
        return (descriptor, ArchivedFile.Identity(status))
    }
}

extension ArchivedFile {
    /// Whether the file is what it was, and a restored copy of it is the same, byte for byte.
    func isSame(_ originals: inout ArchivedFiles, _ copies: inout ArchivedFiles) -> Bool {
        guard let original = originals.open(self) else { return false }
        defer { _ = close(original.descriptor) }
        guard let copy = copies.open(self) else { return false }
        defer { _ = close(copy.descriptor) }
        return original.identity == identity && identity.isRestored(by: copy.identity)
            && Self.isSameContent(original.descriptor, copy.descriptor)
    }

    private static func isSameContent(_ one: Int32, _ other: Int32) -> Bool {
        let size = 256 * 1024
        return withUnsafeTemporaryAllocation(byteCount: 2 * size, alignment: 16) { buffer in
            guard let base = buffer.baseAddress else { return false }
            while true {
                let (left, right) = (fill(one, base, size), fill(other, base + size, size))
                guard left == right, left >= 0 else { return false }
                if left == 0 { return true }
                guard memcmp(base, base + size, left) == 0 else { return false }
            }
        }
    }

    /// Reads as much as fits, fewer only at the end; -1: it cannot be read.
    private static func fill(_ descriptor: Int32, _ base: UnsafeMutableRawPointer, _ size: Int)
        -> Int
    {
        var count = 0
        while count < size {
            let got = read(descriptor, base + count, size - count)
            if got < 0 && errno == EINTR { continue }
            if got < 0 { return -1 }
            if got == 0 { break }
            count += got
        }
        return count
    }
}
