package import Glibc

/// Which files of a tree are meant.
package struct FileSelection: Sendable {
    /// For a file's name without its directory; a file that matches none is left alone.
    package var patterns: [GlobPattern]
    /// Neither content nor inode may have changed later than this, in seconds since 1970: an old date
    /// alone is quickly forged, or copied from elsewhere.
    package var unchangedSince: Double
    /// Whether files may go that were read later than that.
    package var mayBeRead = true
    /// Names of directories and files that belong to running services, and are left alone.
    package var reserved: [GlobPattern] = []
    /// Directories inside one another that are looked into; each takes one descriptor.
    package var depthLimit = 256
    /// Paths below the top that are left alone.
    package var exclusions: [PathExclusion] = []
    /// A directory that is left alone with all that is in it, wherever the walk meets it.
    package var kept: DirectoryIdentity?

    package init(patterns: [GlobPattern], unchangedSince: Double) {
        self.patterns = patterns
        self.unchangedSince = unchangedSince
    }
}

/// Which directory it is, whatever it is called and reached through.
package struct DirectoryIdentity: Sendable, Equatable {
    let device: dev_t
    let inode: ino_t

    /// - `path`: of this process, links followed; `nil` where there is no such directory.
    package init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        self.init(status)
    }

    init(_ status: stat) {
        device = status.st_dev
        inode = status.st_ino
    }
}

/// Why something in a tree was left alone.
package enum SkipReason: String, Sendable, CaseIterable {
    /// A link, a socket, a FIFO, a device.
    case notAFile = "not_a_file"
    case otherName = "other_name"
    case tooYoung = "too_young"
    /// It has names elsewhere, so that deleting this one frees nothing.
    case hardLinked = "hard_linked"
    /// It has extended attributes or an access list, which an archive would not keep.
    case attributes
    /// There is not time enough for so large a file.
    case tooLarge = "too_large"
    case open
    /// A process that may have it open does not show what it has open.
    case maybeOpen = "maybe_open"
    /// It is the directory to be kept.
    case kept
    /// It belongs to a service that is running.
    case reserved
    /// The selection has an exclusion for its path: `tmpfiles.d` says that it is to be left alone.
    case excluded = "tmpfiles_d"
    /// Something else is mounted there.
    case otherMount = "other_mount"
    case tooDeep = "too_deep"
    /// It was exchanged or moved while the walk was there.
    case changed
    /// The system refused.
    case failed
}

/// What a walk did.
package struct WalkReport: Sendable, Equatable {
    /// How it ended.
    package enum End: String, Sendable {
        case complete, outOfTime = "out_of_time", enough, cancelled
    }

    /// Files that were taken, and the room they took.
    package var files = 0
    package var bytes: Int64 = 0
    package var skipped: [SkipReason: Int] = [:]
    /// The first thing that the system refused.
    package var failure: String?
    package var end = End.complete
    /// Where it stopped, unless it is complete.
    package var cursor: WalkCursor?

    package init() {}

    package mutating func skip(_ reason: SkipReason) { skipped[reason, default: 0] += 1 }

    package mutating func fail(_ failure: FileFailure) {
        skip(.failed)
        self.failure = self.failure ?? failure.description
    }
}

/// A file that was selected, for as long as the walk stands at it.
package struct WalkedFile {
    /// The open directory it is in.
    package let directory: SafeDirectory
    /// The directory's path below the top of the tree, each name followed by a slash.
    package let directoryPath: [UInt8]
    package let name: UnsafePointer<CChar>
    package let status: stat

    /// Bytes on the disk, which deleting it would free.
    package var bytes: Int64 {
        // A file system may say anything.
        let (bytes, overflow) = Int64(status.st_blocks).multipliedReportingOverflow(by: 512)
        return overflow || bytes < 0 ? 0 : bytes
    }
}

/// Walks over a tree that others may be changing, and hands out the files that are selected.
///
/// It stays in the tree and on its mount, follows no link, and needs memory and descriptors for the
/// depth of the tree only. A directory that is moved away while the walk is in it is left as soon as
/// that is noticed: it is looked for before the first file in each directory, and after every
/// `recheckEvery` others. That cannot be done in one step with deleting; but what is moved into it
/// meanwhile has a fresh change time, and is too young.
package struct SafeWalk {
    /// Entries between two questions whether to go on.
    static let stopEvery = 64
    /// Files that are taken from a directory before it is checked to be where it was.
    static let recheckEvery = 64

    private struct Level {
        var directory: SafeDirectory
        var stream: OpaquePointer
        /// Its name in the level above.
        var name: [CChar]
        var device: dev_t
        var inode: ino_t
        /// Below the top, each name followed by a slash.
        var path: [UInt8]
        /// What is left alone in it, by names from here on.
        var exclusions: [PathExclusion]
        /// Files that may be taken before the next check.
        var trust = 0
        /// Behind the last entry that was read.
        var position = 0
    }

    private let selection: FileSelection
    private let takesAllNames: Bool
    private let openFiles: OpenFiles
    private let stop: (WalkReport) -> WalkReport.End?
    private let take: (WalkedFile, inout WalkReport) -> Void
    private var levels: [Level] = []
    private var report = WalkReport()

    /// - `openFiles`: what is open and must not be taken.
    /// - `stop`: asked after every few entries and after each file taken; why to stop, if so.
    /// - `take`: does with a file what is to be done, and counts it.
    package init(
        _ selection: FileSelection, openFiles: OpenFiles,
        stop: @escaping (WalkReport) -> WalkReport.End?,
        take: @escaping (WalkedFile, inout WalkReport) -> Void
    ) {
        self.selection = selection
        takesAllNames = selection.patterns.contains { $0.text == "*" }
        self.openFiles = openFiles
        self.stop = stop
        self.take = take
    }

    /// Walks over all that is below `top`, which stays open.
    ///
    /// - `from`: where another walk stopped; only what comes behind is looked at.
    /// - `until`: where another walk began; only what comes before is looked at.
    package mutating func run(
        _ top: SafeDirectory, from: WalkCursor? = nil, until: WalkCursor? = nil
    ) -> WalkReport {
        report = WalkReport()
        defer { while !levels.isEmpty { leave() } }
        do throws(FileFailure) {
            enter(
                try top.descend([]), name: [], path: [], exclusions: selection.exclusions)
        } catch {
            report.fail(error)
        }
        if let from { goOn(from) }
        var count = 0
        while let depth = levels.indices.last {
            count += 1
            if count % Self.stopEvery == 0, let end = stop(report) {
                stopped(end)
                break
            }
            errno = 0
            guard let entry = readdir(levels[depth].stream) else {
                if errno != 0 { report.fail(FileFailure(.list, shownPath, errno: errno)) }
                leave()
                continue
            }
            let name = entryName(entry)
            levels[depth].position = Int(entry.pointee.d_off)
            if let until, isAt(until) { return report }
            if strcmp(name, ".") == 0 || strcmp(name, "..") == 0 { continue }
            let taken = report.files
            look(at: name, type: Int(entry.pointee.d_type), depth)
            if report.files != taken, let end = stop(report) {
                stopped(end)
                break
            }
        }
        return report
    }

    private mutating func stopped(_ end: WalkReport.End) {
        report.end = end
        report.cursor = WalkCursor(
            positions: levels.map(\.position), names: levels.dropFirst().map(\.name))
    }

    /// Goes to where another walk stopped, as far as the way there is what it was.
    private mutating func goOn(_ cursor: WalkCursor) {
        for (depth, position) in cursor.positions.enumerated() where levels.count == depth + 1 {
            seekdir(levels[depth].stream, position)
            levels[depth].position = position
            guard depth < cursor.names.count else { return }
            cursor.names[depth].withUnsafeBufferPointer { name in
                if let name = name.baseAddress { descend(into: name, depth) }
            }
        }
    }

    /// Whether the entry that was just read is the last one of the walk that stopped there.
    private func isAt(_ cursor: WalkCursor) -> Bool {
        levels.last?.position == cursor.positions.last && levels.count == cursor.positions.count
            && levels.dropFirst().map(\.name) == cursor.names
    }

    private mutating func look(at name: UnsafePointer<CChar>, type: Int, _ depth: Int) {
        switch type {
        case Int(DT_DIR): descend(into: name, depth)
        case Int(DT_REG): judge(name, depth)
        case Int(DT_UNKNOWN):
            guard let status = levels[depth].directory.status(name) else {
                return report.skip(.changed)
            }
            if status.st_mode & S_IFMT == S_IFDIR {
                descend(into: name, depth)
            } else {
                judge(name, depth)
            }
        default: report.skip(.notAFile)
        }
    }

    private mutating func judge(_ name: UnsafePointer<CChar>, _ depth: Int) {
        guard takesAllNames || matches(name, selection.patterns) else {
            return report.skip(.otherName)
        }
        guard !isReserved(name) else { return report.skip(.reserved) }
        guard !isExcluded(name, depth, isDirectory: false) else { return report.skip(.excluded) }
        guard let status = levels[depth].directory.status(name) else {
            return report.skip(.changed)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return report.skip(.notAFile) }
        guard status.st_nlink == 1 else { return report.skip(.hardLinked) }
        let limit = selection.unchangedSince
        guard seconds(status.st_mtim) <= limit, seconds(status.st_ctim) <= limit,
            selection.mayBeRead || seconds(status.st_atim) <= limit
        else { return report.skip(.tooYoung) }
        if let reason = openFiles.objection(status, name, levels[depth].directory) {
            return report.skip(reason)
        }
        if levels[depth].trust == 0 {
            guard isWhereItWas() else { return report.skip(.changed) }
            levels[depth].trust = Self.recheckEvery
        }
        levels[depth].trust -= 1
        let file = WalkedFile(
            directory: levels[depth].directory, directoryPath: levels[depth].path, name: name,
            status: status)
        take(file, &report)
    }

    private func isReserved(_ name: UnsafePointer<CChar>) -> Bool {
        !selection.reserved.isEmpty && matches(name, selection.reserved)
    }

    private func isExcluded(
        _ name: UnsafePointer<CChar>, _ depth: Int, isDirectory: Bool
    ) -> Bool {
        let exclusions = levels[depth].exclusions
        guard !exclusions.isEmpty else { return false }
        return withBytes(of: name) { exclusions.exclude($0, isDirectory: isDirectory) }
    }

    private func matches(_ name: UnsafePointer<CChar>, _ patterns: [GlobPattern]) -> Bool {
        withBytes(of: name) { bytes in patterns.contains { $0.matches(bytes) } }
    }

    private mutating func descend(into name: UnsafePointer<CChar>, _ depth: Int) {
        guard levels.count < selection.depthLimit else { return report.skip(.tooDeep) }
        guard !isReserved(name) else { return report.skip(.reserved) }
        guard !isExcluded(name, depth, isDirectory: true) else { return report.skip(.excluded) }
        do throws(FileFailure) {
            let child = try levels[depth].directory.child(name)
            let bytes = UnsafeBufferPointer(start: name, count: strlen(name) + 1)
            let path = levels[depth].path + bytes.dropLast().map(UInt8.init(bitPattern:)) + [0x2F]
            let above = levels[depth].exclusions
            enter(
                child, name: Array(bytes), path: path,
                exclusions: above.isEmpty ? [] : withBytes(of: name) { above.inside($0) })
        } catch {
            switch error.errno {
            case EXDEV: report.skip(.otherMount)
            case ELOOP, ENOTDIR, ENOENT: report.skip(.changed)
            default: report.fail(FileFailure(.open, shownPath + error.path, error.problem))
            }
        }
    }

    private mutating func enter(
        _ directory: SafeDirectory, name: [CChar], path: [UInt8], exclusions: [PathExclusion]
    ) {
        var status = stat()
        guard fstat(directory.descriptor, &status) == 0,
            let stream = fdopendir(directory.descriptor)
        else {
            report.fail(FileFailure(.list, MountEntry.name(path), errno: errno))
            return directory.close()
        }
        guard DirectoryIdentity(status) != selection.kept else {
            report.skip(.kept)
            closedir(stream)
            return
        }
        levels.append(
            Level(
                directory: directory, stream: stream, name: name, device: status.st_dev,
                inode: status.st_ino, path: path, exclusions: exclusions))
    }

    /// Leaves the directory the walk is in. Closing the stream closes the descriptor.
    private mutating func leave() { closedir(levels.removeLast().stream) }

    /// Whether each directory on the way here still stands where the walk found it; what does not is
    /// left at once.
    private mutating func isWhereItWas() -> Bool {
        for depth in levels.indices.dropFirst() {
            let level = levels[depth]
            let status = levels[depth - 1].directory.status(level.name)
            if status?.st_dev == level.device && status?.st_ino == level.inode { continue }
            while levels.count > depth { leave() }
            return false
        }
        return true
    }

    private var shownPath: String { MountEntry.name(levels.last?.path ?? []) }
}

/// The bytes of a name.
private func withBytes<Result>(
    of name: UnsafePointer<CChar>, _ body: (UnsafeBufferPointer<UInt8>) -> Result
) -> Result {
    let count = strlen(name)
    return name.withMemoryRebound(to: UInt8.self, capacity: count) {
        body(UnsafeBufferPointer(start: $0, count: count))
    }
}

/// A point in time of a file, in seconds since 1970.
private func seconds(_ time: timespec) -> Double {
    Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
