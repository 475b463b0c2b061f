import Platform
import Protocol

/// What is said about mounts, to people and in messages.
enum StorageText {
    /// Mounts that a heartbeat lists; more are counted.
    static let listLimit = 32

    static func space(_ mount: MountEntry, _ usage: FileSystemUsage) -> String {
        "\(mount.name) is \(percent(usage.usedPercent)) full: \(size(usage.available)) available "
            + "(\(mount.type) on \(mount.source))"
    }

    static func inodes(_ mount: MountEntry, _ usage: FileSystemUsage) -> String {
        "\(mount.name) has used \(percent(usage.inodesUsedPercent)) of its inodes: "
            + "\(usage.inodesFree) left, however much space there is "
            + "(\(mount.type) on \(mount.source))"
    }

    static func details(
        _ mount: MountEntry, _ usage: FileSystemUsage, isAboutInodes: Bool
    ) -> JSON.Object {
        var details: JSON.Object = [
            "kind": isAboutInodes ? "inodes" : "space",
            "available_bytes": .integer(Int64(clamping: usage.available)),
            "size_bytes": .integer(Int64(clamping: usage.size)), "fstype": .string(mount.type),
            "device": .string(mount.source),
        ]
        details["used_percent"] = usage.usedPercent.map { .number(rounded($0)) }
        details["inodes_used_percent"] = usage.inodesUsedPercent.map { .number(rounded($0)) }
        return details
    }

    /// The members of a heartbeat's metadata that list the mounts, the fullest first.
    static func metadata(_ observations: [MountObservation]) -> JSON.Object {
        func rank(_ observation: MountObservation) -> Double {
            guard let usage = observation.usage else { return 101 }
            return max(usage.usedPercent ?? 0, usage.inodesUsedPercent ?? 0)
        }
        let listed = observations.filter { observation in
            if case .usage(let usage) = observation.answer { usage.size > 0 } else { true }
        }
        let ranked = listed.map { (rank($0), $0) }.sorted { $0.0 > $1.0 }
        var metadata: JSON.Object = [
            "mounts": .array(ranked.prefix(listLimit).map { .object(entry($0.1)) })
        ]
        if ranked.count > listLimit {
            metadata["mounts_omitted"] = .integer(Int64(ranked.count - listLimit))
        }
        return metadata
    }

    private static func entry(_ observation: MountObservation) -> JSON.Object {
        let mount = observation.mount
        var entry: JSON.Object = ["mount": .string(mount.name), "fstype": .string(mount.type)]
        if let usage = observation.usage {
            entry["used_percent"] = usage.usedPercent.map { .number(rounded($0)) }
            entry["inodes_used_percent"] = usage.inodesUsedPercent.map { .number(rounded($0)) }
            entry["available_bytes"] = .integer(Int64(clamping: usage.available))
        }
        if mount.isLocked { entry["read_only"] = true }
        if let reason = observation.reason {
            entry["state"] = .string(observation.state)
            entry["reason"] = .string(reason)
        }
        return entry
    }

    static func percent(_ value: Double?) -> String { value.map { "\(rounded($0)) %" } ?? "?" }

    /// One digit behind the point.
    static func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    static func size(_ bytes: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var (value, unit) = (Double(bytes), 0)
        while value >= 1024, unit + 1 < units.count { (value, unit) = (value / 1024, unit + 1) }
        return unit == 0 ? "\(bytes) B" : "\(rounded(value)) \(units[unit])"
    }

    static func hours(_ hours: Double) -> String {
        hours < 1 ? "\(Int((hours * 60).rounded())) min" : "\(rounded(hours)) h"
    }
}
