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
    private let state: Mutex<State>

    /// The module of this node.
    package convenience init(hostRoot: HostRoot, config: Config) {
        self.init(
            config: config, files: HostFiles(root: hostRoot),
            source: StorageScanner.Source(hostRoot),
            cleaner: Cleaner(root: hostRoot, tools: CleaningTools.find(hostRoot)))
    }

    /// The same with parts that tests replace.
    package init(
        config: Config, files: any FileAccess, source: StorageScanner.Source, cleaner: Cleaner,
        readLimit: Duration = StorageScanner.readLimit
    ) {
        self.files = files
        self.cleaner = cleaner
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
        let cleanups = CleanupVerb.Kind.allCases.map { CleanupVerb($0, cleaner, config) }
            .filter(\.isAvailable)
        var verbs: [any Verb] = cleanups
        if !cleanups.isEmpty { verbs.append(EmergencyVerb(cleaner, config)) }
        let archive = ArchiveVerb(cleaner, config)
        if archive.isAvailable { verbs.append(archive) }
        return verbs
    }

    package func sample(at now: Timestamp) async -> Sample {
        var sample = Sample()
        do throws(FileFailure) {
            let observations = try await scanner.scan()
            sample.symptoms = state.withLock { $0.judge.observe(observations, at: now) }
            sample.metadata = StorageText.metadata(observations)
        } catch {
            sample.metadata["mounts_unknown"] = .string(error.description)
        }
        if scanner.hungCount > 0 {
            sample.metadata["reads_hung"] = .integer(Int64(scanner.hungCount))
        }
        let pressure = Pressure.read(files)
        if !pressure.isEmpty { sample.metadata["pressure"] = .object(pressure) }
        return sample
    }

    /// What there is to watch and to clean here, for `skos doctor`.
    package func findings() async -> Result<[MountObservation], FileFailure> {
        do throws(FileFailure) { return .success(try await scanner.scan()) } catch {
            return .failure(error)
        }
    }
}
