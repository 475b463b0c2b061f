import Glibc
import Platform
import Protocol
import Settings
import StorageWatcher
import TestSupport

/// Lines of a list of mounts, as tests write them.
enum Mounts {
    static func line(
        _ id: Int, _ device: String, _ point: String, _ type: String, root: String = "/",
        source: String = "/dev/x", options: String = "rw", superOptions: String = "rw"
    ) -> String {
        "\(id) 1 \(device) \(root) \(point) \(options) shared:1 - \(type) \(source) \(superOptions)\n"
    }

    static func parse(_ lines: [String]) -> [MountEntry] {
        MountTable.parse(Array(lines.joined().utf8))
    }

    static func entry(
        _ point: String, type: String = "ext4", device: String = "8:1", source: String = "/dev/x",
        options: String = "rw", superOptions: String = "rw"
    ) -> MountEntry {
        parse([
            line(
                1, device, point, type, source: source, options: options, superOptions: superOptions
            )
        ])[0]
    }
}

extension FileSystemUsage {
    /// Of 1,000 blocks of 1,000 bytes and 1,000 inodes.
    static func percent(_ space: Int, inodes: Int = 0) -> FileSystemUsage {
        let free = UInt64(1_000_000 - space * 10_000)
        return FileSystemUsage(
            size: 1_000_000, free: free, available: free, inodes: 1000,
            inodesFree: UInt64(1000 - inodes * 10))
    }
}

/// A node whose settings allow to clean a scratch directory of files of any age.
struct CleanedNode {
    let tree: ScratchTree
    var config = Config()
    var cleaner: Cleaner

    init(tools: CleaningTools = CleaningTools(), budget: Duration = Cleaner.budget) throws {
        tree = try ScratchTree()
        tree.directory("temp")
        tree.directory("logs")
        cleaner = Cleaner(root: HostRoot(), tools: tools, budget: budget)
        allow(tree.path)
    }

    /// Lets `temp` and `logs` below a directory be cleaned.
    mutating func allow(_ path: String) {
        config.local.cleanupTemp = Config.Cleanup(
            roots: [path + "/temp"], patterns: ["*"], minAge: .zero)
        config.local.cleanupLogs = Config.Cleanup(
            roots: [path + "/logs"], patterns: ["*.gz", "*.[0-9]"], minAge: .zero)
        config.local.journalMax = 0
    }

    /// A module of the node that watches what is below a directory only.
    func module(watching path: String, readLimit: Duration = .seconds(10)) -> StorageModule {
        var config = config
        config.storage.include = [path, path + "/**"]
        return StorageModule(
            config: config, files: HostFiles(root: HostRoot()),
            source: StorageScanner.Source(HostRoot()), cleaner: cleaner, readLimit: readLimit)
    }
}

extension Timestamp {
    /// A time in the middle of nowhere, and so many seconds later.
    static func later(_ seconds: Double) -> Timestamp {
        Timestamp(seconds: 1_700_000_000) + .seconds(seconds)
    }
}
