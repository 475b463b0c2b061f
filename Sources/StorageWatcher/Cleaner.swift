import Antibody
import Glibc
package import Platform
import Protocol
import Settings

/// A directory that an action may clean, as `skos doctor` shows it.
package struct CleaningRoot: Sendable, Equatable {
    package var action: String
    package var path: String
    /// Why it is not cleaned; `nil`: it is.
    package var obstacle: String?
}

/// What the cleaning actions share: finding the roots, keeping to the time, and walking.
package struct Cleaner: Sendable {
    /// How long one action cleans at most. The desk waits 30 s for it; what is left then is reported,
    /// and the next action goes on.
    package static let budget: Duration = .seconds(25)
    /// How long a dry run walks at most.
    static let dryRunBudget: Duration = .seconds(20)

    package let root: HostRoot
    package let tools: CleaningTools
    /// How long one action may take; less in tests.
    package let budget: Duration
    /// Where this node keeps what it must not delete itself: journals, and the store of NATS.
    package let stateDirectory: String
    /// Which method opens directories; `nil`: the best there is.
    let method: SafeDirectory.Method?
    /// What time it is; a clock of its own in tests.
    let now: @Sendable () -> ContinuousClock.Instant
    let memory = CleaningMemory()

    /// - `tools`: the programs of the node that know how to clean.
    package init(
        root: HostRoot, tools: CleaningTools, stateDirectory: String,
        budget: Duration = Cleaner.budget, method: SafeDirectory.Method? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.root = root
        self.stateDirectory = stateDirectory
        self.tools = tools
        self.budget = budget
        self.method = method
        self.now = now
    }

    /// An action that begins now.
    func begin(_ budget: Duration) -> CleaningSession {
        CleaningSession(budget: budget, now: now)
    }

    /// Opens a directory of the node's own file, unless it does not answer.
    func open(_ path: String) throws(FileFailure) -> SafeDirectory {
        let real = root.real(path)
        let isAnswered = memory.answers(path) {
            var status = statvfs()
            _ = statvfs(real, &status)
        }
        guard isAnswered else { throw FileFailure(.open, real, errno: ETIMEDOUT) }
        return try SafeDirectory.open(path, root: root, method: method)
    }

    /// Why nothing below a root can be deleted; `nil`: it can.
    func obstacle(_ path: String) -> String? {
        do throws(FileFailure) {
            try open(path).close()
            return nil
        } catch { return Self.reason(error) }
    }

    /// What is said of a directory that does not answer.
    static let silence = "it does not answer: what is mounted there may be dead"

    // MARK: Where

    /// The file system that an alert is about; without one, all are meant.
    ///
    /// - Throws: what is wrong with `parameters.resource`.
    func target(_ parameters: JSON.Object) throws(VerbFailure) -> Target {
        guard let value = parameters["resource"], value != .null else { return .all }
        guard let name = value.string, !name.isEmpty else {
            throw VerbFailure(
                isTransient: false,
                reason: "parameters.resource: must be a mount point, or be left out for all")
        }
        let entries: [MountEntry]
        do throws(FileFailure) { entries = MountTable.parse(try MountTable.read(root)) } catch {
            throw VerbFailure(isTransient: true, reason: error.description)
        }
        guard let mount = entries.last(where: { $0.name == name }) else {
            throw VerbFailure(
                isTransient: false,
                reason: "parameters.resource: nothing is mounted at \(Name.quoted(name)) here")
        }
        return .mount(mount)
    }

    enum Target {
        case all
        case mount(MountEntry)

        /// As the plan keeps it.
        var parameters: JSON.Object {
            guard case .mount(let mount) = self else { return [:] }
            return ["resource": .string(mount.name)]
        }
    }

    /// A directory in which something may be deleted, open.
    struct Root {
        var path: String
        var directory: SafeDirectory
        /// What is left alone in it.
        var exclusions: [PathExclusion] = []
    }

    /// Opens the roots that are on the target's file system; the reasons why others are not used go
    /// into the report. Whoever asks closes them.
    func open(_ paths: [String], on target: Target, _ report: inout CleaningReport) -> [Root] {
        var roots: [Root] = []
        for path in paths {
            do throws(FileFailure) {
                let directory = try open(path)
                if let reason = try elsewhere(directory, target) {
                    directory.close()
                    report.leaveOut(path, reason, isElsewhere: true)
                } else {
                    roots.append(Root(path: path, directory: directory))
                }
            } catch { report.leaveOut(path, Self.reason(error)) }
        }
        return roots
    }

    private static func reason(_ failure: FileFailure) -> String {
        switch failure.errno {
        case ELOOP, ENOTDIR:
            "it is, or is reached through, a symbolic link or a file: name the real directory"
        case ENOENT: "there is no such directory"
        case ETIMEDOUT: silence
        default: failure.description
        }
    }

    /// Why an open directory is not on the target's file system; `nil`: it is.
    private func elsewhere(
        _ directory: SafeDirectory, _ target: Target
    ) throws(FileFailure) -> String? {
        guard case .mount(let mount) = target else { return nil }
        return try fileSystem(of: directory) == mount.device
            ? nil : "it is on another file system than \(mount.name)"
    }

    /// The file system an open directory is on: the number of its mount, for `stat` tells subvolumes
    /// apart that share their room.
    func fileSystem(of directory: SafeDirectory) throws(FileFailure) -> DeviceNumber {
        // In our own namespace; a file system has the same number in all of them.
        let text = try MountTable.readOwn()
        let id = Int(try directory.mountID())
        guard let own = MountTable.parse(text).first(where: { $0.id == id }) else {
            throw FileFailure(.read, "/proc/self/mountinfo", errno: ENODATA)
        }
        return own.device
    }

    // MARK: Walking

    /// What one walk over the roots is to do.
    struct Order {
        var cleanup: Config.Cleanup
        var isDryRun: Bool
        /// When enough is enough; `nil`: when all is done.
        var goal: CleaningGoal?
        /// Whether what running services have in temporary directories is to be left alone.
        var isTemporary = false
    }

    /// Names that services give to what they have in temporary directories. systemd's own rules leave
    /// the same alone.
    private static let reserved = ["systemd-private-*", "snap-private-tmp", "snap.*", ".X*-lock"]

    /// One walk of several: over which root, and which part of it.
    private struct Stretch {
        var root: Root
        var from: WalkCursor?
        var until: WalkCursor?
    }

    /// The walks that look at everything once, beginning where the time was over the last time.
    private func stretches(_ roots: [Root], _ place: CleaningMemory.Place?) -> [Stretch] {
        guard let place, let index = roots.firstIndex(where: { $0.path == place.root }) else {
            return roots.map { Stretch(root: $0) }
        }
        let others = roots[(index + 1)...] + roots[..<index]
        return [Stretch(root: roots[index], from: place.cursor)]
            + others.map { Stretch(root: $0) }
            + [Stretch(root: roots[index], until: place.cursor)]
    }

    /// Walks over the roots one after the other, until the time is over or the goal is reached; from
    /// where the time was over the last time.
    func sweep(_ order: Order, on target: Target, _ session: inout CleaningSession) {
        let opened = open(order.cleanup.roots, on: target, &session.report)
        defer { for root in opened { root.directory.close() } }
        let roots = order.isTemporary ? spare(opened, &session.report) : opened
        guard !roots.isEmpty, let openFiles = session.openFiles(of: root) else { return }
        var selection = selection(order, session)
        let place = order.isDryRun ? nil : memory.place(order.cleanup)
        for stretch in stretches(roots, place) {
            let root = stretch.root
            guard !session.isOver else {
                session.report.isComplete = false
                if !order.isDryRun {
                    memory.remember(
                        .init(root: root.path, cursor: stretch.from ?? WalkCursor()), order.cleanup)
                }
                return
            }
            var meter = order.goal.map { goal in
                CleaningMeter(goal, root.directory, isDryRun: order.isDryRun)
            }
            if meter?.isReached(WalkReport()) == true { continue }
            selection.exclusions = root.exclusions
            let (deadline, now) = (session.deadline, session.now)
            let sweep = Sweep(selection, openFiles: openFiles, isDryRun: order.isDryRun) { walked in
                if now() >= deadline { return .outOfTime }
                return meter?.isReached(walked) == true ? .enough : nil
            }
            let walked = sweep.run(root.directory, from: stretch.from, until: stretch.until)
            session.report.add(walked, root: root.path)
            if walked.end == .outOfTime, !order.isDryRun, let cursor = walked.cursor {
                return memory.remember(.init(root: root.path, cursor: cursor), order.cleanup)
            }
        }
        if !order.isDryRun { memory.remember(nil, order.cleanup) }
    }

    private func selection(_ order: Order, _ session: CleaningSession) -> FileSelection {
        var selection = FileSelection(
            patterns: order.cleanup.patterns.map { GlobPattern(name: $0) },
            unchangedSince: session.wallSeconds - order.cleanup.minAge.inSeconds)
        selection.kept = DirectoryIdentity(stateDirectory)
        if order.isTemporary {
            selection.mayBeRead = false
            selection.reserved = Self.reserved.map { GlobPattern(name: $0) }
        }
        return selection
    }
}
