import Glibc
package import Platform

/// Finds what this node can be throttled with.
package struct KnobFinder: Sendable {
    /// Knobs of one kind that are looked at; the largest machines have a few hundred policies.
    static let maxKnobs = 1024
    /// A power limit is not set below this part of the reference where the driver names no floor.
    static let powerFloorDivisor: Int64 = 4
    static let microwattsPerWatt: Int64 = 1_000_000

    /// What was found of one kind: knobs, and things that are none with the reason.
    package struct Found: Sendable, Equatable {
        package var knobs: [Knob] = []
        package var obstacles: [KnobDescription] = []

        mutating func reject(_ kind: KnobKind, _ path: String, _ reason: String) {
            obstacles.append(
                KnobDescription(kind: kind, path: path, value: nil, obstacle: reason))
        }
    }

    let files: any FileAccess
    let nvidia: (any NvidiaSource)?
    let tree: SensorTree

    package init(files: any FileAccess, nvidia: (any NvidiaSource)? = nil) {
        self.files = files
        self.nvidia = nvidia
        tree = SensorTree(files: files)
    }

    /// The knobs of one kind.
    package func find(_ kind: KnobKind) -> Found {
        switch kind {
        case .cpufreq: cpufreq()
        case .intelPstate: intelPstate()
        case .rapl: rapl()
        case .cgroup: cgroups()
        case .nvidia: nvidiaLimits()
        case .amdgpu: amdgpu()
        case .intelGPU: intelGPU()
        }
    }

    /// Reads one attribute as a knob's text and number; says why not in `found`.
    func attribute(_ kind: KnobKind, _ path: String, _ found: inout Found) -> (String, Int64)? {
        do throws(FileFailure) {
            let bytes = try files.read(path, limit: HostFiles.attributeLimit)
            let text = String(decoding: bytes, as: UTF8.self)
            if let value = KnobText.value(text, kind: kind) { return (text, value) }
            found.reject(kind, path, "holds no number")
        } catch {
            if error.errno != ENOENT { found.reject(kind, path, error.description) }
        }
        return nil
    }

    // MARK: Frequencies

    private func cpufreq() -> Found {
        var found = Found()
        let directory = "/sys/devices/system/cpu/cpufreq"
        var policies = tree.entries(directory, prefix: "policy", max: Self.maxKnobs).map(\.1)
        if policies.isEmpty {
            // Kernels before 4.2 have the directory only under each processor.
            let cpus = tree.entries("/sys/devices/system/cpu", prefix: "cpu", max: Self.maxKnobs)
            var seen: Set<String> = []
            policies = cpus.map { $0.1 + "/cpufreq" }.filter {
                seen.insert(files.resolve($0) ?? $0).inserted
            }
        }
        let isCooled = isProcessorCooled()
        for policy in policies {
            let path = policy + "/scaling_max_freq"
            guard let (text, value) = attribute(.cpufreq, path, &found) else { continue }
            guard let top = files.integerIfReadable(policy + "/cpuinfo_max_freq"), top > 0 else {
                found.reject(.cpufreq, path, "cpuinfo_max_freq is not known")
                continue
            }
            let least = files.integerIfReadable(policy + "/cpuinfo_min_freq") ?? top / 10
            var knob = Knob(
                kind: .cpufreq, path: path, text: text, value: value, full: top,
                floor: max(least, 1), step: 1)
            // What is read is the lowest of all requests. While the kernel or the firmware holds the
            // processor down, it is theirs, and restoring it would make it permanent.
            let firmware = files.integerIfReadable(policy + "/bios_limit")
            if value < top, isCooled || firmware == value {
                knob.assumedOriginal = KnobText.text(top, kind: .cpufreq, like: text)
            }
            found.knobs.append(knob)
        }
        return found
    }

    /// Whether the kernel itself holds processors down now.
    private func isProcessorCooled() -> Bool {
        tree.coolingDevices().contains { device in
            (device.currentState ?? 0) > 0
                && (device.type == "Processor" || device.type.hasPrefix("cpufreq-")
                    || device.type.hasPrefix("thermal-cpufreq"))
        }
    }

    private func intelPstate() -> Found {
        var found = Found()
        let directory = "/sys/devices/system/cpu/intel_pstate"
        let path = directory + "/max_perf_pct"
        guard let (text, value) = attribute(.intelPstate, path, &found) else { return found }
        if files.textIfReadable(directory + "/status") == "off" {
            found.reject(.intelPstate, path, "intel_pstate/status is off")
            return found
        }
        let least = files.integerIfReadable(directory + "/min_perf_pct") ?? 1
        found.knobs.append(
            Knob(
                kind: .intelPstate, path: path, text: text, value: value, full: 100,
                floor: max(least, 1), step: 1))
        return found
    }

    // MARK: Power

    private func rapl() -> Found {
        var found = Found()
        for (_, domain) in tree.entries(
            "/sys/class/powercap", prefix: "intel-rapl:", max: Self.maxKnobs)
        {
            // Only whole packages: core, uncore and dram are parts of them.
            guard files.textIfReadable(domain + "/name")?.hasPrefix("package") == true else {
                continue
            }
            for constraint in 0...1 {
                let path = "\(domain)/constraint_\(constraint)_power_limit_uw"
                guard let (text, value) = attribute(.rapl, path, &found) else { continue }
                if files.integerIfReadable(domain + "/enabled") == 0 {
                    found.reject(.rapl, path, "the domain is not enabled")
                } else if value <= 0 {
                    found.reject(.rapl, path, "no limit is set")
                } else {
                    found.knobs.append(
                        Knob(
                            kind: .rapl, path: path, text: text, value: value, full: nil,
                            floor: Self.microwattsPerWatt, step: 1))
                }
            }
        }
        return found
    }

    private func nvidiaLimits() -> Found {
        var found = Found()
        for limit in nvidia?.powerLimits() ?? [] {
            let path = Knob.nvidiaPrefix + limit.uuid
            guard limit.most > limit.least, limit.limit > 0 else {
                found.reject(.nvidia, path, "its power limit cannot be changed")
                continue
            }
            found.knobs.append(
                Knob(
                    kind: .nvidia, path: path, text: "\(limit.limit)", value: limit.limit,
                    full: nil, floor: max(limit.least, 1), step: 1000))
        }
        return found
    }

    private func amdgpu() -> Found {
        var found = Found()
        for chip in tree.chips() where chip.name == "amdgpu" {
            let path = chip.path + "/power1_cap"
            guard let (text, value) = attribute(.amdgpu, path, &found) else { continue }
            let least = files.integerIfReadable(path + "_min") ?? 0
            guard let most = files.integerIfReadable(path + "_max"), most > least, value > 0 else {
                // Laptops: the firmware owns the limit.
                found.reject(.amdgpu, path, "power1_cap_min and power1_cap_max leave no room")
                continue
            }
            // A floor of 0 is what the driver says when it has none: the card would hang, not cool.
            let usual = files.integerIfReadable(path + "_default") ?? value
            found.knobs.append(
                Knob(
                    kind: .amdgpu, path: path, text: text, value: value, full: nil,
                    floor: least > 0 ? least : usual / Self.powerFloorDivisor,
                    step: Self.microwattsPerWatt))
        }
        return found
    }

    private func intelGPU() -> Found {
        var found = Found()
        for chip in tree.chips() where chip.name == "xe" || chip.name == "i915" {
            // The channel differs: power1 is the card, power2 the package.
            for channel in 1...4 {
                let path = "\(chip.path)/power\(channel)_max"
                guard let (text, value) = attribute(.intelGPU, path, &found) else { continue }
                guard value > 0 else {
                    found.reject(.intelGPU, path, "no limit is set")
                    continue
                }
                found.knobs.append(
                    Knob(
                        kind: .intelGPU, path: path, text: text, value: value, full: nil,
                        floor: value / Self.powerFloorDivisor, step: Self.microwattsPerWatt))
            }
        }
        return found
    }
}
