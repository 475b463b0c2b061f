import Antibody
package import Platform
package import Protocol
package import Settings

/// What one look at one mount gave.
package struct MountObservation: Sendable, Equatable {
    package enum Answer: Sendable, Equatable {
        case usage(FileSystemUsage)
        /// It has not answered in time.
        case hung
        /// It answers that it is dead: its server has ended.
        case dead(reason: String)
        case failed(reason: String)
        /// Something else stands in its place, or it is not visible from here.
        case hidden
        /// It was not asked, because too many others hang.
        case unread
    }

    package var mount: MountEntry
    package var answer: Answer
    /// Whether nothing can be written to its file system, here or at any other of its mounts.
    package var isLocked: Bool

    /// - `isLocked`: if nothing is said, as this mount is.
    package init(mount: MountEntry, answer: Answer, isLocked: Bool? = nil) {
        self.mount = mount
        self.answer = answer
        self.isLocked = isLocked ?? mount.isLocked
    }

    /// How full it is, when it has said so and has a size.
    package var usage: FileSystemUsage? {
        if case .usage(let usage) = answer, usage.size > 0 { usage } else { nil }
    }

    /// How bad it is by the thresholds alone, at this moment; `nil`: it is not, or nobody can make room.
    package func severity(by settings: Config.Storage) -> Severity? {
        guard let usage, !isLocked else { return nil }
        let levels = [
            (usage.usedPercent, settings.thresholds),
            (usage.inodesUsedPercent, settings.inodeThresholds),
        ]
        return [Severity.emergency, .critical, .warning].first { severity in
            levels.contains { value, levels in (value ?? 0) >= levels[severity] }
        }
    }

    /// The word for its state in heartbeats.
    var state: String {
        switch answer {
        case .usage: "ok"
        case .hung: "hung"
        case .dead: "dead"
        case .failed: "failed"
        case .hidden: "hidden"
        case .unread: "unread"
        }
    }

    /// Why there is no usage, in words.
    var reason: String? {
        switch answer {
        case .usage: nil
        case .hung: "it has not answered in time"
        case .dead(let reason), .failed(let reason): reason
        case .hidden: "something else is mounted over it, or it is not visible from here"
        case .unread: "not asked: too many others hang"
        }
    }
}

/// The pools of zfs, whose file systems share one room.
package enum ZFSPools {
    /// A file system whose own limit leaves it less than this of its pool's room is watched beside it.
    static let ownLimit = 0.95

    /// Leaves one observation for each pool, with what all its mounted file systems use, and those
    /// whose quota leaves them less room than the pool has.
    package static func merge(_ observations: [MountObservation]) -> [MountObservation] {
        var pools: [String: [Int]] = [:]
        for (index, observation) in observations.enumerated()
        where observation.mount.type == "zfs" && observation.usage != nil {
            pools[pool(observation.mount), default: []].append(index)
        }
        var result = observations
        var dropped: Set<Int> = []
        for indices in pools.values where indices.count > 1 {
            let usages = indices.compactMap { index in observations[index].usage }
            let available = usages.map(\.available).max() ?? 0
            // A file system may say anything of itself.
            let used = usages.reduce(UInt64(0)) { $0.saturatingSum($1.used) }
            // The file system with the shortest name stands for the pool.
            let first = indices.min { left, right in
                let (one, other) = (observations[left].mount, observations[right].mount)
                return (one.source.utf8.count, one.source) < (other.source.utf8.count, other.source)
            }
            for index in indices {
                guard let usage = observations[index].usage else { continue }
                if index == first {
                    let whole = FileSystemUsage(
                        size: used.saturatingSum(available), free: available,
                        available: available)
                    result[index].answer = .usage(whole)
                } else if Double(usage.available) >= Double(available) * ownLimit {
                    dropped.insert(index)
                }
            }
        }
        return result.enumerated().filter { !dropped.contains($0.offset) }.map(\.element)
    }

    private static func pool(_ mount: MountEntry) -> String {
        String(mount.source.prefix { $0 != "/" && $0 != "@" })
    }
}

extension UInt64 {
    /// The sum, or the greatest number when it does not fit.
    fileprivate func saturatingSum(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
