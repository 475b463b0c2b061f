import Antibody
import Glibc
import Platform
import Protocol
import Settings

/// Moves old files into archives on another file system, a slice at a time.
///
/// A slice is packed into a `.partial`, restored from it and compared byte for byte with what is still
/// there, written back, and given its name; only then are exactly those files deleted that are still
/// the same. Whatever ends it in between leaves each file in its place, in a finished archive, or both.
struct Archiver {
    /// Files and bytes of one slice: so few that packing, restoring and comparing fit in the time.
    static let sliceFiles = 5000
    static let sliceBytes: Int64 = 128 << 20
    /// A larger file cannot be archived within the time of an action.
    static let fileBytes: Int64 = 1 << 30
    /// Of the time that is left, for finding the files of a slice; packing them needs the rest.
    static let choosingShare = 0.4
    /// Of what is not finished. The node's name keeps those apart that share a destination.
    var prefix: String { ".skos-archive-\(node)." }
    /// How long removing one unfinished thing may take.
    static let removeLimit: Duration = .seconds(4)

    /// Where a test may interrupt it.
    enum Step: String, CaseIterable { case chosen, packed, verified, named, deleted }

    struct Interrupted: Error {}

    let cleaner: Cleaner
    let settings: Config.Archive
    /// Whose files they are.
    let node: String
    /// How full the destination may be.
    let limit: CleaningGoal
    let tar: String
    /// Asked at each step whether to end as if killed; for tests.
    var isInterrupted: @Sendable (Step) -> Bool = { _ in false }

    /// One archive that was made.
    struct Made {
        var name: String
        var report: WalkReport
        /// Whether more was left than fits in one slice.
        var isMore: Bool
    }

    /// The destination, open.
    func openDestination() throws(VerbFailure) -> SafeDirectory {
        let path = settings.destination
        do throws(FileFailure) {
            return try cleaner.open(path)
        } catch {
            throw VerbFailure(
                isTransient: error.errno == ETIMEDOUT,
                reason: "local.archive_old_data.to: \(error.description)")
        }
    }

    /// Whether the destination has room. It must not be filled either: it may be the system's own file
    /// system, where what belongs there is not mounted.
    func checkRoom(_ destination: SafeDirectory) throws(VerbFailure) {
        let usage: FileSystemUsage
        do throws(FileFailure) {
            usage = try FileSystemUsage(descriptor: destination.descriptor)
        } catch { throw VerbFailure(isTransient: true, reason: error.description) }
        guard !limit.isMet(by: usage) else { return }
        let percent = max(usage.usedPercent ?? 0, usage.inodesUsedPercent ?? 0)
        throw VerbFailure(
            isTransient: false,
            reason: "local.archive_old_data.to: the file system of \(settings.destination) is "
                + "\(StorageText.rounded(percent)) % full itself")
    }

    /// Why files of an open root cannot go to the destination; `nil`: they can.
    func objection(_ top: SafeDirectory, _ destination: SafeDirectory) -> String? {
        // What cannot be deleted afterwards would only be archived again and again.
        guard faccessat(top.descriptor, ".", W_OK, AT_EACCESS) == 0 else {
            return "files in it cannot be deleted: \(errnoText(errno))"
        }
        do throws(FileFailure) {
            let same = try cleaner.fileSystem(of: top) == cleaner.fileSystem(of: destination)
            return same
                ? "\(settings.destination) is on the same file system: that would free nothing"
                : nil
        } catch { return error.description }
    }

    func selection(_ session: CleaningSession) -> FileSelection {
        var selection = FileSelection(
            patterns: settings.patterns.map { GlobPattern(name: $0) },
            unchangedSince: session.wallSeconds - settings.minAge.inSeconds)
        selection.kept = DirectoryIdentity(cleaner.stateDirectory)
        return selection
    }

    /// Removes what earlier runs that were ended left unfinished.
    func removeStale(_ destination: SafeDirectory, _ session: CleaningSession) {
        guard let copy = try? destination.descend([]) else { return }
        guard let stream = fdopendir(copy.descriptor) else { return copy.close() }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream), names.count < 1000 {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix(prefix) { names.append(name) }
        }
        for name in names where !session.isOver { remove(name, session) }
    }

    private func remove(_ name: String, _ session: CleaningSession) {
        let path = place(name)
        // What was restored for comparing is a tree of our own; its links, if any, are not followed.
        _ = try? Subprocess(
            "/bin/rm", ["-rf", "--one-file-system", "--", path],
            timeLimit: max(Self.removeLimit, session.rest)
        ).run()
    }

    private func place(_ name: String) -> String {
        cleaner.root.real(settings.destination) + "/" + name
    }

    /// Archives one slice of a root; `nil` when there is nothing to archive.
    func archiveSlice(
        _ root: Cleaner.Root, to destination: SafeDirectory, openFiles: OpenFiles,
        _ session: inout CleaningSession
    ) throws -> Made? {
        var (files, walked) = choose(root, openFiles, session)
        if files.isEmpty {
            walked.end = walked.end == .enough ? .complete : walked.end
            session.report.add(walked, root: root.path)
            return nil
        }
        try step(.chosen)
        let id = "\(prefix)\(getpid())-\(Int(session.wallSeconds))"
        do {
            try pack(files, root, id, session)
            try step(.packed)
            let same = try verify(files, root, id, session)
            try step(.verified)
            let name = try giveName(id, root, destination, session)
            try step(.named)
            remove(id + ".list", session)
            remove(id + ".copy", session)
            var report = try delete(same, root.directory)
            for _ in same.count..<files.count { report.skip(.changed) }
            report.skipped.merge(walked.skipped) { $0 + $1 }
            if report.files == 0 {
                // It frees nothing, and the next run would make the same once more.
                remove(name, session)
                session.report.add(report, root: root.path)
                return nil
            }
            session.report.add(report, root: root.path)
            return Made(name: name, report: report, isMore: walked.end != .complete)
        } catch let interrupted as Interrupted {
            throw interrupted
        } catch {
            for suffix in [".partial", ".list", ".copy"] { remove(id + suffix, session) }
            throw error
        }
    }

    private func step(_ step: Step) throws { if isInterrupted(step) { throw Interrupted() } }

    private func pack(
        _ files: [ArchivedFile], _ root: Cleaner.Root, _ id: String, _ session: CleaningSession
    ) throws {
        var list: [UInt8] = []
        for file in files { list += file.path + [0] }
        try write(list, to: place(id + ".list"))
        // Made here, so that nobody else can read it at any time.
        try write([], to: place(id + ".partial"))
        try run(
            [
                "--create", "--zstd", "--format=posix", "--numeric-owner", "--force-local",
                "--ignore-failed-read", "--sparse", "--no-recursion",
                "--file=" + place(id + ".partial"),
                "--directory=" + cleaner.root.real(root.path), "--null", "--verbatim-files-from",
                "--files-from=" + place(id + ".list"),
            ], allowing: 1, session)
    }

    /// The files whose restored copies are the same as what is there.
    private func verify(
        _ files: [ArchivedFile], _ root: Cleaner.Root, _ id: String, _ session: CleaningSession
    ) throws -> [ArchivedFile] {
        guard mkdir(place(id + ".copy"), 0o700) == 0 else { throw failure(".copy", errno) }
        // zstd checks its own sums on the way. Owners stand in the archive as numbers; giving the copies
        // away for a moment would need a right that nothing else here needs.
        try run(
            [
                "--extract", "--zstd", "--no-same-owner", "--force-local", "--preserve-permissions",
                "--file=" + place(id + ".partial"), "--directory=" + place(id + ".copy"),
            ], allowing: 0, session)
        let copy = try SafeDirectory.open(
            settings.destination + "/" + id + ".copy", root: cleaner.root, method: cleaner.method)
        defer { copy.close() }
        var (originals, copies) = (ArchivedFiles(root.directory), ArchivedFiles(copy))
        defer {
            originals.close()
            copies.close()
        }
        var same: [ArchivedFile] = []
        for file in files {
            guard !session.isOver else { throw late }
            if file.isSame(&originals, &copies) { same.append(file) }
        }
        guard !same.isEmpty else {
            throw VerbFailure(
                isTransient: true,
                reason:
                    "no file came back from its archive as it was: all have changed meanwhile, or "
                    + "\(settings.destination) cannot hold owners and modes")
        }
        return same
    }

    /// Writes the archive back and gives it its name, so that it survives whatever comes.
    private func giveName(
        _ id: String, _ root: Cleaner.Root, _ destination: SafeDirectory,
        _ session: CleaningSession
    ) throws -> String {
        let partial = place(id + ".partial")
        let descriptor = open(partial, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(partial, errno) }
        defer { _ = close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure(partial, errno) }
        let base = "skos-\(node)" + root.path.map { $0 == "/" ? "-" : String($0) }.joined()
        for number in 0..<10_000 {
            let name = "\(base)-\(Int(session.wallSeconds))-\(number).tar.zst"
            let code = rename(partial, to: place(name))
            if code == EEXIST { continue }
            guard code == 0, fsync(destination.descriptor) == 0 else {
                throw failure(name, code == 0 ? errno : code)
            }
            return name
        }
        throw failure(base, EEXIST)
    }

    /// Renames, but never over something that is there. Returns 0 or an errno.
    private func rename(_ old: String, to new: String) -> Int32 {
        if link(old, new) == 0 {
            unlink(old)
            return 0
        }
        // Not every file system has second names. Nobody but us makes names like these.
        guard errno != EEXIST, access(new, F_OK) != 0 else { return EEXIST }
        return Glibc.rename(old, new) == 0 ? 0 : errno
    }

    /// Deletes exactly these files, as far as they are what they were and nobody has opened them.
    private func delete(_ files: [ArchivedFile], _ top: SafeDirectory) throws -> WalkReport {
        let openFiles = try OpenFiles.collect(cleaner.root)
        var report = WalkReport()
        var originals = ArchivedFiles(top)
        defer { originals.close() }
        for file in files {
            guard let directory = try? originals.directory(of: file),
                let status = directory.status(file.name),
                ArchivedFile.Identity(status) == file.identity, status.st_nlink == 1
            else {
                report.skip(.changed)
                continue
            }
            if let reason = openFiles.objection(status, file.name, directory) {
                report.skip(reason)
                continue
            }
            guard unlinkat(directory.descriptor, file.name, 0) == 0 else {
                report.fail(FileFailure(.delete, MountEntry.name(file.path), errno: errno))
                continue
            }
            report.files += 1
            report.bytes += file.bytes
            try step(.deleted)
        }
        return report
    }

    // MARK: Small things

    private var late: VerbFailure {
        VerbFailure(
            isTransient: true, reason: "the time was over before the archive was verified")
    }

    private func failure(_ name: String, _ code: Int32) -> VerbFailure {
        VerbFailure(
            isTransient: true, reason: "\(settings.destination): \(name): \(errnoText(code))")
    }

    private func run(
        _ arguments: [String], allowing code: Int32, _ session: CleaningSession
    ) throws {
        let output: Subprocess.Output
        do throws(Subprocess.Failure) {
            output = try Subprocess(tar, arguments, timeLimit: session.rest).run()
        } catch {
            if case .timedOut = error { throw late }
            throw VerbFailure(isTransient: true, reason: error.description)
        }
        guard output.exitCode <= code else { throw endedBadly(output.exitCode) }
    }

    private func endedBadly(_ code: Int32) -> VerbFailure {
        VerbFailure(
            isTransient: true,
            reason: "\(tar) ended with code \(code); is there room in \(settings.destination)?")
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = open(path, flags, 0o600)
        guard descriptor >= 0 else { throw failure(path, errno) }
        defer { _ = close(descriptor) }
        do throws(FileFailure) { try writeAll(bytes, to: descriptor, path) } catch {
            throw failure(path, error.errno ?? EIO)
        }
    }
}
