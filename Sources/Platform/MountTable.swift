import Glibc

/// One line of the kernel's list of mounts (`/proc/PID/mountinfo`).
package struct MountEntry: Sendable, Hashable {
    /// Of this mount, in its mount namespace.
    package var id: Int
    /// The file system's own number; the same for each of its mounts, and for all subvolumes of a btrfs.
    package var device: DeviceNumber
    /// The directory of the file system that is mounted; `/` for all of it.
    package var root: [UInt8]
    /// Where it is mounted, byte for byte.
    package var point: [UInt8]
    /// Such as `ext4`, `fuse.sshfs`.
    package var type: String
    /// Such as `/dev/sda1`, `tank/home`.
    package var source: String
    /// Whether this mount is read-only.
    package var isReadOnly: Bool
    /// Whether the whole file system is, as after an error.
    package var isSystemReadOnly: Bool
    /// Whether the kernel lets nobody write to it any more because of an error, which nobody can have meant.
    package var hasFailed: Bool

    package init(
        id: Int, device: DeviceNumber, root: [UInt8], point: [UInt8], type: String, source: String,
        isReadOnly: Bool = false, isSystemReadOnly: Bool = false, hasFailed: Bool = false
    ) {
        self.id = id
        self.device = device
        self.root = root
        self.point = point
        self.type = type
        self.source = source
        self.isReadOnly = isReadOnly
        self.isSystemReadOnly = isSystemReadOnly
        self.hasFailed = hasFailed
    }

    /// Bytes of a name; messages take no longer ones.
    package static let nameLimit = 255

    /// The mount point as text that names it and no other: what is no printable UTF-8 stands as the
    /// kernel writes it, such as `\012` for a newline, and so does a backslash. The middle of a very long
    /// one is left out, and the number of its file system stands in for it.
    package var name: String {
        let name = Self.name(point)
        guard name.utf8.count > Self.nameLimit else { return name }
        let mark = "…\(device)…"
        return Self.text(name.utf8.prefix(120)) + mark + Self.text(name.utf8.suffix(80))
    }

    /// Bytes as text, without the pieces of characters at its ends.
    private static func text(_ bytes: Substring.UTF8View) -> String {
        String(decoding: bytes, as: UTF8.self).filter { $0 != "\u{FFFD}" }
    }

    /// The text that names a path; see `name`.
    package static func name(_ path: [UInt8]) -> String {
        let isPlain = path.allSatisfy { (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "\\") }
        if isPlain { return String(decoding: path, as: UTF8.self) }
        let text = String(validating: path, as: UTF8.self)
        let isPrintable =
            text?.unicodeScalars.allSatisfy { !(0x7F...0x9F).contains($0.value) } ?? false
        var name: [UInt8] = []
        for byte in path {
            let isKept = byte >= 0x20 && byte != UInt8(ascii: "\\") && byte != 0x7F
            if isKept && (byte < 0x80 || isPrintable) {
                name.append(byte)
            } else {
                name.append(UInt8(ascii: "\\"))
                name += [byte >> 6, byte >> 3 & 7, byte & 7].map { $0 + 0x30 }
            }
        }
        return String(decoding: name, as: UTF8.self)
    }
}

/// The number of a device or of a file system without one.
package struct DeviceNumber: Sendable, Hashable, Comparable, CustomStringConvertible {
    package var major: UInt32
    package var minor: UInt32

    package init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    package var description: String { "\(major):\(minor)" }

    package static func < (left: DeviceNumber, right: DeviceNumber) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }
}

/// The kernel's list of mounts.
package enum MountTable {
    /// Of the text: about 100,000 mounts.
    package static let sizeLimit = 16 << 20

    /// The mounts that a `mountinfo` lists, in its order. Lines that make no sense are left out.
    package static func parse(_ text: [UInt8]) -> [MountEntry] {
        text.split(separator: 0x0A).compactMap(entry)
    }

    /// Reads the mounts of the node: those of its first process. One in a container sees others, and to a
    /// service that systemd protects everything seems to be read-only.
    ///
    /// - Returns: the text, to be told apart from the last one and to be parsed.
    /// - Throws: why it cannot be read.
    package static func read(_ root: HostRoot) throws(FileFailure) -> [UInt8] {
        let files = HostFiles(root: root)
        guard root.isMachine else { return try files.readAll(first, limit: sizeLimit) }
        let own = try readOwn()
        // Hidden from us, or with another root than ours, it is of no use.
        guard let text = try? files.readAll(first, limit: sizeLimit), text != own else {
            return own
        }
        guard let device = rootDevice(text), device == rootDevice(own) else { return own }
        return text
    }

    /// Reads the mounts that this process itself sees; or this thread, where it has some of its own. Only
    /// here the numbers of mounts are those that the kernel gives it for open files.
    package static func readOwn() throws(FileFailure) -> [UInt8] {
        try HostFiles(root: HostRoot()).readAll("/proc/thread-self/mountinfo", limit: sizeLimit)
    }

    private static let first = "/proc/1/mountinfo"

    /// The file system that `/` is on; the last mount there is the one that is seen.
    private static func rootDevice(_ text: [UInt8]) -> DeviceNumber? {
        let line = text.split(separator: 0x0A).last { line in
            let fields = line.split(
                separator: 0x20, maxSplits: 5, omittingEmptySubsequences: false)
            return fields.count == 6 && fields[4].elementsEqual("/".utf8)
        }
        return line.flatMap(entry)?.device
    }

    /// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`
    private static func entry(_ line: ArraySlice<UInt8>) -> MountEntry? {
        let fields = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard fields.count >= 9, let id = Int64(sysfs: fields[0]),
            let device = device(fields[2]),
            // Optional fields come before the dash.
            let dash = fields[6...].firstIndex(where: { $0.elementsEqual("-".utf8) }),
            dash + 2 < fields.count
        else { return nil }
        let options = dash + 3 < fields.count ? fields[dash + 3] : []
        let hasFailed = options.split(separator: UInt8(ascii: ",")).contains(where: isFailure)
        return MountEntry(
            id: Int(id), device: device, root: unescape(fields[3]), point: unescape(fields[4]),
            type: text(fields[dash + 1]), source: text(fields[dash + 2]),
            isReadOnly: isReadOnly(fields[5]),
            isSystemReadOnly: isReadOnly(options) || hasFailed, hasFailed: hasFailed)
    }

    private static func device(_ field: ArraySlice<UInt8>) -> DeviceNumber? {
        let parts = field.split(separator: UInt8(ascii: ":"))
        guard parts.count == 2, let major = Int64(sysfs: parts[0]),
            let minor = Int64(sysfs: parts[1]),
            let major = UInt32(exactly: major), let minor = UInt32(exactly: minor)
        else { return nil }
        return DeviceNumber(major: major, minor: minor)
    }

    private static func isReadOnly(_ options: ArraySlice<UInt8>) -> Bool {
        options.starts(with: "ro".utf8)
            && (options.count == 2 || options.dropFirst(2).first == 0x2C)
    }

    /// Since Linux 6.15 ext4 stays `rw` after an error, and says so beside it; nothing can be written all
    /// the same (fs/ext4/super.c, `_ext4_show_options`).
    private static func isFailure(_ option: ArraySlice<UInt8>) -> Bool {
        option.elementsEqual("emergency_ro".utf8) || option.elementsEqual("shutdown".utf8)
    }

    private static func text(_ field: ArraySlice<UInt8>) -> String {
        String(decoding: unescape(field), as: UTF8.self)
    }

    /// Replaces `\040` and the like by the bytes they stand for.
    static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
        guard field.contains(UInt8(ascii: "\\")) else { return Array(field) }
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            let isEscape =
                byte == UInt8(ascii: "\\") && digits.count == 3
                && digits.allSatisfy { (0x30...0x37).contains($0) }
            guard isEscape, digits[digits.startIndex] <= 0x33 else {
                bytes.append(byte)
                continue
            }
            bytes.append(digits.reduce(0) { $0 << 3 | ($1 - 0x30) })
            rest = rest.dropFirst(3)
        }
        return bytes
    }
}
