import Antibody
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import Testing
import ThermalSentinel

/// The module as the rest of the agent sees it.
@Suite struct ThermalModuleTests {
    static let first = "class/hwmon/hwmon0/temp1_input"
    static let second = "class/hwmon/hwmon1/temp1_input"

    private func tree() throws -> NodeTree {
        try NodeTree([
            "class/hwmon/hwmon0/name": "coretemp", Self.first: "60000",
            "class/hwmon/hwmon0/temp1_label": "Package id 0",
            "class/hwmon/hwmon1/name": "coretemp", Self.second: "55000",
            "class/hwmon/hwmon1/temp1_label": "Package id 1",
        ])
    }

    @Test func anAlertLooksLikeTheSeeds() async throws {
        let tree = try tree()
        let module = ThermalModule(hostRoot: tree.root, config: Config())
        try tree.set(Self.first, "87500\n")
        _ = await module.sample(at: at(0))
        let sample = await module.sample(at: at(5))
        let symptom = try #require(sample.symptom("cpu"))
        #expect(symptom.type == "thermal")
        #expect(symptom.severity == .critical)
        #expect(symptom.message == "CPU temperature 87.5°C exceeds critical threshold")
        #expect(symptom.value == 87.5)
        #expect(symptom.unit == "celsius")
        #expect(symptom.threshold == 85)
        #expect(
            symptom.details == [
                "sensor": "cpu", "temperature": 87.5, "threshold": 85, "chip": "coretemp",
                "sensor_id": "coretemp/hwmon/temp1", "label": "Package id 0",
            ])
        #expect(sample.heartbeat == ["cpu_temp": 87.5])
        #expect(sample.symptom("gpu") == nil, "absent hardware is no symptom")
    }

    @Test func fromHotToCoolAndBack() async throws {
        let tree = try tree()
        let module = ThermalModule(files: tree.files, config: Config())
        let course: [(String, Severity?)] = [
            ("60000", nil), ("60000", .ok), ("88000", .ok), ("88000", .critical),
            ("60000", .critical), ("60000", .ok),
        ]
        for (index, (value, severity)) in course.enumerated() {
            try tree.set(Self.first, value + "\n")
            let sample = await module.sample(at: at(Int64(index) * 5))
            #expect(sample.symptom("cpu")?.severity == severity, "sample \(index)")
        }
    }

    @Test func anEditedThresholdCountsForTheNextSample() async throws {
        let tree = try tree()
        var config = Config()
        let module = ThermalModule(files: tree.files, config: config)
        try tree.set(Self.first, "72000\n")
        _ = await module.sample(at: at(0))
        #expect(await module.sample(at: at(5)).symptom("cpu")?.severity == .ok)
        config.thermal.thresholds = .init(warning: 65, critical: 70, emergency: 95)
        config.thermal.clear = .init(warning: 60, critical: 66, emergency: 90)
        module.apply(config)
        #expect(await module.sample(at: at(10)).symptom("cpu")?.severity == .critical)
    }

    @Test func aSensorThatFailsIsUnknownNotOk() async throws {
        let tree = try tree()
        try tree.remove("class/hwmon/hwmon1")
        let files = DriverFiles(tree.files)
        let module = ThermalModule(files: files, config: Config())
        try tree.set(Self.first, "88000\n")
        _ = await module.sample(at: at(0))
        #expect(await module.sample(at: at(5)).symptom("cpu")?.severity == .critical)
        files.faults.withLock { $0.reads["/sys/" + Self.first] = EIO }
        let sample = await module.sample(at: at(10))
        #expect(sample.symptom("cpu")?.severity == .some(nil))
        #expect(sample.symptom("cpu")?.value == nil)
        #expect(sample.heartbeat["cpu_temp"] == nil)
        #expect(sample.states == ["coretemp/hwmon/temp1": "unknown"])
    }

    @Test func aCoolNeighbourDoesNotVouchForAHotChipThatIsSilent() async throws {
        let tree = try tree()
        let files = DriverFiles(tree.files)
        let module = ThermalModule(files: files, config: Config())
        try tree.set(Self.first, "88000\n")
        _ = await module.sample(at: at(0))
        #expect(await module.sample(at: at(5)).symptom("cpu")?.severity == .critical)
        files.faults.withLock { $0.reads["/sys/" + Self.first] = EIO }
        for seconds in [10, 15] as [Int64] {
            let symptom = await module.sample(at: at(seconds)).symptom("cpu")
            #expect(symptom?.severity == .some(nil))
            #expect(symptom?.message.contains("coretemp/hwmon/temp1 was hot") == true)
        }
        // Unless the neighbour is as hot itself.
        try tree.set(Self.second, "90000\n")
        _ = await module.sample(at: at(20))
        #expect(await module.sample(at: at(25)).symptom("cpu")?.severity == .critical)
        // Back, and cool.
        files.faults.withLock { $0.reads = [:] }
        try tree.set(Self.first, "50000\n")
        try tree.set(Self.second, "50000\n")
        _ = await module.sample(at: at(30))
        #expect(await module.sample(at: at(35)).symptom("cpu")?.severity == .ok)
    }

    @Test func aChipThatWasCoolIsNotMissed() async throws {
        let tree = try tree()
        let files = DriverFiles(tree.files)
        let module = ThermalModule(files: files, config: Config())
        _ = await module.sample(at: at(0))
        files.faults.withLock { $0.reads["/sys/" + Self.first] = EIO }
        #expect(await module.sample(at: at(5)).symptom("cpu")?.severity == .ok)
    }

    @Test func impossibleValuesAreDroppedAndCounted() async throws {
        let tree = try tree()
        try tree.set(Self.first, "3900000000\n")
        let module = ThermalModule(files: tree.files, config: Config())
        let one = await module.sample(at: at(0))
        #expect(one.heartbeat["cpu_temp"] == 55)
        #expect(one.metadata["values_dropped"] == 1)
        #expect(await module.sample(at: at(5)).metadata["values_dropped"] == 2)
    }

    @Test func aHundredSensorsAreCutToTheImportantOnes() async throws {
        let tree = try NodeTree(["class/hwmon/hwmon0/name": "nct6793"])
        for channel in 1...120 {
            try tree.set("class/hwmon/hwmon0/temp\(channel)_input", "40000\n")
            // Every character of these takes six bytes in JSON.
            let label = String(repeating: "\u{1}", count: channel.isMultiple(of: 2) ? 64 : 1)
            try tree.set("class/hwmon/hwmon0/temp\(channel)_label", "x\(label)x\n")
        }
        try tree.set("class/hwmon/hwmon1/name", "coretemp\n")
        try tree.set("class/hwmon/hwmon1/temp1_input", "50000\n")
        let sample = await ThermalModule(files: tree.files, config: Config()).sample(at: at(0))
        let listed = try #require(sample.metadata["sensors"]?.array)
        #expect(listed.first?.object?["class"] == "cpu")
        #expect(listed.count < ThermalReport.maxListed)
        #expect(sample.metadata["sensors_omitted"]?.integer == Int64(121 - listed.count))
    }

    @Test func aNodeWithNothingSaysNothing() async throws {
        let module = ThermalModule(files: try NodeTree().files, config: Config())
        let sample = await module.sample(at: at(0))
        #expect(sample.heartbeat.isEmpty)
        #expect(sample.symptoms.isEmpty)
        #expect(module.verbs().isEmpty)
        #expect(module.knobs().isEmpty)
    }

    @Test func everyThrottleIsOfferedAndTheUsualOnesAreListed() throws {
        let node = try ThrottledNode()
        let module = ThermalModule(files: node.files, config: Config())
        #expect(module.verbs().map(\.name) == (1...90).map { "throttle_\($0)" })
        let listed = module.verbs().filter(\.isListed)
        #expect(listed.map(\.name) == ["throttle_10", "throttle_50"])
        #expect(module.verbs().allSatisfy { $0.isReversible && $0.family == "throttle" })
        #expect(module.verbs().allSatisfy { $0.isRepeatable })
    }

    @Test func knobsAreShownWithTheirRealPathAndPermission() throws {
        let node = try ThrottledNode()
        let module = ThermalModule(
            files: node.files, root: HostRoot("/host"), config: Config())
        node.files.faults.withLock { $0.writes[ThrottledNode.knob2] = EROFS }
        let knobs = module.knobs()
        #expect(
            knobs.map(\.path) == [
                "/host" + ThrottledNode.knob0, "/host" + ThrottledNode.knob2,
            ])
        #expect(knobs.map(\.value) == ["4000000", "2900000"])
        #expect(knobs[0].obstacle == nil)
        #expect(knobs[1].obstacle?.contains("EROFS") == true)
    }

    @Test func libsensorsIsAskedOnlyWhereTheTreeIsEmpty() async throws {
        let calls = Mutex(0)
        let fallback = FallbackSensors {
            calls.withLock { $0 += 1 }
            return [
                LibSensors.Temperature(
                    chip: "coretemp-isa-0000", prefix: "coretemp", channel: 1,
                    label: "Package id 0", celsius: .success(66.5), isFaulty: false),
                LibSensors.Temperature(
                    chip: "coretemp-isa-0000", prefix: "coretemp", channel: 2, label: "Core 0",
                    celsius: .failure(.init(code: -10)), isFaulty: false),
                LibSensors.Temperature(
                    chip: "coretemp-isa-0001", prefix: "coretemp", channel: 1,
                    label: "Package id 1", celsius: .success(90), isFaulty: true),
            ]
        }
        let tree = try NodeTree()
        let module = ThermalModule(files: tree.files, config: Config(), extra: [fallback])
        let sample = await module.sample(at: at(0))
        #expect(sample.heartbeat["cpu_temp"] == 66.5)
        #expect(sample.states.values.sorted() == ["ok", "unknown", "unknown"])

        let full = ThermalModule(files: try self.tree().files, config: Config(), extra: [fallback])
        #expect(await full.sample(at: at(0)).heartbeat["cpu_temp"] == 60)
        #expect(calls.withLock { $0 } == 1)
    }
}
