import Foundation
import Platform
import Testing

/// Odd layouts of `/sys/class/hwmon` and `/sys/class/thermal` that no fixture machine has.
@Suite struct SensorTreeTests {
    @Test func attributesMayLiveInTheDevice() throws {
        let scratch = try Scratch()
        try scratch.file("devices/platform/applesmc.768/name", "applesmc\n")
        try scratch.file("devices/platform/applesmc.768/temp1_input", "50000\n")
        try scratch.file("devices/platform/applesmc.768/temp1_label", "TC0P\n")
        try scratch.file("devices/platform/applesmc.768/hwmon/hwmon2/uevent", "")
        let files = FileManager.default
        try files.createSymbolicLink(
            atPath: scratch.path + "/sys/devices/platform/applesmc.768/hwmon/hwmon2/device",
            withDestinationPath: "../..")
        try files.createDirectory(
            atPath: scratch.path + "/sys/class/hwmon", withIntermediateDirectories: true)
        try files.createSymbolicLink(
            atPath: scratch.path + "/sys/class/hwmon/hwmon2",
            withDestinationPath: "../../devices/platform/applesmc.768/hwmon/hwmon2")
        let chip = try #require(SensorTree(files: scratch.files).chips().first)
        #expect(chip.name == "applesmc")
        #expect(chip.device == "devices/platform/applesmc.768")
        #expect(
            chip.channels == [
                HwmonChip.Channel(
                    number: 1, label: "TC0P",
                    inputPath: "/sys/class/hwmon/hwmon2/device/temp1_input")
            ])
    }

    @Test func theIndexIsNoPartOfTheIdentity() throws {
        let scratch = try Scratch()
        try scratch.file("devices/virtual/thermal/thermal_zone0/hwmon3/name", "cpu_thermal\n")
        try scratch.file("devices/virtual/thermal/thermal_zone0/hwmon3/temp1_input", "1\n")
        try FileManager.default.createDirectory(
            atPath: scratch.path + "/sys/class/hwmon", withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path + "/sys/class/hwmon/hwmon3",
            withDestinationPath: "../../devices/virtual/thermal/thermal_zone0/hwmon3")
        let chip = try #require(SensorTree(files: scratch.files).chips().first)
        #expect(chip.device == "devices/virtual/thermal/thermal_zone0")
    }

    @Test func channelsAreOrderedByNumberAndOtherFilesIgnored() throws {
        let scratch = try Scratch()
        for name in [
            "temp10_input", "temp2_input", "temp2_fault", "temp2_enable", "temp3_max",
            "tempX_input",
            "temp_input", "temp1234567_input", "in0_input", "temp4_label",
        ] { try scratch.file("class/hwmon/hwmon0/" + name, "1\n") }
        try scratch.file("class/hwmon/hwmonX/temp1_input", "1\n")
        let chips = SensorTree(files: scratch.files).chips()
        #expect(chips.count == 1)
        #expect(chips.first?.channels.map(\.number) == [2, 4, 10])
        #expect(chips.first?.channels.first?.faultPath == "/sys/class/hwmon/hwmon0/temp2_fault")
        #expect(chips.first?.channels[1].inputPath == nil)
    }

    @Test(
        arguments: [
            (100_000, 100_000), (0, nil), (-65_000, nil), (127_000, nil), (65_261_850, nil),
            (-273_150, nil), (150_000, 150_000),
        ] as [(Int64, Int64?)])
    func limitsThatAreNone(_ row: (raw: Int64, limit: Int64?)) {
        #expect(sensibleLimit(row.raw) == row.limit)
    }

    @Test func zonesWithTheirCriticalTrip() throws {
        let scratch = try Scratch()
        try scratch.file("class/thermal/thermal_zone12/type", "INT3400 Thermal\n")
        try scratch.file("class/thermal/thermal_zone12/temp", "20000\n")
        try scratch.file("class/thermal/thermal_zone12/mode", "disabled\n")
        try scratch.file("class/thermal/thermal_zone12/trip_point_0_type", "passive\n")
        try scratch.file("class/thermal/thermal_zone12/trip_point_0_temp", "90000\n")
        try scratch.file("class/thermal/thermal_zone12/trip_point_1_type", "critical\n")
        try scratch.file("class/thermal/thermal_zone12/trip_point_1_temp", "105000\n")
        let zone = try #require(SensorTree(files: scratch.files).zones().first)
        #expect(zone.type == "INT3400 Thermal")
        #expect(zone.critical == 105_000)
        #expect(zone.modePath == "/sys/class/thermal/thermal_zone12/mode")
    }

    @Test func coolingDevicesMayHaveNoStateOrOneBelowZero() throws {
        let scratch = try Scratch()
        try scratch.file("class/thermal/cooling_device1/type", "intel_powerclamp\n")
        try scratch.file("class/thermal/cooling_device1/cur_state", "-1\n")
        try scratch.file("class/thermal/cooling_device0/type", "TCC Offset\n")
        try scratch.file("class/thermal/cooling_device0/max_state", "63\n")
        let devices = SensorTree(files: scratch.files).coolingDevices()
        #expect(devices.map(\.type) == ["TCC Offset", "intel_powerclamp"])
        #expect(devices.map(\.currentState) == [nil, -1])
        #expect(devices.map(\.maxState) == [63, nil])
    }
}
