import Platform
import Testing

@Suite struct MountTableTests {
    static let text = """
        36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
        27 1 254:0 / / rw,relatime - ext4 /dev/vda ro,discard
        40 27 0:33 / /a\\040b\\011c\\012d\\134e ro,nosuid - tmpfs some\\040name rw,size=4k
        41 27 0:34 / /no-options rw - fuse.x x
        no line at all
        42 27 x:1 / /bad rw - ext4 /dev/x rw
        43 27 8:1 / /short rw
        44 27 8:2 /@home /home rw,relatime shared:1 - btrfs /dev/sda2 rw,subvol=/@home

        """

    @Test("reads what the kernel writes, and leaves out what makes no sense") func parse() throws {
        let entries = MountTable.parse(Array(Self.text.utf8))
        #expect(entries.map(\.id) == [36, 27, 40, 41, 44])
        let first = try #require(entries.first)
        #expect(first.device == DeviceNumber(major: 98, minor: 0))
        #expect(first.root == Array("/mnt1".utf8) && first.name == "/mnt2")
        #expect(first.type == "ext3" && first.source == "/dev/root")
        #expect(!first.isReadOnly && !first.isSystemReadOnly)
        #expect(!entries[1].isReadOnly && entries[1].isSystemReadOnly)
        #expect(entries[2].isReadOnly && !entries[2].isSystemReadOnly)
        #expect(entries[2].point == Array("/a b\tc\nd\\e".utf8))
        #expect(entries[2].source == "some name")
        #expect(entries[4].root == Array("/@home".utf8))
    }

    @Test(
        arguments: [
            (Array("/var/lib".utf8), "/var/lib"), (Array("/a b".utf8), "/a b"),
            (Array("/a\nb".utf8), "/a\\012b"), (Array("/a\\b".utf8), "/a\\134b"),
            (Array("/übung".utf8), "/übung"), ([0x2F, 0xFF], "/\\377"),
            ([0x2F, 0xC3], "/\\303"), ([0x2F, 0x7F], "/\\177"),
            ([0x2F, 0xC2, 0x85], "/\\302\\205"),
        ] as [([UInt8], String)])
    func names(_ row: (path: [UInt8], name: String)) {
        #expect(MountEntry.name(row.path) == row.name)
    }

    @Test("what the kernel has locked after an error is read-only, whatever it is called")
    func failures() {
        func entry(_ options: String) -> MountEntry? {
            MountTable.parse(Array("1 1 8:1 / /a rw - ext4 /dev/x \(options)".utf8)).first
        }
        for options in ["rw,emergency_ro", "rw,shutdown,errors=remount-ro"] {
            #expect(entry(options)?.hasFailed == true && entry(options)?.isSystemReadOnly == true)
        }
        for options in ["ro", "rw,errors=shutdown", "rw,emergency_rot"] {
            #expect(entry(options)?.hasFailed == false, "\(options)")
        }
    }

    @Test("an escape needs three octal digits of a byte")
    func noEscapes() {
        let line = "1 1 1:1 / /a\\04\\999\\777\\1 rw - ext4 /dev/x rw"
        #expect(
            MountTable.parse(Array(line.utf8)).first?.point == Array("/a\\04\\999\\777\\1".utf8))
    }

    @Test("a very long name is cut, and still is one of a kind")
    func longNames() {
        func name(_ device: Int, _ character: String) -> String? {
            let path = "/" + String(repeating: character, count: 300)
            let line = "1 1 8:\(device) / \(path) rw - ext4 /dev/x rw"
            return MountTable.parse(Array(line.utf8)).first?.name
        }
        let names = [name(1, "ä"), name(2, "ä"), name(1, "a")]
        #expect(Set(names).count == 3)
        #expect(names.allSatisfy { ($0?.utf8.count ?? 999) <= MountEntry.nameLimit })
        #expect(names.allSatisfy { $0?.contains("\u{FFFD}") == false })
    }

    @Test("this machine's mounts are read whole") func real() throws {
        let text = try MountTable.read(HostRoot())
        let entries = MountTable.parse(text)
        #expect(entries.contains { $0.name == "/" })
        #expect(entries.count == text.split(separator: 0x0A).count)
    }
}
