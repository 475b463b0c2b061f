import CShim
package import Glibc

/// The files that processes of the node have open, as of one look at all of them.
package struct OpenFiles: Sendable {
    /// More are an error: nobody would know which ones are missing.
    static let limit = 4_000_000

    private struct Identity: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    /// What is known of one file.
    package enum State: Sendable { case closed, open, unknown }

    private var identities: Set<Identity> = []
    /// Users some of whose processes do not let us see what they have open.
    private var hiddenUsers: Set<UInt32> = []
    /// Whether we may be shown our own processes only.
    private let seesOnlyOwn: Bool

    /// Whether somebody has a file open; unknown when a process of the file's owner, or of the
    /// administrator, keeps it to itself.
    package func state(of status: stat) -> State {
        let identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        if identities.contains(identity) { return .open }
        let isHidden =
            hiddenUsers.contains(status.st_uid) || seesOnlyOwn && status.st_uid != geteuid()
        return isHidden ? .unknown : .closed
    }

    /// Why a file of an open directory must not be taken; `nil`: nobody has it open.
    ///
    /// The kernel knows best, also of processes that are not shown to us. Where it does not say, as on
    /// some file systems, what was seen of the processes decides.
    package func objection(
        _ status: stat, _ name: UnsafePointer<CChar>, _ directory: SafeDirectory
    ) -> SkipReason? {
        let seen = state(of: status)
        if seen == .open { return .open }
        switch directory.isOpen(name) {
        case true?: return .open
        case false?: return nil
        case nil: return seen == .closed ? nil : .maybeOpen
        }
    }

    /// Looks at all processes of the node.
    ///
    /// - Throws: why they cannot be seen; then nothing is known to be closed.
    package static func collect(_ root: HostRoot) throws(FileFailure) -> OpenFiles {
        let real = root.real("/proc")
        guard let stream = opendir(real) else { throw FileFailure(.list, real, errno: errno) }
        defer { closedir(stream) }
        var found = OpenFiles(seesOnlyOwn: geteuid() != 0)
        var processes = 0
        while let entry = readdir(stream) {
            let name = entryName(entry)
            guard (0x31...0x39).contains(name.pointee) else { continue }
            processes += 1
            try found.look(at: real + "/" + String(cString: name))
        }
        // A /proc that is something else, or is not there, shows nobody: not even ourselves.
        guard processes > 0 else { throw FileFailure(.list, real, errno: ENODATA) }
        return found
    }

    private init(seesOnlyOwn: Bool) { self.seesOnlyOwn = seesOnlyOwn }

    private mutating func look(at process: String) throws(FileFailure) {
        guard let stream = opendir(process + "/fd") else {
            if errno == EACCES || errno == EPERM { hide(process) }
            // Anything else: it has ended.
            return
        }
        defer { closedir(stream) }
        let directory = dirfd(stream)
        while let entry = readdir(stream) {
            let name = entryName(entry)
            guard (0x30...0x39).contains(name.pointee) else { continue }
            var identity = skos_identity()
            let code = skos_identify(directory, name, &identity)
            if code == -EACCES || code == -EPERM { return hide(process) }
            guard code == 0, identity.mode & S_IFMT == S_IFREG else { continue }
            let device = makedev(identity.major, identity.minor)
            identities.insert(Identity(device: UInt64(device), inode: identity.inode))
            guard identities.count <= Self.limit else {
                throw FileFailure(.list, process + "/fd", .tooLong(limit: Self.limit))
            }
        }
    }

    /// Takes note of the users of a process that shows nothing.
    private mutating func hide(_ process: String) {
        let path = process + "/status"
        guard let text = try? HostFiles(root: HostRoot()).read(path, limit: 64 * 1024) else {
            return
        }
        for line in text.split(separator: 0x0A) where line.starts(with: "Uid:".utf8) {
            for word in line.dropFirst(4).split(separator: 0x09) {
                if let user = Int64(sysfs: word), let user = UInt32(exactly: user) {
                    hiddenUsers.insert(user)
                }
            }
        }
    }
}

/// The name in a directory entry, for as long as the entry stays.
func entryName(_ entry: UnsafeMutablePointer<dirent>) -> UnsafePointer<CChar> {
    // The name is a tuple to Swift; its address is that of the entry and a constant.
    guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else {
        preconditionFailure("a directory entry has a name")
    }
    return UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: CChar.self)
}

/// The number that `stat` gives for a device, as glibc makes it: Swift does not see the macro.
private func makedev(_ major: UInt32, _ minor: UInt32) -> UInt64 {
    let (major, minor) = (UInt64(major), UInt64(minor))
    return (major & 0xFFFF_F000) << 32 | (major & 0xFFF) << 8 | (minor & 0xFFFF_FF00) << 12
        | minor & 0xFF
}
