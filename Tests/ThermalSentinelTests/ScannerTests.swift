import Antibody
import Dispatch
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import Testing
import ThermalSentinel

@Suite struct ScannerTests {
    static let package = "class/hwmon/hwmon0/temp1_input"

    static let cpu = [
        "class/hwmon/hwmon0/name": "coretemp",
        package: "60000",
        "class/hwmon/hwmon0/temp1_label": "Package id 0",
    ]

    private func scanner(_ files: any FileAccess) -> SensorScanner {
        SensorScanner(files: files, readLimit: .seconds(60))
    }

    private func readings(_ scanner: SensorScanner, _ seconds: Int64) async -> [String: Reading] {
        var readings: [String: Reading] = [:]
        for observation in await scanner.scan(at: at(seconds)) {
            readings[observation.sensor.id] = observation.reading
        }
        return readings
    }

    @Test func aFIFOInPlaceOfAFileDoesNotHang() async throws {
        let tree = try NodeTree(Self.cpu)
        try tree.fifo("class/hwmon/hwmon0/temp2_input")
        try tree.fifo("class/hwmon/hwmon0/temp2_label")
        let scanner = scanner(tree.files)
        let readings = await readings(scanner, 0)
        #expect(readings["coretemp/hwmon/temp1"] == .ok(celsius: 60))
        #expect(readings["coretemp/hwmon/temp2"] == .unknown(reason: "not a file"))
        #expect(scanner.hungCount == 0)
    }

    @Test func directoriesAndDanglingLinksAreNoSensors() async throws {
        let tree = try NodeTree(Self.cpu)
        try tree.set("class/hwmon/hwmon0/temp2_input/file", "1")
        try tree.link("class/hwmon/hwmon0/temp3_input", to: "nowhere")
        let readings = await readings(scanner(tree.files), 0)
        #expect(readings["coretemp/hwmon/temp2"] == .unknown(reason: "not a file"))
        #expect(readings["coretemp/hwmon/temp3"] == .absent(reason: "ENOENT"))
        #expect(readings["coretemp/hwmon/temp1"] == .ok(celsius: 60))
    }

    @Test func aHangingSensorIsLeftAloneAndComesBack() async throws {
        var content = Self.cpu
        content["class/hwmon/hwmon0/temp2_input"] = "50000"
        content["class/hwmon/hwmon0/temp3_input"] = "40000"
        let tree = try NodeTree(content)
        let files = HangingFiles(
            tree.files, hangingAt: ["/sys/class/hwmon/hwmon0/temp2_input"])
        let scanner = scanner(files)

        for seconds in [0, 5, 10] as [Int64] {
            let readings = await readings(scanner, seconds)
            #expect(readings["coretemp/hwmon/temp1"] == .ok(celsius: 60))
            #expect(readings["coretemp/hwmon/temp2"] == .unknown(reason: "read hangs"))
            #expect(readings["coretemp/hwmon/temp3"] == .ok(celsius: 40))
            // It hangs once, not once a sample.
            #expect(scanner.hungCount == 1)
            #expect(files.waitingCount == 1)
        }

        files.letGo()
        while scanner.hungCount > 0 { try await Task.sleep(for: .milliseconds(1)) }
        // What it said in the end counts; read again it hangs again, so it was taken back.
        let late = await readings(scanner, 15)
        #expect(late["coretemp/hwmon/temp2"] == .ok(celsius: 50))
        _ = await readings(scanner, 20)
        #expect(files.waitingCount == 1)
        try await files.open { scanner.hungCount == 0 }
    }

    @Test func whenTooManyHangTheyAreUnknownAndTheOthersAreReadOn() async throws {
        var content = Self.cpu
        for channel in 2...9 { content["class/hwmon/hwmon0/temp\(channel)_input"] = "50000" }
        let tree = try NodeTree(content)
        let hanging = Set((2...9).map { "/sys/class/hwmon/hwmon0/temp\($0)_input" })
        let files = HangingFiles(tree.files, hangingAt: hanging)
        let scanner = SensorScanner(files: files, readLimit: .seconds(3))
        for (seconds, hung) in [(0, 3), (5, 4), (10, 4)] as [(Int64, Int)] {
            let readings = await readings(scanner, seconds)
            #expect(readings.count == 9)
            #expect(readings["coretemp/hwmon/temp1"] == .ok(celsius: 60))
            let hanging = readings.values.count { $0 == .unknown(reason: "read hangs") }
            let unread = readings.values.count { $0 == .unknown(reason: "too many others hang") }
            #expect(hanging == hung && unread == 8 - hung)
            #expect(files.waitingCount == hung)
        }
        try await files.open { scanner.hungCount == 0 }
    }

    @Test func aNewChipIsFoundWhenAnotherIsUnplugged() async throws {
        let tree = try NodeTree(Self.cpu)
        let scanner = scanner(tree.files)
        #expect(await readings(scanner, 0).count == 1)
        // The chip moves to another index, as after a driver was loaded anew.
        try tree.remove("class/hwmon/hwmon0")
        try tree.set("class/hwmon/hwmon7/name", "coretemp\n")
        try tree.set("class/hwmon/hwmon7/temp1_input", "61000\n")
        try tree.set("class/hwmon/hwmon7/temp1_label", "Package id 0\n")
        #expect(await readings(scanner, 5) == ["coretemp/hwmon/temp1": .absent(reason: "ENOENT")])
        #expect(await readings(scanner, 10) == ["coretemp/hwmon/temp1": .ok(celsius: 61)])
    }

    @Test func aSlotThatStaysEmptyDoesNotSearchForEver() async throws {
        let tree = try NodeTree(Self.cpu)
        let files = CountingFiles(
            DriverFiles(tree.files, .init(reads: ["/sys/" + Self.package: ENODEV])))
        let scanner = scanner(files)
        for second in 0..<20 as Range<Int64> { _ = await scanner.scan(at: at(second * 5)) }
        // Once at the start, once for the failure.
        #expect(files.listings(of: "/sys/class/hwmon") == 2)
    }

    @Test func theTreeIsSearchedAgainFromTimeToTime() async throws {
        let tree = try NodeTree(Self.cpu)
        let files = CountingFiles(tree.files)
        let scanner = scanner(files)
        for sample in 0...SensorScanner.searchEvery {
            _ = await scanner.scan(at: at(Int64(sample) * 5))
        }
        #expect(files.listings(of: "/sys/class/hwmon") == 2)
    }

    @Test func disksAreReadRarely() async throws {
        let tree = try NodeTree([
            "class/hwmon/hwmon0/name": "drivetemp", Self.package: "41000",
        ])
        let scanner = scanner(tree.files)
        let id = "drivetemp/hwmon/temp1"
        #expect(await readings(scanner, 0)[id] == .ok(celsius: 41))
        try tree.set(Self.package, "45000\n")
        #expect(await readings(scanner, 5)[id] == .ok(celsius: 41))
        #expect(await readings(scanner, 299)[id] == .ok(celsius: 41))
        #expect(await readings(scanner, 300)[id] == .ok(celsius: 45))
    }

    @Test(arguments: [(3, Reading.ok(celsius: 60)), (4, .unknown(reason: "EAGAIN"))])
    func aSensorThatIsNotReadyIsAskedThreeTimesMore(_ row: (times: Int, reading: Reading))
        async throws
    {
        let tree = try NodeTree(Self.cpu)
        let files = DriverFiles(tree.files, .init(busy: ["/sys/" + Self.package: row.times]))
        let scanner = SensorScanner(files: files, readLimit: .seconds(60))
        #expect(await readings(scanner, 0)["coretemp/hwmon/temp1"] == row.reading)
    }

    @Test(arguments: [
        (ENODATA, Reading.unknown(reason: "ENODATA")), (EINVAL, .unknown(reason: "EINVAL")),
        (EIO, .unknown(reason: "EIO")), (ETIMEDOUT, .unknown(reason: "ETIMEDOUT")),
        (EACCES, .unknown(reason: "EACCES")), (EPERM, .asleep), (ENXIO, .absent(reason: "ENXIO")),
        (ENODEV, .absent(reason: "ENODEV")), (ENOENT, .absent(reason: "ENOENT")),
    ])
    func errnosOfAGPU(_ row: (code: Int32, reading: Reading)) async throws {
        let tree = try NodeTree(["class/hwmon/hwmon0/name": "amdgpu", Self.package: "60000"])
        let files = DriverFiles(tree.files, .init(reads: ["/sys/" + Self.package: row.code]))
        #expect(await readings(scanner(files), 0)["amdgpu/hwmon/temp1"] == row.reading)
    }

    @Test func permissionDeniedMeansAsleepOnlyForAmdgpu() async throws {
        let tree = try NodeTree(Self.cpu)
        let files = DriverFiles(tree.files, .init(reads: ["/sys/" + Self.package: EPERM]))
        #expect(
            await readings(scanner(files), 0)["coretemp/hwmon/temp1"] == .unknown(reason: "EPERM"))
    }

    @Test func aSuspendedGPUIsNotWokenByReadingIt() async throws {
        let tree = try NodeTree([
            "class/drm/card0/device/hwmon/hwmon0/name": "amdgpu",
            "class/drm/card0/device/hwmon/hwmon0/temp1_input": "60000",
            "class/drm/card0/device/power/runtime_status": "suspended",
        ])
        try tree.link("class/hwmon/hwmon0", to: "../drm/card0/device/hwmon/hwmon0")
        try tree.link("class/drm/card0/device/hwmon/hwmon0/device", to: "../../")
        let files = CountingFiles(tree.files)
        let scanner = scanner(files)
        #expect(await readings(scanner, 0) == ["amdgpu/device/temp1": .asleep])
        #expect(files.reads(of: "/sys/class/hwmon/hwmon0/temp1_input") == 0)
        try tree.set("class/drm/card0/device/power/runtime_status", "active\n")
        #expect(await readings(scanner, 5) == ["amdgpu/device/temp1": .ok(celsius: 60)])
    }

    @Test(arguments: ["", "n/a", "60.5", "0x3C", "- 5", "99999999999999999999"])
    func contentThatIsNoNumberIsUnknown(_ content: String) async throws {
        let tree = try NodeTree(Self.cpu)
        try tree.set(Self.package, content)
        let reading = await readings(scanner(tree.files), 0)["coretemp/hwmon/temp1"]
        #expect(reading?.state == "unknown")
    }

    @Test func twoChipsWithoutDeviceKeepApart() async throws {
        let tree = try NodeTree([
            "class/hwmon/hwmon0/name": "jc42", "class/hwmon/hwmon0/temp1_input": "30000",
            "class/hwmon/hwmon1/name": "jc42", "class/hwmon/hwmon1/temp1_input": "31000",
        ])
        let readings = await readings(scanner(tree.files), 0)
        #expect(
            readings == [
                "jc42/hwmon/temp1": .ok(celsius: 30), "jc42/hwmon#1/temp1": .ok(celsius: 31),
            ])
    }
}

/// Counts what is asked of the files behind it.
final class CountingFiles: FileAccess {
    let base: any FileAccess
    private let counts = Mutex<[String: Int]>([:])

    init(_ base: any FileAccess) { self.base = base }

    func listings(of path: String) -> Int { counts.withLock { $0["list " + path] ?? 0 } }
    func reads(of path: String) -> Int { counts.withLock { $0["read " + path] ?? 0 } }

    func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        counts.withLock { $0["read " + path, default: 0] += 1 }
        return try base.read(path, limit: limit)
    }
    func names(in directory: String) throws(FileFailure) -> [String] {
        counts.withLock { $0["list " + directory, default: 0] += 1 }
        return try base.names(in: directory)
    }
    func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure) { try base.write(path, bytes) }
    func checkWritable(_ path: String) throws(FileFailure) { try base.checkWritable(path) }
    func resolve(_ path: String) -> String? { base.resolve(path) }
}
