import CShim
import Glibc

/// How full a file system is.
package struct FileSystemUsage: Sendable, Equatable {
    /// All of it, in bytes; 0 for one that has no size.
    package var size: UInt64
    /// Of these, bytes that hold nothing.
    package var free: UInt64
    /// Bytes that ordinary users may still fill: without the reserve of the administrator.
    package var available: UInt64
    /// Inodes; 0 for one that has no fixed number of them.
    package var inodes: UInt64
    package var inodesFree: UInt64

    package init(
        size: UInt64, free: UInt64, available: UInt64, inodes: UInt64 = 0, inodesFree: UInt64 = 0
    ) {
        self.size = size
        self.free = free
        self.available = available
        self.inodes = inodes
        self.inodesFree = inodesFree
    }

    /// Bytes that hold something.
    package var used: UInt64 { size - min(free, size) }

    /// What percent of what ordinary users can use is used, as `df` says it; `nil`: it has no size.
    package var usedPercent: Double? {
        let whole = Double(used) + Double(available)
        return whole > 0 ? Double(used) / whole * 100 : nil
    }

    /// What percent of the inodes is used; `nil`: it has no fixed number of them.
    package var inodesUsedPercent: Double? {
        inodes > 0 ? Double(inodes - min(inodesFree, inodes)) / Double(inodes) * 100 : nil
    }

    private init(_ status: statvfs) {
        let unit = UInt64(status.f_frsize)
        func bytes(_ blocks: fsblkcnt_t) -> UInt64 {
            let (product, overflow) = UInt64(blocks).multipliedReportingOverflow(by: unit)
            return overflow ? .max : product
        }
        // The reserve may be eaten into, and a remote file system may say anything.
        self.init(
            size: bytes(status.f_blocks), free: bytes(status.f_bfree),
            available: min(bytes(status.f_bavail), bytes(status.f_bfree)),
            inodes: UInt64(status.f_files), inodesFree: UInt64(status.f_ffree))
    }

    /// Asks the file system that an open directory or file is on.
    package init(descriptor: Int32) throws(FileFailure) {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else {
            throw FileFailure(.read, "descriptor \(descriptor)", errno: errno)
        }
        self.init(status)
    }

    /// Asks the file system mounted at a point of the node; hangs where a dead server does not answer.
    ///
    /// - Returns: `nil` when something else is mounted over it, or it is not visible from here.
    /// - Throws: why there is no answer.
    package static func read(
        _ mount: MountEntry, root: HostRoot
    ) throws(FileFailure) -> FileSystemUsage? {
        let path =
            Array(root.prefix.utf8CString.dropLast()) + mount.point.map(CChar.init(bitPattern:))
        var status = statvfs()
        guard statvfs(path + [0], &status) == 0 else {
            if errno == ENOENT { return nil }
            throw FileFailure(.read, root.real(mount.name), errno: errno)
        }
        guard try isVisible(mount, path + [0], status) else { return nil }
        return FileSystemUsage(status)
    }

    /// Whether what stands at the path is the mount. A btrfs gives each subvolume a number of its own,
    /// and an overlay its files those of its layers.
    private static func isVisible(
        _ mount: MountEntry, _ path: [CChar], _ status: statvfs
    ) throws(FileFailure) -> Bool {
        if mount.type == "btrfs" || mount.type == "overlay" { return true }
        var identity = skos_identity()
        let code = skos_identify(AT_FDCWD, path, &identity)
        guard code == 0 else { throw FileFailure(.read, mount.name, errno: -code) }
        return DeviceNumber(major: identity.major, minor: identity.minor) == mount.device
    }
}
