import Platform
import Settings

/// How full a file system may be for cleaning to end, in percent of what users can use.
struct CleaningGoal: Sendable, Equatable {
    var space: Double
    var inodes: Double

    /// When it is no symptom any more.
    static func well(_ settings: Config.Storage) -> CleaningGoal {
        CleaningGoal(space: settings.clear.warning, inodes: settings.inodeClear.warning)
    }

    /// Whether it is less full than that.
    func isMet(by usage: FileSystemUsage) -> Bool {
        (usage.usedPercent ?? 0) < space && (usage.inodesUsedPercent ?? 0) < inodes
    }
}

/// Tells when a walk has deleted enough.
///
/// Some file systems, such as btrfs, count what was deleted as free only when they next write back. So
/// when what was deleted should be enough and does not show, they are asked to write back, now and
/// then: neither is more deleted than needed, nor is the walk kept waiting for each file.
struct CleaningMeter {
    /// Time between two requests to write back.
    static let syncEvery: Duration = .seconds(1)

    private let goal: CleaningGoal
    private let directory: SafeDirectory
    private let isDryRun: Bool
    private let base: FileSystemUsage?
    private var lastSync: ContinuousClock.Instant?

    /// - `base`: how full it is before.
    init(
        _ goal: CleaningGoal, _ directory: SafeDirectory, isDryRun: Bool,
        base: FileSystemUsage? = nil
    ) {
        self.goal = goal
        self.directory = directory
        self.isDryRun = isDryRun
        self.base = base ?? (try? FileSystemUsage(descriptor: directory.descriptor))
    }

    /// Whether the goal is reached after what was deleted so far.
    mutating func isReached(_ walked: WalkReport) -> Bool {
        guard let base else { return false }
        if !isDryRun, isMetNow { return true }
        let freed = UInt64(max(walked.bytes, 0))
        let expected = FileSystemUsage(
            size: base.size, free: Self.sum(base.free, freed, atMost: base.size),
            available: Self.sum(base.available, freed, atMost: base.size), inodes: base.inodes,
            inodesFree: Self.sum(base.inodesFree, UInt64(walked.files), atMost: base.inodes))
        guard goal.isMet(by: expected) else { return false }
        if isDryRun { return true }
        let now = ContinuousClock.now
        if let lastSync, now - lastSync < Self.syncEvery { return false }
        lastSync = now
        directory.syncFileSystem()
        return isMetNow
    }

    /// Some file systems say that they have all the room there can be.
    private static func sum(_ one: UInt64, _ other: UInt64, atMost limit: UInt64) -> UInt64 {
        let (sum, overflow) = one.addingReportingOverflow(other)
        return overflow ? limit : min(sum, limit)
    }

    private var isMetNow: Bool {
        guard let usage = try? FileSystemUsage(descriptor: directory.descriptor) else {
            return false
        }
        return goal.isMet(by: usage)
    }
}
