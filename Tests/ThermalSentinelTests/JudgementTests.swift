import Platform
import Protocol
import Testing

@testable import ThermalSentinel

/// Pure rules: what is plausible, what belongs to what, what is frozen.
@Suite struct JudgementTests {
    @Test(
        arguments: [
            (45_000, Reading.ok(celsius: 45)), (-10_000, .ok(celsius: -10)),
            (49_925, .ok(celsius: 49.925)), (1, .ok(celsius: 0.001)),
            (100_000, .ok(celsius: 100)), (125_000, .ok(celsius: 125)),
            (-274_000, .unknown(reason: "invalid (-274)")),
            (-273_150, .unknown(reason: "unset (0 K)")),
            (65_261_850, .unknown(reason: "unset (65535 K)")),
            (0, .implausible(reason: "stuck at 0")),
            (127_000, .implausible(reason: "stuck at 127000")),
            (128_000, .implausible(reason: "stuck at 128000")),
            (255_000, .implausible(reason: "stuck at 255000")),
            (511_000, .implausible(reason: "stuck at 511000")),
            (-40_000, .implausible(reason: "out of range: -40000")),
            (-44_000, .implausible(reason: "out of range: -44000")),
            (150_001, .implausible(reason: "out of range: 150001")),
            (220_000, .implausible(reason: "out of range: 220000")),
            (3_900_000_000, .implausible(reason: "out of range: 3900000000")),
            // A processor has switched itself off before.
            (125_001, .implausible(reason: "out of range: 125001")),
        ] as [(Int64, Reading)])
    func processorValues(_ row: (value: Int64, reading: Reading)) {
        #expect(Plausibility.judge(millidegrees: row.value, class: .cpu) == row.reading)
    }

    @Test func rangesDifferByClass() {
        #expect(Plausibility.judge(millidegrees: 140_000, class: .board) == .ok(celsius: 140))
        #expect(Plausibility.judge(millidegrees: 150_000, class: .other) == .ok(celsius: 150))
        #expect(Plausibility.judge(millidegrees: -39_999, class: .nic) == .ok(celsius: -39.999))
        #expect(Plausibility.judge(millidegrees: 111_000, class: .disk).celsius == nil)
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity, 1e308])
    func valuesThatAreNoNumbers(_ value: Double) {
        #expect(Plausibility.judge(celsius: value, class: .gpu).state == "implausible")
    }

    @Test(
        arguments: [
            ("coretemp", .cpu), ("k10temp", .cpu), ("zenpower", .cpu), ("cpu_thermal", .cpu),
            ("cpu-thermal", .cpu), ("cpu0-thermal", .cpu), ("cpu0_1_thermal", .cpu),
            ("bcm2835_thermal", .cpu), ("soc_thermal", .cpu), ("bigcore0-thermal", .cpu),
            ("littlecore_thermal", .cpu), ("scpi_sensors", .cpu), ("x86_pkg_temp", .cpu),
            ("TCPU", .cpu), ("B0D4", .cpu), ("amdgpu", .gpu), ("radeon", .gpu), ("nouveau", .gpu),
            ("i915", .gpu), ("xe", .gpu), ("gpu_thermal", .gpu), ("gpu-thermal", .gpu),
            ("nvme", .disk), ("drivetemp", .disk), ("jc42", .memory), ("spd5118", .memory),
            ("mlx5", .nic), ("bnxt_en", .nic), ("i350bb", .nic), ("iwlwifi_1", .nic),
            ("mt7996_phy0_0", .nic), ("nct6793", .board), ("it8728", .board), ("w83627hf", .board),
            ("f71882fg", .board), ("asus", .board), ("dell_smm", .board), ("thinkpad", .board),
            ("applesmc", .board), ("acpitz", .board), ("pch_skylake", .board), ("AC", .other),
            ("BAT0", .other), ("ucsi_source_psy_USBC000:001", .other), ("hidpp_battery_2", .other),
            ("pwmfan", .other), ("rpi_volt", .other), ("", .other), ("INT3400 Thermal", .other),
            ("npu_thermal", .other), ("center_thermal", .other),
        ] as [(String, SensorClass)])
    func classes(_ row: (name: String, sensorClass: SensorClass)) {
        #expect(SensorClassifier.classify(row.name) == row.sensorClass)
    }

    @Test(
        arguments: [
            ("coretemp", 1, "Package id 0", .preferred),
            ("coretemp", 1, "Physical id 0", .preferred),
            ("coretemp", 2, "Core 0", .part), ("k10temp", 2, "Tdie", .preferred),
            ("k10temp", 3, "Tccd1", .part), ("k10temp", 1, "Tctl", .shifted),
            ("k10temp", 1, nil, .shifted), ("zenpower", 1, "Tdie", .preferred),
            ("nvme", 1, "Composite", .preferred), ("nvme", 1, nil, .preferred),
            ("nvme", 2, "Sensor 1", .informative), ("nvme", 2, nil, .informative),
            ("thinkpad", 1, "CPU", .informative), ("amdgpu", 2, "junction", .preferred),
        ] as [(String, Int, String?, SensorRank)])
    func ranks(_ row: (chip: String, channel: Int, label: String?, rank: SensorRank)) {
        let rank = SensorClassifier.rank(chip: row.chip, channel: row.channel, label: row.label)
        #expect(rank == row.rank)
    }

    // MARK: Which sensor decides

    private func observation(
        _ chip: String, _ label: String?, _ celsius: Double?, device: String = "d",
        channel: Int = 1
    ) -> Observation {
        let sensor = Sensor(
            chip: HwmonChip(name: chip, path: "", device: device, channels: []),
            channel: HwmonChip.Channel(number: channel, label: label))
        let reading = celsius.map { Reading.ok(celsius: $0) } ?? .unknown(reason: "EIO")
        return Observation(sensor: sensor, reading: reading)
    }

    @Test func tdieIsPreferredToTctlWithItsOffset() {
        let all = [
            observation("k10temp", "Tctl", 87), observation("k10temp", "Tdie", 60, channel: 2),
            observation("k10temp", "Tccd1", 62, channel: 3),
        ]
        #expect(ThermalReport.hottest(.cpu, in: all)?.trusted == 60)
        #expect(ThermalReport.hottest(.cpu, in: [all[0], all[2]])?.trusted == 62)
        #expect(ThermalReport.hottest(.cpu, in: [all[0]])?.trusted == 87)
    }

    @Test func aPackageThatFailsIsReplacedByItsCores() {
        let all = [
            observation("coretemp", "Package id 0", nil),
            observation("coretemp", "Core 0", 70, channel: 2),
            observation("coretemp", "Core 1", 75, channel: 3),
        ]
        #expect(ThermalReport.hottest(.cpu, in: all)?.trusted == 75)
    }

    @Test func eachChipCountsByItsOwnBest() {
        let all = [
            observation("coretemp", "Package id 0", 50, device: "a"),
            observation("coretemp", "Core 0", 99, device: "a", channel: 2),
            observation("coretemp", "Core 0", 60, device: "b", channel: 2),
        ]
        #expect(ThermalReport.hottest(.cpu, in: all)?.trusted == 60)
    }

    // MARK: Frozen values

    /// Six samples an hour short of the limit, at `celsius` each, and what is frozen at the end.
    private func isFrozen(
        _ courses: [(Observation, moves: Bool)], hours: Int
    ) -> [Bool] {
        var frozen = FrozenDetector()
        var last: [Observation] = []
        for sample in 0...(hours * 60) {
            let now = courses.map { course -> Observation in
                var observation = course.0
                if course.moves, let celsius = observation.reading.celsius {
                    observation.reading = .ok(celsius: celsius + Double(sample % 2))
                }
                return observation
            }
            last = frozen.mark(now, at: at(Int64(sample) * 60))
        }
        return last.map(\.isFrozen)
    }

    @Test func aFirmwaresConstantIsFrozenAfterHours() {
        let constant = observation("acpitz", nil, 27.8)
        #expect(isFrozen([(constant, moves: false)], hours: 1) == [false])
        #expect(isFrozen([(constant, moves: false)], hours: 2) == [true])
        #expect(isFrozen([(constant, moves: true)], hours: 3) == [false])
    }

    @Test func aProcessorHeldAtItsLimitIsNotFrozen() {
        let package = observation("coretemp", "Package id 0", 100)
        #expect(isFrozen([(package, moves: false)], hours: 5) == [false])
    }

    @Test func aProcessorThatStandsStillWhileAnotherMovesIsFrozen() {
        let one = observation("coretemp", "Package id 0", 40, device: "a")
        let other = observation("coretemp", "Package id 1", 60, device: "b")
        #expect(isFrozen([(one, moves: false), (other, moves: true)], hours: 3) == [true, false])
        let disk = observation("nvme", "Composite", 35, device: "n")
        let second = observation("nvme", "Composite", 36, device: "m")
        #expect(
            isFrozen([(disk, moves: false), (second, moves: true)], hours: 3) == [false, false])
    }

    @Test func aFrozenSensorDoesNotDecide() {
        var one = observation("coretemp", "Package id 0", 99, device: "a")
        one.isFrozen = true
        let other = observation("coretemp", "Package id 1", 60, device: "b")
        #expect(ThermalReport.hottest(.cpu, in: [one, other])?.trusted == 60)
    }

    // MARK: Text

    @Test(arguments: [
        (87.5, "87.5"), (60, "60.0"), (-0.04, "0.0"), (-12.34, "-12.3"), (99.96, "100.0"),
    ])
    func numbersHaveOneDecimal(_ row: (value: Double, text: String)) {
        #expect(oneDecimal(row.value) == row.text)
    }
}
