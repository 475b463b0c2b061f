import Operator
import Platform
import Protocol
import Settings
import StorageWatcher

/// What the storage watcher sees of the node, for `skos doctor`.
extension Inspection {
    static func storage(_ config: Config) async -> [Finding] {
        let module = StorageModule(hostRoot: HostRoot(config.hostRoot), config: config)
        return await mounts(module, config.storage) + roots(module) + programs(module)
    }

    private static func mounts(
        _ module: StorageModule, _ settings: Config.Storage
    ) async -> [Finding] {
        let mounts: [MountObservation]
        do throws(FileFailure) { mounts = try await module.mounts() } catch {
            return [
                Finding(
                    "mounts", .warn, "no file system is watched: \(error)",
                    remedy:
                        "in a container, mount the host's /proc and set SKOS_HOST_ROOT to where it is"
                )
            ]
        }
        let findings = mounts.compactMap { mount($0, settings) }
        guard findings.isEmpty else { return findings }
        return [
            Finding(
                "mounts", .warn, "no file system is watched",
                remedy: "see storage.mounts.include and .exclude in config.yaml")
        ]
    }

    private static func mount(
        _ observation: MountObservation, _ settings: Config.Storage
    ) -> Finding? {
        let mount = observation.mount
        let place = "\(mount.name) (\(mount.type) on \(mount.source))"
        switch observation.answer {
        case .usage(let usage):
            // What has no size cannot be full.
            guard let percent = usage.usedPercent else { return nil }
            let inodes = usage.inodesUsedPercent.map { ", \(rounded($0)) % of inodes" } ?? ""
            let text = "\(place): \(rounded(percent)) % used\(inodes)"
            guard let severity = observation.severity(by: settings) else {
                return Finding("mount", .ok, text)
            }
            return Finding(
                "mount", .warn, "\(text), which is \(severity.rawValue) by storage.thresholds")
        case .hung: return Finding("mount", .warn, "\(place) does not answer: it is hung")
        case .dead(let reason): return Finding("mount", .warn, "\(place) is dead: \(reason)")
        case .failed(let reason): return Finding("mount", .warn, "\(place): \(reason)")
        case .hidden:
            return Finding("mount", .ok, "\(place) is not watched: it is not visible from here")
        case .unread:
            return Finding("mount", .warn, "\(place) was not asked: too many others hang")
        }
    }

    private static func rounded(_ value: Double) -> String {
        Text.number((value * 10).rounded() / 10)
    }

    private static func roots(_ module: StorageModule) -> [Finding] {
        module.cleaningRoots().map { root in
            if root.action.hasSuffix(".to") {
                let obstacle = root.obstacle.map { ", where nothing can be put: \($0)" } ?? ""
                return Finding(
                    "archives", root.obstacle == nil ? .ok : .warn,
                    "archives go to \(root.path)\(obstacle)")
            }
            guard let obstacle = root.obstacle else {
                return Finding("cleaning", .ok, "\(root.action) may clean \(root.path)")
            }
            return Finding(
                "cleaning", .warn, "\(root.action) does not clean \(root.path): \(obstacle)")
        }
    }

    private static func programs(_ module: StorageModule) -> [Finding] {
        let tools = module.tools
        let programs = [
            ("systemd-tmpfiles", tools.tmpfiles, "cleanup_temp goes without it"),
            ("journalctl", tools.journalctl, "cleanup_logs leaves the journal alone"),
            ("tar", tools.tar, "archive_old_data is not offered"),
            ("zstd", tools.zstd, "archive_old_data is not offered"),
            ("smartctl", tools.smartctl, "disks are not asked about their health"),
        ]
        return programs.map { name, path, without in
            Finding("program", .ok, path ?? "\(name) is not here: \(without)")
        }
    }
}
