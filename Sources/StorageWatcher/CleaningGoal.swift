import Platform

/// How full a file system may be for cleaning to end, in percent of what users can use.
struct CleaningGoal: Sendable, Equatable {
    var space: Double
    var inodes: Double

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

    init(_ goal: CleaningGoal, _ directory: SafeDirectory, isDryRun: Bool) {
        self.goal = goal
        self.directory = directory
        self.isDryRun = isDryRun
        base = try? FileSystemUsage(descriptor: directory.descriptor)
    }

    /// Whether the goal is reached after what was deleted so far.
    mutating func isReached(_ walked: WalkReport) -> Bool {
        guard let base else { return false }
        if !isDryRun, isMetNow { return true }
        let freed = UInt64(max(walked.bytes, 0))
        let expected = FileSystemUsage(
            size: base.size, free: min(base.free + freed, base.size),
            available: min(base.available + freed, base.size), inodes: base.inodes,
            inodesFree: min(base.inodesFree + UInt64(walked.files), base.inodes))
        guard goal.isMet(by: expected) else { return false }
        if isDryRun { return true }
        let now = ContinuousClock.now
        if let lastSync, now - lastSync < Self.syncEvery { return false }
        lastSync = now
        directory.syncFileSystem()
        return isMetNow
    }

    private var isMetNow: Bool {
        guard let usage = try? FileSystemUsage(descriptor: directory.descriptor) else {
            return false
        }
        return goal.isMet(by: usage)
    }
}
