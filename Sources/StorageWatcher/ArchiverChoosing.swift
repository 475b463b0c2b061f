import Glibc
import Platform
import Settings

/// Which files are archived.
extension Archiver {
    /// The files of the next slice: from where the time was over the last time, then from the top.
    func choose(
        _ root: Cleaner.Root, _ openFiles: OpenFiles, _ session: CleaningSession
    ) -> ([ArchivedFile], WalkReport) {
        let kind = Config.Cleanup(
            roots: [root.path], patterns: settings.patterns, minAge: settings.minAge)
        let place = cleaner.memory.place(kind)
        var (files, walked) = choose(root.directory, place?.cursor, openFiles, session)
        if place != nil, walked.end == .complete {
            if files.isEmpty {
                (files, walked) = choose(root.directory, nil, openFiles, session)
            } else {
                walked.end = .enough
            }
        }
        let isLate = walked.end == .outOfTime
        let next = isLate ? walked.cursor : nil
        cleaner.memory.remember(next.map { .init(root: root.path, cursor: $0) }, kind)
        if isLate, !files.isEmpty { walked.end = .enough }
        return (files, walked)
    }

    private func choose(
        _ top: SafeDirectory, _ cursor: WalkCursor?, _ openFiles: OpenFiles,
        _ session: CleaningSession
    ) -> ([ArchivedFile], WalkReport) {
        var files: [ArchivedFile] = []
        var bytes: Int64 = 0
        let (now, deadline) = (session.now, session.now() + session.rest * Self.choosingShare)
        var isFull = false
        var walk = SafeWalk(
            selection(session), openFiles: openFiles,
            stop: { _ in
                if now() >= deadline { return .outOfTime }
                return isFull ? .enough : nil
            },
            take: { file, report in
                guard !isFull else { return }
                if let reason = Self.objection(to: file) { return report.skip(reason) }
                let size = Int64(file.status.st_size)
                guard files.isEmpty || bytes + size <= Self.sliceBytes else {
                    isFull = true
                    return
                }
                files.append(ArchivedFile(file))
                bytes += size
                isFull = files.count >= Self.sliceFiles || bytes >= Self.sliceBytes
            })
        let report = walk.run(top, from: cursor)
        // What stopped the walk may have stopped it without a file taken; so ask once more.
        return (files, isFull ? ended(report, .enough) : report)
    }

    /// Why a file is not archived; `nil`: it is.
    private static func objection(to file: WalkedFile) -> SkipReason? {
        guard file.status.st_size <= fileBytes else { return .tooLarge }
        return file.directory.hasAttributes(file.name) == false ? nil : .attributes
    }

    /// Counts what would be archived.
    func count(
        _ top: SafeDirectory, _ openFiles: OpenFiles, _ session: CleaningSession
    ) -> WalkReport {
        let (deadline, now) = (session.deadline, session.now)
        var walk = SafeWalk(
            selection(session), openFiles: openFiles,
            stop: { _ in now() >= deadline ? .outOfTime : nil },
            take: { file, report in
                if let reason = Self.objection(to: file) { return report.skip(reason) }
                report.files += 1
                report.bytes += file.bytes
            })
        return walk.run(top)
    }

    private func ended(_ report: WalkReport, _ end: WalkReport.End) -> WalkReport {
        var report = report
        report.end = end
        return report
    }
}
