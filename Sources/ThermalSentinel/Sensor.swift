package import Platform

/// One thing on this node that may give a temperature.
package struct Sensor: Sendable, Equatable {
    /// Where its value comes from.
    package enum Source: Sendable, Equatable {
        case channel(HwmonChip.Channel)
        case zone(tempPath: String?, modePath: String?)
        case nvidia(uuid: String)
        case libsensors
    }

    /// What makes it this sensor and no other on the node, at every boot: name, device, channel, label.
    package var key: String
    /// A short name for people, unique on the node, such as `coretemp/coretemp.0/temp1`.
    package var id: String
    /// The chip it belongs to; of one chip only the best rank decides.
    package var group: String
    /// The driver's name for the chip, or the zone's type.
    package var chip: String
    package var label: String?
    package var sensorClass: SensorClass
    package var rank: SensorRank
    /// The temperature that its maker calls critical, in degrees Celsius.
    package var critical: Double?
    package var source: Source
    /// See `HwmonChip.runtimeStatusPath`; only for GPUs.
    package var runtimeStatusPath: String?

    package init(chip: HwmonChip, channel: HwmonChip.Channel) {
        let name = chip.name.isEmpty ? "unnamed" : chip.name
        group = name + "@" + chip.device
        key = "\(group):temp\(channel.number):\(channel.label ?? "")"
        id = "\(name)/\(lastComponent(chip.device))/temp\(channel.number)"
        self.chip = name
        label = channel.label
        sensorClass = SensorClassifier.classify(name)
        rank = SensorClassifier.rank(
            chip: name, channel: channel.number, label: channel.label)
        critical = channel.critical.map { Double($0) / 1000 }
        source = .channel(channel)
        runtimeStatusPath = sensorClass == .gpu ? chip.runtimeStatusPath : nil
    }

    package init(zone: ThermalZone) {
        let name = zone.type.isEmpty ? "unnamed" : zone.type
        group = "zone:\(name)@\(zone.device)"
        key = group
        id = "\(name)/\(lastComponent(zone.device))"
        chip = name
        sensorClass = SensorClassifier.classify(name)
        rank = SensorClassifier.rank(chip: name, channel: 0, label: nil)
        critical = zone.critical.map { Double($0) / 1000 }
        source = .zone(tempPath: zone.tempPath, modePath: zone.modePath)
    }

    package init(nvidia uuid: String, name: String) {
        group = "nvidia@" + uuid
        key = group
        id = "nvidia/" + uuid
        chip = "nvidia"
        label = name
        sensorClass = .gpu
        rank = .preferred
        source = .nvidia(uuid: uuid)
    }

    package init(libsensors temperature: LibSensors.Temperature) {
        group = "libsensors@" + temperature.chip
        key = "\(group):temp\(temperature.channel):\(temperature.label)"
        id = "\(temperature.chip)/temp\(temperature.channel)"
        chip = temperature.prefix
        label = temperature.label
        sensorClass = SensorClassifier.classify(chip)
        rank = SensorClassifier.rank(
            chip: chip, channel: temperature.channel, label: temperature.label)
        source = .libsensors
    }

    /// Poll no more often than this: a read wakes what is behind the sensor.
    package var leastInterval: Duration { chip == "drivetemp" ? Self.diskInterval : .zero }

    /// A read resets the spin-down timer of some disks, so it must be rarer than they time out.
    static let diskInterval: Duration = .seconds(300)
}

/// The last component of a path.
private func lastComponent(_ path: String) -> Substring {
    path.lastIndex(of: "/").map { path[path.index(after: $0)...] } ?? path[...]
}
