package import Antibody
import Platform
package import Protocol
import Settings

/// The action `archive_old_data`.
package struct ArchiveVerb: Verb {
    package let name = "archive_old_data"
    package let isReversible = false
    package let isRepeatable = true
    package let family = "cleanup"
    package let summary =
        "pack old files into archives on another file system, verify them, then delete the files"
    private let cleaner: Cleaner
    private let config: CurrentConfig
    /// See `Archiver.isInterrupted`.
    var isInterrupted: @Sendable (Archiver.Step) -> Bool = { _ in false }

    package init(_ cleaner: Cleaner, _ config: @escaping CurrentConfig) {
        self.cleaner = cleaner
        self.config = config
    }

    package func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let target = try cleaner.target(call.parameters)
        let archiver = try archiver()
        var effect: JSON.Object = [
            "roots": .array(archiver.settings.roots.map(JSON.string)),
            "to": .string(archiver.settings.destination),
            "min_age_s": .integer(archiver.settings.minAge.components.seconds),
        ]
        let destination = try archiver.openDestination()
        defer { destination.close() }
        try archiver.checkRoom(destination)
        if call.isDryRun {
            var session = cleaner.begin(Cleaner.dryRunBudget)
            let roots = open(archiver, destination, on: target, &session)
            defer { for root in roots { root.directory.close() } }
            if let openFiles = session.openFiles(of: cleaner.root) {
                for root in roots {
                    session.report.add(
                        archiver.count(root.directory, openFiles, session), root: root.path)
                }
            }
            effect.append(session.report.json, except: [])
        }
        return VerbPlan(undo: target.parameters, effect: effect)
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let target = try cleaner.target(plan.undo)
        let archiver = try archiver()
        let destination = try archiver.openDestination()
        defer { destination.close() }
        var session = cleaner.begin(cleaner.budget)
        archiver.removeStale(destination, session)
        let roots = open(archiver, destination, on: target, &session)
        defer { for root in roots { root.directory.close() } }
        var archives: [JSON] = []
        var isLate = false
        if let openFiles = session.openFiles(of: cleaner.root) {
            do {
                for root in roots where !isLate {
                    isLate = try archive(
                        root, archiver, destination, openFiles, &session, &archives)
                }
            } catch {
                let failure =
                    error as? VerbFailure ?? VerbFailure(isTransient: true, reason: "\(error)")
                // What is archived and deleted by now is worth reporting.
                guard !archives.isEmpty else { throw failure }
                session.report.isComplete = false
                session.report.fail(failure.reason)
            }
        }
        var effect = try session.report.result()
        // Where more is needed, the same once more is better than the next step.
        if isLate, let usage = cleaner.usage(target),
            !CleaningGoal.well(config().storage).isMet(by: usage)
        {
            var failure = session.report.unfinished
            failure.reason += "; made " + archives.compactMap(\.string).joined(separator: ", ")
            throw failure
        }
        effect["archives"] = .array(archives)
        effect["to"] = .string(archiver.settings.destination)
        return effect
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object {
        throw VerbFailure(
            isTransient: false,
            reason: "\(name): to bring files back, unpack their archive with tar")
    }

    /// Archives slices of one root, as long as another one is likely to fit in the time. Returns whether
    /// the time was over before all was archived.
    private func archive(
        _ root: Cleaner.Root, _ archiver: Archiver, _ destination: SafeDirectory,
        _ openFiles: OpenFiles, _ session: inout CleaningSession, _ archives: inout [JSON]
    ) throws -> Bool {
        while true {
            try archiver.checkRoom(destination)
            let before = session.rest
            let made = try archiver.archiveSlice(
                root, to: destination, openFiles: openFiles, &session)
            guard let made else { return !session.report.isComplete }
            archives.append(.string(made.name))
            guard made.isMore, made.report.files > 0 else { return false }
            guard session.rest > (before - session.rest) * 1.5 else {
                session.report.isComplete = false
                return true
            }
        }
    }

    private func archiver() throws(VerbFailure) -> Archiver {
        let config = config()
        let settings = config.local.archive
        guard let tar = cleaner.tools.tar, cleaner.tools.zstd != nil else {
            throw VerbFailure(isTransient: false, reason: "tar or zstd is not installed here")
        }
        guard !settings.destination.isEmpty else {
            throw VerbFailure(
                isTransient: false, reason: "local.archive_old_data.to: is not set on this node")
        }
        return Archiver(
            cleaner: cleaner, settings: settings, node: config.nodeName,
            limit: .well(config.storage), tar: tar,
            isInterrupted: isInterrupted)
    }

    /// The roots whose files can go to the destination.
    private func open(
        _ archiver: Archiver, _ destination: SafeDirectory, on target: Cleaner.Target,
        _ session: inout CleaningSession
    ) -> [Cleaner.Root] {
        cleaner.open(archiver.settings.roots, on: target, &session.report).filter { root in
            guard let reason = archiver.objection(root.directory, destination) else { return true }
            session.report.leaveOut(root.path, reason)
            root.directory.close()
            return false
        }
    }
}
