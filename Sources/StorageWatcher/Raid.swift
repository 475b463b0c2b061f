package import Antibody
package import Platform
import Protocol

/// The arrays of the kernel's software RAID. Where there are none, nothing is said.
package enum Raid {
    /// The state of each array among the node's disks, which are the names in `/sys/block`. One that was
    /// stopped is not among them.
    package static func symptoms(_ disks: [String], _ files: any FileAccess) -> [Symptom] {
        disks.filter { $0.hasPrefix("md") }.sorted().compactMap { symptom($0, files) }
    }

    private static func symptom(_ name: String, _ files: any FileAccess) -> Symptom? {
        let base = "/sys/block/\(name)/md/"
        let state = files.textIfReadable(base + "array_state")
        guard state != "clear" else { return nil }
        // One that nobody has assembled whole, or that does not say, has nothing to lose; but if it was ill,
        // it is not well now.
        guard let state, state != "inactive" else {
            return Symptom(
                type: "storage_raid", resource: name, severity: nil,
                message: "\(name) is not assembled")
        }
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
