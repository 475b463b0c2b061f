package import Platform

/// Chooses the mounts that are watched: each real file system once. Pure.
package struct MountSelector: Sendable {
    /// File systems that hold nothing of anybody's, or cannot be written to by their nature.
    static let pseudoTypes: Set<String> = [
        "proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "bpf", "tracefs",
        "debugfs", "securityfs", "pstore", "configfs", "fusectl", "hugetlbfs", "autofs",
        "binfmt_misc", "rpc_pipefs", "nsfs", "squashfs", "iso9660", "udf", "erofs", "ramfs",
        "efivarfs", "selinuxfs", "nfsd", "resctrl", "fuse.lxcfs", "fuse.gvfsd-fuse", "fuse.portal",
        "fuse.snapfuse", "none",
    ]
    /// Behind these is something that may not answer. They are asked last.
    private static let remoteTypes = [
        "nfs", "cifs", "smb", "fuse", "ceph", "9p", "afs", "gluster", "lustre", "beegfs", "ocfs2",
        "gfs2", "virtiofs",
    ]

    private let include: [GlobPattern]
    private let exclude: [GlobPattern]
    /// At which point each file system was watched the last time.
    private var points: [DeviceNumber: [UInt8]]

    /// A mount that is watched.
    package struct Choice: Sendable, Equatable {
        package var mount: MountEntry
        /// Whether all mounts of its file system are read-only.
        package var isLocked: Bool
    }

    /// - `include`: patterns for mount points; `exclude` is stronger.
    /// - `earlier`: whose choices are kept as far as they are still watched.
    package init(include: [String], exclude: [String], after earlier: MountSelector? = nil) {
        self.include = include.map { GlobPattern(path: $0) }
        self.exclude = exclude.map { GlobPattern(path: $0) }
        points = earlier?.points ?? [:]
    }

    /// What is watched of a list of mounts: local ones first, then by name.
    package mutating func select(_ entries: [MountEntry]) -> [Choice] {
        // The latest mount on a point hides those before it.
        var tops: [[UInt8]: Int] = [:]
        for (index, entry) in entries.enumerated() { tops[entry.point] = index }
        var best: [DeviceNumber: MountEntry] = [:]
        var writable: Set<DeviceNumber> = []
        for (index, entry) in entries.enumerated() {
            if !entry.isLocked { writable.insert(entry.device) }
            guard tops[entry.point] == index, isWatched(entry) else { continue }
            if let other = best[entry.device], represents(other, better: entry) { continue }
            best[entry.device] = entry
        }
        points = best.mapValues(\.point)
        let sorted = best.values.sorted { left, right in
            let (isLeftRemote, isRightRemote) = (Self.isRemote(left), Self.isRemote(right))
            guard isLeftRemote == isRightRemote else { return isRightRemote }
            return left.point.lexicographicallyPrecedes(right.point)
        }
        return sorted.map { Choice(mount: $0, isLocked: !writable.contains($0.device)) }
    }

    /// Where a mount's file system comes from when it may be on another machine, or in another process;
    /// `nil`: it is this machine's own.
    static func origin(_ entry: MountEntry) -> String? {
        guard isRemote(entry) else { return nil }
        let source = entry.source
        if source.hasPrefix("//") { return String(source.dropFirst(2).prefix { $0 != "/" }) }
        // `server:/export`; the rest has nothing in common that could be known.
        if let slash = source.firstIndex(of: "/"), source[..<slash].hasSuffix(":") {
            return String(source[..<slash])
        }
        return entry.name
    }

    /// Whether a mount's file system may be on another machine, or in another process.
    static func isRemote(_ entry: MountEntry) -> Bool {
        remoteTypes.contains { entry.type.hasPrefix($0) }
    }

    private func isWatched(_ entry: MountEntry) -> Bool {
        guard !Self.pseudoTypes.contains(entry.type) else { return false }
        // A container's overlay has the numbers of the file system that its layers are on, which is
        // watched itself; inside of the container it is all there is to see.
        guard entry.type != "overlay" || entry.point == [0x2F] else { return false }
        return include.contains { $0.matches(entry.point) }
            && !exclude.contains { $0.matches(entry.point) }
    }

    /// Whether `one` says better what file system it is than `other` does: the one that was chosen
    /// before, for an alert is about a point; then one that can be written to, the one that shows more
    /// of it, and the one that is nearer to the root.
    private func represents(_ one: MountEntry, better other: MountEntry) -> Bool {
        if let point = points[one.device], (one.point == point) != (other.point == point) {
            return one.point == point
        }
        guard one.isLocked == other.isLocked else { return !one.isLocked }
        let (left, right) = (
            (one.root.count, one.point.count), (other.root.count, other.point.count)
        )
        return left != right ? left < right : one.point.lexicographicallyPrecedes(other.point)
    }
}
