/// The hardware monitoring chips of the node (`/sys/class/hwmon`), as far as they have temperatures.
///
/// The ABI promises very little: indices have gaps and change at the next boot, names repeat, only
/// `name` must exist, and old drivers keep everything in `device/`. So nothing here counts from 0 to N;
/// directories are listed, and a sensor is known by name, device, channel and label.
package struct HwmonChip: Sendable, Equatable {
    /// The driver's name for the chip, such as `coretemp`; empty when the chip has none.
    package var name: String
    /// The chip's directory, such as `/sys/class/hwmon/hwmon3`.
    package var path: String
    /// What the chip belongs to, such as `devices/platform/coretemp.0`: the same at every boot.
    package var device: String
    /// The `power/runtime_status` of the device, for chips whose reading would wake it; `nil`: none.
    package var runtimeStatusPath: String?
    /// Temperature channels in ascending order.
    package var channels: [Channel]

    package init(
        name: String, path: String, device: String, runtimeStatusPath: String? = nil,
        channels: [Channel]
    ) {
        self.name = name
        self.path = path
        self.device = device
        self.runtimeStatusPath = runtimeStatusPath
        self.channels = channels
    }

    /// One temperature channel, `tempN_*`.
    package struct Channel: Sendable, Equatable {
        package var number: Int
        /// `tempN_label`, invalid UTF-8 replaced; `nil` when the driver gives none.
        package var label: String?
        /// `tempN_input`, or `nil` when there is only a label or a limit.
        package var inputPath: String?
        /// `tempN_fault`, when there is one: 1 says that the diode is broken.
        package var faultPath: String?
        /// `tempN_enable`, when there is one: 0 says that the channel is switched off.
        package var enablePath: String?
        /// `tempN_type`; 0 is "disabled" for the it87 family.
        package var type: Int64?
        /// `tempN_crit` in millidegrees, when it is a sensible limit.
        package var critical: Int64?

        package init(
            number: Int, label: String? = nil, inputPath: String? = nil, faultPath: String? = nil,
            enablePath: String? = nil, type: Int64? = nil, critical: Int64? = nil
        ) {
            self.number = number
            self.label = label
            self.inputPath = inputPath
            self.faultPath = faultPath
            self.enablePath = enablePath
            self.type = type
            self.critical = critical
        }
    }
}

/// One zone of the kernel's thermal framework (`/sys/class/thermal/thermal_zoneN`).
package struct ThermalZone: Sendable, Equatable {
    /// Such as `x86_pkg_temp`; may contain spaces.
    package var type: String
    package var path: String
    /// Where it really is, such as `devices/virtual/thermal/thermal_zone0`.
    package var device: String
    /// `temp`, or `nil` when the zone has none.
    package var tempPath: String?
    /// `mode`, when there is one: `disabled` says that the kernel does not watch it.
    package var modePath: String?
    /// The temperature of the critical trip point in millidegrees, when it is a sensible limit.
    package var critical: Int64?
}

/// Something that can cool (`/sys/class/thermal/cooling_deviceN`): a fan, or a limit on the processor.
package struct CoolingDevice: Sendable, Equatable {
    /// Such as `Processor`, `cpufreq-cpu0`, `intel_powerclamp`; may contain spaces.
    package var type: String
    package var path: String
    /// 0 is idle; `nil` when it cannot be read. `intel_powerclamp` answers -1 while it is idle.
    package var currentState: Int64?
    package var maxState: Int64?
}

/// Limits on what is believed of a node's sensor tree; real machines stay far below them.
package enum SensorLimits {
    package static let maxChips = 1024
    package static let maxChannelsPerChip = 1024
    package static let maxZones = 1024
    package static let maxCoolingDevices = 4096
    /// Longer names and labels are cut: they go into every heartbeat.
    package static let maxTextLength = 64
    /// Trip points that are looked at for the critical one.
    static let maxTrips = 32
}

/// Finds the chips and zones of a node.
package struct SensorTree: Sendable {
    package let files: any FileAccess

    package init(files: any FileAccess) { self.files = files }

    /// All chips in the order of their index, also those without temperatures.
    package func chips() -> [HwmonChip] {
        var chips: [HwmonChip] = []
        var seen: [String: Int] = [:]
        for (_, path) in entries("/sys/class/hwmon", prefix: "hwmon", max: SensorLimits.maxChips) {
            var chip = chip(at: path)
            // Without a device link, chips of one name would share an identity.
            let key = chip.name + "\n" + chip.device
            let count = seen[key, default: 0]
            seen[key] = count + 1
            if count > 0 { chip.device += "#\(count)" }
            chips.append(chip)
        }
        return chips
    }

    /// All zones in the order of their index.
    package func zones() -> [ThermalZone] {
        let root = "/sys/class/thermal"
        return entries(root, prefix: "thermal_zone", max: SensorLimits.maxZones).map { _, path in
            let names = Set((try? files.names(in: path)) ?? [])
            return ThermalZone(
                type: cut(files.textIfReadable(path + "/type") ?? ""), path: path,
                device: relative(files.resolve(path) ?? path),
                tempPath: names.contains("temp") ? path + "/temp" : nil,
                modePath: names.contains("mode") ? path + "/mode" : nil,
                critical: criticalTrip(path, names))
        }
    }

    /// All cooling devices in the order of their index, with their state now.
    package func coolingDevices() -> [CoolingDevice] {
        let root = "/sys/class/thermal"
        let max = SensorLimits.maxCoolingDevices
        return entries(root, prefix: "cooling_device", max: max).map { _, path in
            CoolingDevice(
                type: cut(files.textIfReadable(path + "/type") ?? ""), path: path,
                currentState: files.integerIfReadable(path + "/cur_state"),
                maxState: files.integerIfReadable(path + "/max_state"))
        }
    }

    /// Entries `prefixN` of a directory, ascending by N; none when there is no such directory.
    package func entries(_ directory: String, prefix: String, max: Int) -> [(Int, String)] {
        guard let names = try? files.names(in: directory) else { return [] }
        let numbered = names.compactMap { name -> (Int, String)? in
            guard name.hasPrefix(prefix),
                let number = Int(digits: name.utf8.dropFirst(prefix.utf8.count))
            else { return nil }
            return (number, directory + "/" + name)
        }
        return Array(numbered.sorted { $0.0 < $1.0 }.prefix(max))
    }

    private func chip(at path: String) -> HwmonChip {
        var channels = channels(in: path)
        // Old drivers (applesmc) register the hwmon directory empty and keep everything one up.
        if channels.isEmpty { channels = self.channels(in: path + "/device") }
        let name =
            files.textIfReadable(path + "/name") ?? files.textIfReadable(path + "/device/name")
            ?? ""
        let status = path + "/device/power/runtime_status"
        return HwmonChip(
            name: cut(name), path: path, device: deviceKey(path),
            runtimeStatusPath: files.textIfReadable(status) == nil ? nil : status,
            channels: channels)
    }

    /// The device's place in sysfs. Where there is no `device` link (virtual devices), it is the chip's
    /// own place without its index, which differs from boot to boot.
    private func deviceKey(_ path: String) -> String {
        if let device = files.resolve(path + "/device") { return relative(device) }
        let own = files.resolve(path) ?? path
        let parent = own.lastIndex(of: "/").map { own[..<$0] } ?? own[...]
        return relative(String(parent))
    }

    private func channels(in directory: String) -> [HwmonChip.Channel] {
        guard let names = try? files.names(in: directory) else { return [] }
        var attributes: [Int: Set<String>] = [:]
        for name in names {
            guard let (number, attribute) = temperatureAttribute(name) else { continue }
            attributes[number, default: []].insert(attribute)
        }
        let numbers = attributes.keys.sorted().prefix(SensorLimits.maxChannelsPerChip)
        return numbers.compactMap { number in
            let present = attributes[number] ?? []
            // A limit alone is no sensor; a label alone is one that is missing.
            guard present.contains("input") || present.contains("label") else { return nil }
            func path(_ attribute: String) -> String? {
                present.contains(attribute) ? "\(directory)/temp\(number)_\(attribute)" : nil
            }
            let label = path("label").flatMap { files.textIfReadable($0) }
            return HwmonChip.Channel(
                number: number, label: label.map(cut), inputPath: path("input"),
                faultPath: path("fault"), enablePath: path("enable"),
                type: path("type").flatMap { files.integerIfReadable($0) },
                critical: path("crit").flatMap { files.integerIfReadable($0) }
                    .flatMap(sensibleLimit))
        }
    }

    private func criticalTrip(_ path: String, _ names: Set<String>) -> Int64? {
        for index in 0..<SensorLimits.maxTrips {
            let trip = "trip_point_\(index)_"
            guard names.contains(trip + "type") else { continue }
            guard files.textIfReadable("\(path)/\(trip)type") == "critical" else { continue }
            return files.integerIfReadable("\(path)/\(trip)temp").flatMap(sensibleLimit)
        }
        return nil
    }

    private func relative(_ path: String) -> String {
        path.hasPrefix("/sys/") ? String(path.dropFirst(5)) : path
    }

    private func cut(_ text: String) -> String { String(text.prefix(SensorLimits.maxTextLength)) }
}

/// A limit in millidegrees as far as it means something: drivers leave uninitialised ones at 0, below
/// zero, or at the largest value of their register (0xFFFF K for NVMe).
package func sensibleLimit(_ millidegrees: Int64) -> Int64? {
    millidegrees > 0 && millidegrees <= 150_000 && millidegrees != 127_000 ? millidegrees : nil
}

/// Splits `temp12_input` into 12 and `input`.
private func temperatureAttribute(_ name: String) -> (Int, String)? {
    guard name.hasPrefix("temp"), let underscore = name.firstIndex(of: "_") else { return nil }
    let digits = name[name.index(name.startIndex, offsetBy: 4)..<underscore]
    guard let number = Int(digits: digits.utf8) else { return nil }
    return (number, String(name[name.index(after: underscore)...]))
}

extension Int {
    /// A number of one to six decimal digits and nothing else.
    init?(digits: some Collection<UInt8>) {
        guard (1...6).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        self = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }
}
