/// What a temperature sensor measures, as far as its chip tells.
package enum SensorClass: String, Sendable, CaseIterable, Comparable {
    case cpu, gpu, disk, memory, nic, board, other

    package static func < (left: SensorClass, right: SensorClass) -> Bool {
        left.position < right.position
    }

    private var position: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// How a sensor counts within its chip: of one chip only the best rank that gives a value decides.
package enum SensorRank: Int, Sendable, Comparable {
    /// The value its maker means by "the temperature": package, Tdie, Composite.
    case preferred
    /// A part of it: one core, one die.
    case part
    /// Possibly shifted by an offset (AMD's Tctl): only where there is nothing better.
    case shifted
    /// Shown, but never decides: an NVMe disk's extra sensors, board chips.
    case informative

    package static func < (left: SensorRank, right: SensorRank) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// Tells classes by the driver's name for the chip, or by the zone's type, and by nothing else: labels
/// like `CPU` on a board chip mark whichever pin the board's maker left open.
package enum SensorClassifier {
    /// The class of a chip or zone by its name.
    package static func classify(_ name: String) -> SensorClass {
        // Zone types say cpu-thermal where their chip says cpu_thermal.
        let name = String(name.lowercased().map { $0 == "-" ? "_" : $0 })
        if let known = exact[name] { return known }
        if name.hasSuffix("_thermal") || name.hasSuffix("_temp") {
            if socProcessors.contains(where: name.hasPrefix) { return .cpu }
            if name.hasPrefix("gpu") { return .gpu }
        }
        return prefixes.first { name.hasPrefix($0.prefix) }?.class ?? .other
    }

    /// The rank of one channel within its chip.
    /// - `chip`: the driver's name.
    /// - `channel`: the N of `tempN`.
    /// - `label`: the driver's label, when it has one.
    package static func rank(chip: String, channel: Int, label: String?) -> SensorRank {
        switch classify(chip) {
        case .cpu:
            switch chip {
            case "coretemp": (label ?? "").hasPrefix("Core") ? .part : .preferred
            case "k10temp", "zenpower": amdRank(label)
            default: .preferred
            }
        case .gpu, .memory, .nic: .preferred
        case .disk:
            // Only the composite temperature is defined to be what limits apply to; the others are
            // whatever the maker likes. It is channel 1 where labels are missing.
            chip == "nvme" && !(label == "Composite" || label == nil && channel == 1)
                ? .informative : .preferred
        case .board, .other: .informative
        }
    }

    /// Whether a firmware stands between the sensor and us: then a value that never changes is taken
    /// for a constant somebody wrote into a table.
    package static func isFirmware(_ name: String) -> Bool {
        switch classify(name) {
        case .board, .other: true
        case .cpu: name == "TCPU" || name == "B0D4"
        case .gpu, .disk, .memory, .nic: false
        }
    }

    private static func amdRank(_ label: String?) -> SensorRank {
        switch label {
        case "Tdie": .preferred
        case .some(let label) where label.hasPrefix("Tccd"): .part
        default: .shifted
        }
    }

    private static let socProcessors = [
        "cpu", "bigcore", "littlecore", "soc", "bcm2835", "bcm2711",
    ]

    private static let exact: [String: SensorClass] = [
        "coretemp": .cpu, "k10temp": .cpu, "k8temp": .cpu, "zenpower": .cpu, "via_cputemp": .cpu,
        "scpi_sensors": .cpu, "x86_pkg_temp": .cpu, "tcpu": .cpu, "b0d4": .cpu,
        "amdgpu": .gpu, "radeon": .gpu, "nouveau": .gpu, "i915": .gpu, "xe": .gpu, "nvidia": .gpu,
        "nvme": .disk, "drivetemp": .disk,
        "jc42": .memory, "spd5118": .memory,
        "thinkpad": .board, "applesmc": .board, "acpitz": .board, "dell_smm": .board,
        "rp1_adc": .board,
        // fan and battery drivers with names that begin like something else
        "pwmfan": .other, "rpi_volt": .other,
    ]

    private static let prefixes: [(prefix: String, class: SensorClass)] = [
        ("mlx", .nic), ("bnxt", .nic), ("i350", .nic), ("iwlwifi", .nic), ("mt7", .nic),
        ("nct", .board), ("it86", .board), ("it87", .board), ("w83", .board), ("f718", .board),
        ("asus", .board), ("pch_", .board), ("sen", .board), ("soc_dts", .cpu),
    ]
}
