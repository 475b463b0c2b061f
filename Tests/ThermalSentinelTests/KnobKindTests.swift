import Antibody
import Glibc
import Platform
import Protocol
import Synchronization
import Testing

@testable import ThermalSentinel

/// The mechanisms besides cpufreq, each on a tree of its own.
@Suite struct KnobKindTests {
    static let pstate = "devices/system/cpu/intel_pstate/"
    static let rapl = "class/powercap/intel-rapl:0/"

    // MARK: Processor

    @Test func cpufreqComesBeforeAllOthers() throws {
        let node = try ThrottledNode([
            Self.pstate + "max_perf_pct": "100", Self.rapl + "name": "package-0",
            Self.rapl + "constraint_0_power_limit_uw": "125000000",
        ])
        let kinds = KnobRecord.all(in: try node.plan(50).undo).map(\.kind)
        #expect(kinds == [.cpufreq, .cpufreq])
    }

    @Test func policiesMayBeFoundOnlyUnderTheirProcessor() throws {
        let tree = [
            "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "4000000",
            "devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq": "800000",
            "devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "4000000",
        ]
        let node = try ThrottledNode(only: tree)
        // Processors of one policy share its directory.
        try node.tree.link("devices/system/cpu/cpu1/cpufreq", to: "../cpu0/cpufreq")
        let paths = KnobRecord.all(in: try node.plan(50).undo).map(\.path)
        #expect(paths == ["/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"])
    }

    @Test func anUnusableMechanismGivesWayToTheNext() throws {
        let node = try ThrottledNode([
            Self.pstate + "max_perf_pct": "100", Self.pstate + "min_perf_pct": "20",
        ])
        node.files.faults.withLock {
            $0.writes = [ThrottledNode.knob0: EACCES, ThrottledNode.knob2: EACCES]
        }
        let plan = try node.plan(50)
        try node.execute(plan)
        #expect(try node.tree.get(Self.pstate + "max_perf_pct") == "50\n")
        try node.undo(plan)
        #expect(try node.tree.get(Self.pstate + "max_perf_pct") == "100\n")
    }

    @Test func pstateKeepsItsLeastPercentage() throws {
        let node = try ThrottledNode(only: [
            Self.pstate + "max_perf_pct": "90", Self.pstate + "min_perf_pct": "40",
            Self.pstate + "status": "active",
        ])
        let plan = try node.plan(80)
        try node.execute(plan)
        #expect(try node.tree.get(Self.pstate + "max_perf_pct") == "40\n")
        try node.undo(plan)
        #expect(try node.tree.get(Self.pstate + "max_perf_pct") == "90\n")
    }

    @Test func pstateThatIsOffIsNoKnob() throws {
        let node = try ThrottledNode(only: [
            Self.pstate + "max_perf_pct": "100", Self.pstate + "status": "off",
        ])
        let failure = node.failure { _ = try node.plan(50) }
        #expect(failure?.reason.contains("status is off") == true)
    }

    @Test func raplLowersBothLimitsOfWholePackages() throws {
        let node = try ThrottledNode(only: [
            Self.rapl + "name": "package-0", Self.rapl + "enabled": "1",
            Self.rapl + "constraint_0_power_limit_uw": "125000000",
            Self.rapl + "constraint_1_power_limit_uw": "251000001",
            // A part of the package, and memory: not ours.
            "class/powercap/intel-rapl:0:0/name": "core",
            "class/powercap/intel-rapl:0:0/constraint_0_power_limit_uw": "99000000",
            "class/powercap/intel-rapl:1/name": "psys",
            "class/powercap/intel-rapl:1/constraint_0_power_limit_uw": "99000000",
        ])
        let plan = try node.plan(50)
        try node.execute(plan)
        #expect(try node.tree.get(Self.rapl + "constraint_0_power_limit_uw") == "62500000\n")
        #expect(try node.tree.get(Self.rapl + "constraint_1_power_limit_uw") == "125500000\n")
        // The second action is relative to the original, not to what the first one left.
        let ninety = try node.plan(90, active: [plan])
        try node.execute(ninety)
        #expect(try node.tree.get(Self.rapl + "constraint_0_power_limit_uw") == "12500000\n")
        try node.undo(plan, remaining: [ninety])
        try node.undo(ninety)
        #expect(try node.tree.get(Self.rapl + "constraint_0_power_limit_uw") == "125000000\n")
        #expect(try node.tree.get(Self.rapl + "constraint_1_power_limit_uw") == "251000001\n")
        #expect(
            try node.tree.get("class/powercap/intel-rapl:1/constraint_0_power_limit_uw")
                == "99000000\n")
    }

    @Test func aDisabledDomainIsNoKnob() throws {
        let node = try ThrottledNode(only: [
            Self.rapl + "name": "package-0", Self.rapl + "enabled": "0",
            Self.rapl + "constraint_0_power_limit_uw": "125000000",
        ])
        let failure = node.failure { _ = try node.plan(50) }
        #expect(failure?.reason.contains("not enabled") == true)
    }

    @Test func aFirmwaresLockOnRaplIsAFailureThatSaysSo() throws {
        let node = try ThrottledNode(only: [
            Self.rapl + "name": "package-0",
            Self.rapl + "constraint_0_power_limit_uw": "125000000",
        ])
        let knob = "/sys/" + Self.rapl + "constraint_0_power_limit_uw"
        node.files.faults.withLock { $0.clamps[knob] = { _ in 125_000_000 } }
        let failure = node.failure { try node.execute(try node.plan(50)) }
        #expect(failure?.reason.contains("firmware lock") == true)
        #expect(failure?.isTransient == false)
    }

    @Test(arguments: [
        (old: "max 100000\n", new: "200000 100000\n"), (old: "max 50000\n", new: "100000 50000\n"),
        (old: "300000 100000\n", new: "200000 100000\n"),
    ])
    func controlGroupsGetHalfOfTheProcessors(_ texts: (old: String, new: String)) throws {
        let node = try cgroupNode(own: "/")
        try node.tree.set("fs/cgroup/system.slice/cpu.max", texts.old)
        let plan = try node.plan(50)
        try node.execute(plan)
        #expect(try node.tree.get("fs/cgroup/system.slice/cpu.max") == texts.new)
        #expect(try node.tree.get("fs/cgroup/user.slice/cpu.max") == "200000 100000\n")
        try node.undo(plan)
        #expect(try node.tree.get("fs/cgroup/system.slice/cpu.max") == texts.old)
        #expect(try node.tree.get("fs/cgroup/user.slice/cpu.max") == "max 100000\n")
    }

    @Test func aGroupThatHasLessKeepsIt() throws {
        let node = try cgroupNode(own: "/")
        try node.tree.set("fs/cgroup/system.slice/cpu.max", "50000 100000\n")
        let paths = KnobRecord.all(in: try node.plan(50).undo).map(\.path)
        #expect(paths == ["/sys/fs/cgroup/user.slice/cpu.max"])
    }

    @Test func ourOwnGroupIsLeftAlone() throws {
        let node = try cgroupNode(own: "/system.slice/skos.service")
        for unit in ["skos.service", "batch.service", "sshd.service", "systemd-udevd.service"] {
            try node.tree.set("fs/cgroup/system.slice/\(unit)/cpu.max", "max 100000\n")
        }
        let paths = KnobRecord.all(in: try node.plan(50).undo).map(\.path)
        #expect(
            paths == [
                "/sys/fs/cgroup/system.slice/batch.service/cpu.max",
                "/sys/fs/cgroup/user.slice/cpu.max",
            ])
    }

    @Test func withoutTheControllerThereIsNoKnob() throws {
        let node = try cgroupNode(own: "/")
        try node.tree.set("fs/cgroup/cgroup.controllers", "memory pids\n")
        #expect(!node.throttle.hasKnobs)
    }

    private func cgroupNode(own: String) throws -> ThrottledNode {
        let node = try ThrottledNode(only: [
            "fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
            "fs/cgroup/system.slice/cpu.max": "max 100000",
            "fs/cgroup/user.slice/cpu.max": "max 100000",
            "devices/system/cpu/online": "0-2,5",
        ])
        try node.tree.set("../proc/self/cgroup", "9:name=systemd:/x\n0::\(own)\n")
        return node
    }

    // MARK: Graphics

    @Test func anNvidiaLimitIsLoweredWithinItsRange() throws {
        let gpus = FakeGPUs(limit: 350_000, least: 100_000, most: 400_000)
        let node = try ThrottledNode(only: [:], nvidia: gpus)
        let plan = try node.plan(50)
        try node.execute(plan)
        #expect(gpus.limit == 175_000)
        try node.undo(plan)
        #expect(gpus.limit == 350_000)
        try node.execute(try node.plan(90))
        #expect(gpus.limit == 100_000)
    }

    @Test func withoutPermissionNvidiaIsExplained() throws {
        let gpus = FakeGPUs(limit: 350_000, least: 100_000, most: 400_000)
        let node = try ThrottledNode(only: [:], nvidia: gpus)
        let plan = try node.plan(50)
        gpus.refuse(NvidiaFailure(code: 4, message: "NVML: Insufficient Permissions (4)"))
        let failure = node.failure { try node.execute(plan) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("run the agent as root") == true)
    }

    @Test func aGPUThatIsGoneIsReportedMissing() throws {
        let gpus = FakeGPUs(limit: 350_000, least: 100_000, most: 400_000)
        let node = try ThrottledNode(only: [:], nvidia: gpus)
        let plan = try node.plan(50)
        try node.execute(plan)
        gpus.refuse(NvidiaFailure(message: "there is no GPU", isMissing: true))
        #expect(try node.undo(plan)["missing"] == 1)
    }

    @Test func aGPUWithoutRoomIsNoKnob() throws {
        let node = try ThrottledNode(
            only: [:], nvidia: FakeGPUs(limit: 50_000, least: 50_000, most: 50_000))
        #expect(!node.throttle.hasKnobs)
        #expect(node.throttle.describe().map(\.path) == ["nvidia:GPU-1"])
    }

    @Test func aLaptopsCardLeavesNoRoom() throws {
        let card = "class/hwmon/hwmon2/"
        let node = try ThrottledNode(only: [
            card + "name": "amdgpu", card + "power1_cap": "35000000",
            card + "power1_cap_min": "35000000", card + "power1_cap_max": "35000000",
        ])
        #expect(!node.throttle.hasKnobs)
        #expect(node.throttle.describe().first?.obstacle?.contains("leave no room") == true)
    }

    @Test func aFloorOfZeroIsNone() throws {
        let card = "class/hwmon/hwmon2/"
        let node = try ThrottledNode(only: [
            card + "name": "amdgpu", card + "power1_cap": "200000000",
            card + "power1_cap_min": "0", card + "power1_cap_max": "220000000",
            card + "power1_cap_default": "210000000",
        ])
        try node.execute(try node.plan(90))
        // A quarter of the default is 52.5 W; the next whole watt.
        #expect(try node.tree.get(card + "power1_cap") == "53000000\n")
    }

    @Test func oneOfTheTwoCanBeAskedFor() throws {
        let gpus = FakeGPUs(limit: 350_000, least: 100_000, most: 400_000)
        let node = try ThrottledNode([:], nvidia: gpus)
        let cpu = try node.plan(50, ["resource": "cpu"])
        #expect(KnobRecord.all(in: cpu.undo).map(\.kind) == [.cpufreq, .cpufreq])
        let gpu = try node.plan(50, ["resource": "gpu"])
        #expect(KnobRecord.all(in: gpu.undo).map(\.kind) == [.nvidia])
        #expect(KnobRecord.all(in: try node.plan(50).undo).count == 3)
        let failure = node.failure { _ = try node.plan(50, ["resource": "disk"]) }
        #expect(failure?.reason.contains("parameters.resource") == true)
    }

    @Test func withoutTheResourceTheFailureSaysWhatIsMissing() throws {
        let node = try ThrottledNode()
        let failure = node.failure { _ = try node.plan(50, ["resource": "gpu"]) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("no knob for gpu") == true)
    }

    // MARK: Numbers

    struct Target: Sendable {
        var percent: Int
        var full: Int64
        var floor: Int64 = 1
        var step: Int64 = 1
        var result: Int64
    }

    @Test(arguments: [
        Target(percent: 50, full: 4_000_000, floor: 800_000, result: 2_000_000),
        Target(percent: 10, full: 3_333_333, result: 2_999_999),
        Target(percent: 90, full: 4_000_000, floor: 800_000, result: 800_000),
        Target(percent: 50, full: 289_000_000, step: 1_000_000, result: 144_000_000),
        Target(
            percent: 90, full: 200_000_000, floor: 52_500_000, step: 1_000_000,
            result: 53_000_000),
        Target(percent: 50, full: .max - 100, result: 4_611_686_018_427_387_853),
    ])
    func targets(_ row: Target) {
        let knob = Knob(
            kind: .cpufreq, path: "/x", text: "1", value: 1, full: row.full, floor: row.floor,
            step: row.step)
        #expect(knob.target(percentLess: row.percent, original: 1) == row.result)
    }
}

/// One GPU with a power limit in memory; the arithmetic and the messages are what is tested here, the
/// library itself in NVMLTests.
final class FakeGPUs: NvidiaSource {
    private struct State {
        var limit: Int64
        var refusal: NvidiaFailure?
    }

    private let least: Int64
    private let most: Int64
    private let state: Mutex<State>

    init(limit: Int64, least: Int64, most: Int64) {
        self.least = least
        self.most = most
        state = Mutex(State(limit: limit))
    }

    var limit: Int64 { state.withLock { $0.limit } }

    func refuse(_ failure: NvidiaFailure) { state.withLock { $0.refusal = failure } }

    func temperatures() -> [NvidiaTemperature] { [] }

    func powerLimits() -> [NvidiaPowerLimit] {
        [NvidiaPowerLimit(uuid: "GPU-1", name: "GPU", limit: limit, least: least, most: most)]
    }

    func powerLimit(uuid: String) throws(NvidiaFailure) -> Int64 {
        if let refusal = state.withLock({ $0.refusal }), refusal.isMissing { throw refusal }
        return limit
    }

    func setPowerLimit(uuid: String, milliwatts: Int64) throws(NvidiaFailure) {
        if let refusal = state.withLock({ $0.refusal }) { throw refusal }
        guard (least...most).contains(milliwatts) else {
            throw NvidiaFailure(code: 2, message: "NVML: Invalid Argument (2)")
        }
        state.withLock { $0.limit = milliwatts }
    }
}
