import Platform
import Testing

@testable import StorageWatcher

/// A list of mounts, and the mount points that are watched of it.
struct Selection: Sendable, CustomTestStringConvertible {
    var name: String
    var lines: [String]
    var include = ["/**"]
    var exclude: [String] = []
    var points: [String]
    var testDescription: String { name }
}

@Suite struct MountSelectorTests {
    static let selections = [
        Selection(
            name: "pseudo file systems are none",
            lines: [
                Mounts.line(1, "0:1", "/proc", "proc"), Mounts.line(2, "0:2", "/sys", "sysfs"),
                Mounts.line(3, "0:3", "/sys/fs/cgroup", "cgroup2"),
                Mounts.line(4, "0:4", "/snap/core", "squashfs"),
                Mounts.line(5, "0:5", "/mnt/auto", "autofs"),
                Mounts.line(6, "8:1", "/", "ext4"), Mounts.line(7, "0:7", "/run", "tmpfs"),
            ], points: ["/", "/run"]),
        Selection(
            name: "bind mounts are one, the one that shows most",
            lines: [
                Mounts.line(1, "8:1", "/etc/hosts", "ext4", root: "/var/lib/x/hosts"),
                Mounts.line(2, "8:1", "/srv/long-name", "ext4"),
                Mounts.line(3, "8:1", "/data", "ext4"),
                Mounts.line(4, "8:1", "/a", "ext4", root: "/sub"),
            ], points: ["/data"]),
        Selection(
            name: "subvolumes of a btrfs are one",
            lines: [
                Mounts.line(1, "0:30", "/", "btrfs", root: "/@"),
                Mounts.line(2, "0:30", "/home", "btrfs", root: "/@home"),
            ], points: ["/"]),
        Selection(
            name: "overlays of containers are their host's; one's own root is not",
            lines: [
                Mounts.line(1, "8:1", "/", "xfs"),
                Mounts.line(2, "0:50", "/var/lib/docker/overlay2/x/merged", "overlay"),
            ], points: ["/"]),
        Selection(
            name: "in a container the overlay is the root",
            lines: [Mounts.line(1, "0:50", "/", "overlay")], points: ["/"]),
        Selection(
            name: "what is mounted over is hidden",
            lines: [
                Mounts.line(1, "8:1", "/mnt", "ext4"), Mounts.line(2, "8:2", "/mnt", "ext4"),
            ], points: ["/mnt"]),
        Selection(
            name: "patterns choose; exclude is stronger",
            lines: [
                Mounts.line(1, "8:1", "/", "ext4"), Mounts.line(2, "8:2", "/srv/a", "ext4"),
                Mounts.line(3, "8:3", "/srv/a/b", "ext4"), Mounts.line(4, "8:4", "/srv/c", "ext4"),
            ], include: ["/srv/*"], exclude: ["/srv/c"], points: ["/srv/a"]),
        Selection(
            name: "remote ones are asked last",
            lines: [
                Mounts.line(1, "0:60", "/a", "nfs4"), Mounts.line(2, "0:61", "/b", "fuse.sshfs"),
                Mounts.line(3, "8:1", "/z", "ext4"),
            ], points: ["/z", "/a", "/b"]),
        Selection(
            name: "names with newlines and spaces are names",
            lines: [Mounts.line(1, "8:1", "/a\\012b\\040c", "ext4")], points: ["/a\\012b c"]),
    ]

    @Test(arguments: selections) func selects(_ row: Selection) {
        var selector = MountSelector(include: row.include, exclude: row.exclude)
        #expect(selector.select(Mounts.parse(row.lines)).map(\.mount.name) == row.points)
    }

    private func points(_ selector: inout MountSelector, _ lines: [String]) -> [String] {
        selector.select(Mounts.parse(lines)).map(\.mount.name)
    }

    @Test("a file system keeps its point while it is mounted there, whatever else comes and goes")
    func keeps() {
        let root = Mounts.line(1, "0:30", "/", "btrfs", root: "/@")
        let whole = Mounts.line(2, "0:30", "/run/snapshots", "btrfs")
        let locked = Mounts.line(1, "0:30", "/", "btrfs", root: "/@", options: "ro")
        var selector = MountSelector(include: ["/**"], exclude: [])
        #expect(points(&selector, [root]) == ["/"])
        #expect(points(&selector, [root, whole]) == ["/"])
        #expect(points(&selector, [locked, whole]) == ["/"])
        var edited = MountSelector(include: ["/**"], exclude: ["/x"], after: selector)
        #expect(points(&edited, [whole, root]) == ["/"])
        #expect(points(&edited, [whole]) == ["/run/snapshots"])
        #expect(points(&edited, [whole, root]) == ["/run/snapshots"])
        var excluding = MountSelector(include: ["/**"], exclude: ["/run/**"], after: edited)
        #expect(points(&excluding, [whole, root]) == ["/"])
    }

    /// The points of two mounts of one file system, and whether nothing can be written to it.
    @Test(
        arguments: [
            ("rw", "rw", "rw", false), ("ro", "rw", "rw", false), ("rw", "ro", "rw", false),
            ("ro", "ro", "rw", true), ("rw", "rw", "ro", true),
        ])
    func locks(_ row: (first: String, second: String, system: String, isLocked: Bool)) {
        var selector = MountSelector(include: ["/**"], exclude: [])
        let chosen = selector.select(
            Mounts.parse([
                Mounts.line(
                    1, "8:1", "/ro", "ext4", options: row.first, superOptions: row.system),
                Mounts.line(
                    2, "8:1", "/data/big", "ext4", options: row.second, superOptions: row.system),
            ]))
        #expect(chosen.map(\.isLocked) == [row.isLocked])
        #expect(
            chosen.map(\.mount.name) == [
                row.first == "ro" && row.second == "rw" ? "/data/big" : "/ro"
            ])
    }

    @Test(
        arguments: [
            ("ext4", "/dev/sda1", nil), ("nfs4", "server:/a/b", "server:"),
            ("nfs", "[fd00::1]:/a", "[fd00::1]:"), ("cifs", "//server/share", "server"),
            ("fuse.sshfs", "me@server:/a", "me@server:"), ("fuse.sshfs", "me@server:a/b", "/mnt"),
            ("fuse.rclone", "remote", "/mnt"), ("cifs", "//", ""),
        ] as [(String, String, String?)])
    func origins(_ row: (type: String, source: String, origin: String?)) {
        #expect(
            MountSelector.origin(Mounts.entry("/mnt", type: row.type, source: row.source))
                == row.origin)
    }

    @Test("what a file system says of itself may be any number") func sums() {
        let merged = ZFSPools.merge([
            zfs("tank", used: .max, available: 0), zfs("tank/a", used: 7, available: 0),
        ])
        #expect(merged.first?.usage?.size == .max)
    }

    private func zfs(_ source: String, used: UInt64, available: UInt64) -> MountObservation {
        MountObservation(
            mount: Mounts.entry("/" + source, type: "zfs", source: source),
            answer: .usage(
                FileSystemUsage(size: used + available, free: available, available: available)))
    }

    @Test("a pool of zfs is one, and what its datasets use counts together") func pools() {
        let merged = ZFSPools.merge([
            zfs("tank", used: 0, available: 100), zfs("tank/home", used: 800, available: 100),
            zfs("tank/quota", used: 40, available: 10), zfs("other", used: 5, available: 5),
            MountObservation(mount: Mounts.entry("/"), answer: .usage(.percent(50))),
        ])
        #expect(merged.map(\.mount.name) == ["/tank", "/tank/quota", "/other", "/"])
        #expect(merged[0].usage?.used == 840)
        #expect(merged[0].usage?.usedPercent.map { Int($0) } == 89)
        #expect(merged[1].usage?.usedPercent.map { Int($0) } == 80)
    }
}
