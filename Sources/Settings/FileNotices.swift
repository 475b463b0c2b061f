import Glibc

/// Tells when a file may have changed, by inotify, so that a saved edit need not wait for the next look.
///
/// Watches the folder of the path (files renamed over it, links swapped, files deleted and made again)
/// and the file behind it (writes in place, also through another mount). It only ever hints; where it
/// cannot work (too many watches, network file systems, overlays) the caller's own looks must do.
struct FileNotices: ~Copyable {
    /// What has been heard since the last time.
    struct Heard: Equatable {
        /// Something happened to the file.
        var isTouched = false
        /// Somebody has written to the file and not closed it yet.
        var isBeingWritten = false
    }

    /// Bytes of events taken at once; one event is at most 16 bytes and a name of 256.
    private static let bufferSize = 4096
    private static let folderEvents =
        UInt32(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_DELETE_SELF | IN_MOVE_SELF)
        | UInt32(IN_MOVED_TO | IN_MOVED_FROM)
    private static let fileEvents =
        UInt32(IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

    /// For `poll`; readable when there is something to hear.
    let descriptor: CInt
    private let file: String
    private let folder: String
    private var folderWatch: CInt = -1
    private var fileWatch: CInt = -1
    private var heard = Heard()

    /// `nil` when the system allows no more of these.
    init?(file: String) {
        descriptor = inotify_init1(CInt(IN_CLOEXEC) | CInt(IN_NONBLOCK))
        guard descriptor >= 0 else { return nil }
        self.file = file
        let slash = file.utf8.lastIndex(of: UInt8(ascii: "/"))
        folder = slash.map { $0 == file.startIndex ? "/" : String(file[..<$0]) } ?? "."
        watch()
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Watches what the path leads to now. Cheap, and to be called often: folder and file may have been
    /// made anew since.
    mutating func watch() {
        folderWatch = renewed(folderWatch, folder, Self.folderEvents)
        let new = renewed(fileWatch, file, Self.fileEvents)
        // Whoever writes to a file that the path no longer leads to does not concern us.
        if new != fileWatch { heard = Heard(isTouched: true) }
        fileWatch = new
    }

    /// Adding a watch for the same inode again gives the same number.
    private func renewed(_ old: CInt, _ path: String, _ events: UInt32) -> CInt {
        let new = inotify_add_watch(descriptor, path, events)
        if old >= 0, new != old { _ = inotify_rm_watch(descriptor, old) }
        return new
    }

    /// Takes everything there is to hear. Never blocks.
    mutating func listen() -> Heard {
        var buffer = [UInt8](repeating: 0, count: Self.bufferSize)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            buffer.withUnsafeBytes { take(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        }
        defer { heard.isTouched = false }
        return heard
    }

    /// Reads a run of `struct inotify_event`: wd, mask, cookie, length of the name, name.
    private mutating func take(_ events: UnsafeRawBufferPointer) {
        var offset = 0
        while offset + 16 <= events.count {
            let watch = events.loadUnaligned(fromByteOffset: offset, as: CInt.self)
            let mask = events.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
            let length = events.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self)
            offset += 16 + Int(length)
            // In the folder, any change may be to a link on the way to the file; the caller looks.
            heard.isTouched = heard.isTouched || watch == fileWatch || watch == -1
            guard watch == fileWatch else { continue }
            if mask & UInt32(IN_MODIFY) != 0 { heard.isBeingWritten = true }
            if mask & UInt32(IN_CLOSE_WRITE | IN_DELETE_SELF | IN_IGNORED) != 0 {
                heard.isBeingWritten = false
            }
        }
    }
}

/// What tells one state of a file from another without reading it.
struct FileSignature: Equatable {
    private var device: dev_t
    private var inode: ino_t
    private var size: off_t
    private var modified: [Int]

    /// The file that a path leads to, links followed; `nil` when there is none.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = status.st_dev
        inode = status.st_ino
        size = status.st_size
        modified = [
            status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
            status.st_ctim.tv_nsec,
        ]
    }
}
