import Glibc
import Platform

/// A real file system of its own, mounted for as long as it is used.
package final class Volume: Sendable {
    package enum Kind: Sendable {
        /// In a file behind a loop device; `inodes`: that many and no more.
        case ext4(megabytes: Int, inodes: Int?)
        case btrfs(megabytes: Int)
        case tmpfs(megabytes: Int)
        /// Another mount of a directory.
        case bind(String)
    }

    package struct Failure: Error, CustomStringConvertible {
        package var description: String

        package init(description: String) { self.description = description }
    }

    /// Whether this process may mount, and has a loop device.
    package static let isPossible: Bool = {
        guard geteuid() == 0, let volume = try? Volume(.ext4(megabytes: 8, inodes: nil)) else {
            return false
        }
        volume.unmount()
        return true
    }()

    /// Whether there is what makes a btrfs.
    package static let hasBtrfs: Bool = {
        guard isPossible, let volume = try? Volume(.btrfs(megabytes: 128)) else { return false }
        volume.unmount()
        return true
    }()

    /// Where it is mounted.
    package let point: String
    private let directory: String
    private let ownsDirectory: Bool

    /// - `point`: where to mount it; a directory of its own if nothing is said.
    package init(_ kind: Kind, at point: String? = nil) throws {
        var template = Array("/tmp/skos-volume-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "mkdtemp: \(errno)") }
        directory = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
        ownsDirectory = point == nil
        self.point = point ?? directory + "/mnt"
        mkdir(self.point, 0o755)
        do {
            let image = directory + "/image"
            switch kind {
            case .ext4(let megabytes, let inodes):
                try Self.run("/usr/bin/truncate", ["-s", "\(megabytes)M", image])
                let count = inodes.map { ["-N", "\($0)"] } ?? []
                try Self.run("/usr/sbin/mkfs.ext4", ["-q", "-m", "0"] + count + [image])
                try Self.run("/usr/bin/mount", ["-o", "loop", image, self.point])
            case .btrfs(let megabytes):
                try Self.run("/usr/bin/truncate", ["-s", "\(megabytes)M", image])
                try Self.run("/usr/sbin/mkfs.btrfs", ["-q", image])
                try Self.run("/usr/bin/mount", ["-o", "loop", image, self.point])
            case .tmpfs(let megabytes):
                try Self.run(
                    "/usr/bin/mount",
                    ["-t", "tmpfs", "-o", "size=\(megabytes)m", "skos-test", self.point])
            case .bind(let source):
                try Self.run("/usr/bin/mount", ["--bind", source, self.point])
            }
        } catch {
            unmount()
            throw error
        }
    }

    deinit { unmount() }

    /// Mounts it anew with other options, such as `remount,ro`.
    package func remount(_ options: String) throws {
        try Self.run("/usr/bin/mount", ["-o", options, point])
    }

    /// Makes files on an ext4 look as if they had last been changed in 2020. Nobody can set the change time
    /// of an inode through the kernel, so it is written to the image.
    package func age(_ paths: [String]) throws {
        var script = ""
        for path in paths {
            var status = stat()
            guard stat(path, &status) == 0 else { throw Failure(description: "no \(path)") }
            for field in ["ctime", "mtime", "atime"] {
                script += "set_inode_field <\(status.st_ino)> \(field) 20200101000000\n"
            }
        }
        let list = directory + "/debugfs"
        defer { unlink(list) }
        guard let file = fopen(list, "w") else { throw Failure(description: "open: \(errno)") }
        fputs(script, file)
        fclose(file)
        try Self.run("/usr/bin/umount", [point])
        try waitUntilUnused()
        let debugfs = "/usr/sbin/debugfs -w -f \(list) \(directory)/image >\(list).log 2>&1"
        defer { unlink(list + ".log") }
        try Self.run("/bin/sh", ["-c", debugfs])
        try Self.run("/usr/bin/mount", ["-o", "loop", directory + "/image", point])
        let year2021 = 1_609_459_200
        for path in paths {
            var status = stat()
            guard stat(path, &status) == 0, status.st_ctim.tv_sec < year2021 else {
                throw Failure(description: "debugfs has not made \(path) look old")
            }
        }
    }

    /// Waits until nobody has the image mounted. A container that starts takes all mounts with it for a
    /// moment, and what is written to the image meanwhile is not seen: the kernel still has the old inodes.
    private func waitUntilUnused() throws {
        let losetup = Subprocess(
            "/usr/sbin/losetup", ["-j", directory + "/image"], timeLimit: .seconds(60))
        for _ in 0..<3000 {
            if try losetup.run().output.isEmpty { return }
            usleep(20_000)
        }
        throw Failure(description: "\(directory)/image stays mounted somewhere")
    }

    /// What percent of its space, or of its inodes, users have filled.
    package func used(ofInodes: Bool = false) -> Double {
        let descriptor = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(descriptor) }
        guard let usage = try? FileSystemUsage(descriptor: descriptor) else { return -1 }
        return (ofInodes ? usage.inodesUsedPercent : usage.usedPercent) ?? 0
    }

    /// Takes it away; doing it twice does no harm.
    package func unmount() {
        try? Self.run("/usr/bin/umount", ["-l", point])
        unlink(directory + "/image")
        if ownsDirectory { rmdir(point) }
        rmdir(directory)
    }

    package static func run(_ program: String, _ arguments: [String]) throws {
        let output = try Subprocess(program, arguments, timeLimit: .seconds(60)).run()
        guard output.exitCode == 0 else {
            throw Failure(
                description: "\(program) \(arguments.joined(separator: " ")): exit code "
                    + "\(output.exitCode)")
        }
    }
}
