package import Antibody
package import Platform
import Protocol

/// The arrays of the kernel's software RAID. Where there are none, nothing is said.
package enum Raid {
    /// The state of each array, below `/sys/block`.
    package static func symptoms(_ files: any FileAccess) -> [Symptom] {
        let names = (try? files.names(in: "/sys/block")) ?? []
        return names.filter { $0.hasPrefix("md") }.sorted().compactMap { symptom($0, files) }
    }

    private static func symptom(_ name: String, _ files: any FileAccess) -> Symptom? {
        let base = "/sys/block/\(name)/md/"
        guard let state = files.textIfReadable(base + "array_state"),
            // An array that nobody has assembled has nothing to lose.
            state != "clear", state != "inactive"
        else { return nil }
        let missing = files.integerIfReadable(base + "degraded") ?? 0
        let action = files.textIfReadable(base + "sync_action") ?? "idle"
        let level = files.textIfReadable(base + "level") ?? "RAID"
        let isRebuilding = action == "recover" || action == "resync"
        var symptom = Symptom(
            type: "storage_raid", resource: name, severity: .ok, message: "\(name) is whole")
        if ["broken", "failed"].contains(state) {
            symptom.severity = .emergency
            symptom.message = "\(name) (\(level)) has failed: its state is \(state)"
        } else if missing > 0 {
            symptom.severity = isRebuilding ? .warning : .critical
            symptom.message =
                "\(name) (\(level)) lacks \(missing) of its disks"
                + (isRebuilding ? " and is being rebuilt" : ": replace them")
        }
        symptom.details = [
            "level": .string(level), "state": .string(state), "degraded": .integer(missing),
            "sync_action": .string(action),
        ]
        return symptom
    }
}
