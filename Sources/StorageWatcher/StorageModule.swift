package import Antibody
package import Platform
package import Protocol
package import Settings
import Synchronization

/// The storage watcher: how full this node's file systems are, and how to make room.
package final class StorageModule: AntibodyModule {
    package let name = "storage"
    package let agentType = "storage_watcher"

    private struct State: Sendable {
        var config: Config
        var judge: StorageJudge
    }

    private let scanner: StorageScanner
    private let cleaner: Cleaner
    private let files: any FileAccess
    private let smart: Smart
    private let smartWorker = TimedWorker(maxHung: 1)
    private let state: Mutex<State>

    /// The module of this node.
    package convenience init(hostRoot: HostRoot, config: Config) {
        self.init(
            config: config, files: HostFiles(root: hostRoot),
            source: StorageScanner.Source(hostRoot),
            cleaner: Cleaner(
                root: hostRoot, tools: CleaningTools.find(hostRoot),
                stateDirectory: config.stateDirectory))
    }

    /// The same with parts that tests replace.
    package init(
        config: Config, files: any FileAccess, source: StorageScanner.Source, cleaner: Cleaner,
        smart: Smart? = nil, readLimit: Duration = StorageScanner.readLimit
    ) {
        self.files = files
        self.cleaner = cleaner
        self.smart = smart ?? Smart(program: cleaner.tools.smartctl, files: files)
        scanner = StorageScanner(source: source, settings: config.storage, readLimit: readLimit)
        state = Mutex(State(config: config, judge: StorageJudge(config)))
    }

    package func apply(_ config: Config) {
        scanner.apply(config.storage)
        state.withLock { state in
            state.config = config
            state.judge.apply(config)
        }
    }

    package func verbs() -> [any Verb] {
        let config: CurrentConfig = { self.state.withLock { $0.config } }
        return CleanupVerb.Kind.allCases.map { CleanupVerb($0, cleaner, config) }
            + [EmergencyVerb(cleaner, config), ArchiveVerb(cleaner, config)]
    }

    /// Decided by the settings alone: a root may be on a dead server, or be mounted later.
    package func withheld(_ config: Config) -> Set<String> {
        let (local, tools) = (config.local, cleaner.tools)
        let hasTemp = !local.cleanupTemp.roots.isEmpty
        let hasLogs =
            !local.cleanupLogs.roots.isEmpty || local.journalMax > 0 && tools.journalctl != nil
        let hasArchive =
            !local.archive.roots.isEmpty && !local.archive.destination.isEmpty
            && tools.tar != nil && tools.zstd != nil
        let offers = [
            CleanupVerb.Kind.temp.rawValue: hasTemp, CleanupVerb.Kind.logs.rawValue: hasLogs,
            "emergency_cleanup": hasTemp || hasLogs, "archive_old_data": hasArchive,
        ]
        return Set(offers.filter { !$0.value }.keys)
    }

    package func sample(at now: Timestamp) async -> Sample {
        var sample = Sample()
        do throws(FileFailure) {
            let observations = try await scanner.scan()
            sample.symptoms = state.withLock { $0.judge.observe(observations, at: now) }
            sample.metadata = StorageText.metadata(observations)
            let points = Set(observations.map(\.mount.name))
            for type in MountTrack.types { sample.watched[type] = points }
        } catch {
            sample.metadata["mounts_unknown"] = .string(error.description)
        }
        if scanner.hungCount > 0 {
            sample.metadata["reads_hung"] = .integer(Int64(scanner.hungCount))
        }
        if let disks = try? files.names(in: "/sys/block") {
            let arrays = Raid.symptoms(disks, files)
            sample.symptoms += arrays + smart.symptoms(disks)
            sample.watched["storage_raid"] = Set(arrays.map(\.resource))
            sample.watched["storage_smart"] = Set(disks)
        }
        let pressure = Pressure.read(files)
        if !pressure.isEmpty { sample.metadata["pressure"] = .object(pressure) }
        return sample
    }

    /// Asks the disks about themselves, now and then.
    package func run(_ surroundings: Surroundings) async {
        guard smart.isPresent else { return }
        let smart = smart
        while !Task.isCancelled {
            // The last round may still be at it; then this one is left out.
            _ = await smartWorker.run(limit: Smart.interval) { smart.askAll() }
            try? await Task.sleep(for: Smart.interval)
        }
    }

    // MARK: For `skos doctor`

    /// All mounts that are watched, as of now.
    package func mounts() async throws(FileFailure) -> [MountObservation] {
        try await scanner.scan()
    }

    /// What may be cleaned, and what stands in the way. Blocks.
    package func cleaningRoots() -> [CleaningRoot] {
        let local = state.withLock { $0.config.local }
        let lists = [
            (CleanupVerb.Kind.temp.rawValue, local.cleanupTemp.roots),
            (CleanupVerb.Kind.logs.rawValue, local.cleanupLogs.roots),
            ("archive_old_data", local.archive.roots),
            ("archive_old_data.to", [local.archive.destination].filter { !$0.isEmpty }),
        ]
        let (worker, cleaner) = (TimedWorker(), cleaner)
        return lists.flatMap { action, roots in
            roots.map { root in
                let obstacle = worker.runBlocking(limit: StorageScanner.readLimit) {
                    cleaner.obstacle(root)
                }
                return CleaningRoot(
                    action: action, path: root, obstacle: obstacle ?? Cleaner.silence)
            }
        }
    }

    /// The programs of the node that are used.
    package var tools: CleaningTools { cleaner.tools }
}
