import Antibody
import Glibc
import Platform
import Protocol
import Settings
import StorageWatcher
import Synchronization
import TestSupport
import Testing

@Suite struct DiskHealthTests {
    /// `smartctl -j` of a disk, and what it means.
    @Test(
        arguments: [
            (0, #"{"smart_status":{"passed":true},"model_name":"M"}"#, .ok),
            (8, #"{"smart_status":{"passed":false}}"#, .critical),
            (8 | 64, #"{"smart_status":{"passed":false}}"#, .critical),
            (16, #"{"smart_status":{"passed":true}}"#, .warning),
            (32 | 64 | 128, #"{"smart_status":{"passed":true}}"#, .ok),
            // A virtual disk, a disk that sleeps, one that cannot be opened, and nonsense.
            (1, #"{"smartctl":{"messages":[{"string":"Unable to detect device type"}]}}"#, nil),
            (2, #"{"power_mode":"STANDBY"}"#, nil),
            (2, #"{"smart_status":{"passed":true}}"#, nil),
            (0, "", nil), (8, "not json", nil), (0, "[]", nil), (8, "{}", nil),
        ] as [(Int32, String, Severity?)])
    func smart(_ row: (code: Int32, text: String, severity: Severity?)) {
        let output = Subprocess.Output(exitCode: row.code, output: Array(row.text.utf8))
        #expect(Smart.judge("sda", output)?.severity == row.severity)
    }

    @Test("only disks are asked, and one that falls asleep stays as it was") func rounds() throws {
        let tree = try ScratchTree()
        for name in ["sda", "nvme0n1"] { tree.directory("sys/block/\(name)/device") }
        for name in ["loop0", "ram0", "dm-0", "md0", "vda"] { tree.directory("sys/block/" + name) }
        let asked = Mutex<[String]>([])
        let smart = Smart(program: "smartctl", files: HostFiles(root: HostRoot(tree.path))) {
            disk in
            let count = asked.withLock { asked in
                asked.append(disk)
                return asked.count
            }
            // The second round finds them asleep.
            let text = count <= 2 ? #"{"smart_status":{"passed":false}}"# : "{}"
            return Subprocess.Output(exitCode: count <= 2 ? 8 : 2, output: Array(text.utf8))
        }
        smart.askAll()
        #expect(asked.withLock { $0 } == ["/dev/nvme0n1", "/dev/sda"])
        let disks = ["sda", "md0", "nvme0n1"]
        #expect(smart.symptoms(disks).map(\.severity) == [.critical, .critical])
        smart.askAll()
        #expect(smart.symptoms(disks).map(\.resource) == ["nvme0n1", "sda"])
        #expect(smart.symptoms(["sda"]).map(\.resource) == ["sda"], "the other was pulled")
    }

    @Test(
        arguments: [
            (["array_state": "clean", "degraded": "0"], .ok),
            (["array_state": "active", "degraded": "1"], .critical),
            (["array_state": "clean", "degraded": "1", "sync_action": "recover"], .warning),
            (["array_state": "broken"], .emergency), (["array_state": "active"], .ok),
            (["array_state": "inactive", "degraded": "2"], nil), ([:], nil),
            (["array_state": "idle", "degraded": "0"], .ok),
        ] as [([String: String], Severity?)])
    func raid(_ row: (files: [String: String], severity: Severity?)) throws {
        let tree = try ScratchTree()
        tree.directory("sys/block/md0/md")
        tree.directory("sys/block/sda")
        for (name, text) in row.files {
            try Volume.run(
                "/bin/sh", ["-c", "echo \(text) > \(tree.path)/sys/block/md0/md/\(name)"])
        }
        let files = HostFiles(root: HostRoot(tree.path))
        let symptoms = Raid.symptoms(["sda", "md0"], files)
        #expect(symptoms.map(\.severity) == [row.severity])
        #expect(symptoms.allSatisfy { $0.resource == "md0" && $0.type == "storage_raid" })
    }

    @Test("what is not there any more is told apart from what does not say") func watched()
        async throws
    {
        let tree = try ScratchTree()
        for name in ["md0/md", "md1/md", "sda/device"] { tree.directory("sys/block/" + name) }
        let states = ["md0": "clear", "md1": "inactive"]
        for (name, state) in states {
            try Volume.run(
                "/bin/sh", ["-c", "echo \(state) > \(tree.path)/sys/block/\(name)/md/array_state"])
        }
        let table = Mounts.line(1, "8:1", "/data", "ext4") + Mounts.line(2, "8:2", "/old", "nfs4")
        let module = StorageModule(
            config: Config(), files: HostFiles(root: HostRoot(tree.path)),
            source: StorageScanner.Source(
                table: { .success(Array(table.utf8)) }, ask: { _ in .failed(reason: "EACCES") }),
            cleaner: Cleaner(root: HostRoot(), tools: CleaningTools(), stateDirectory: "/nowhere"))
        let watched = await module.sample(at: .later(0)).watched
        #expect(watched["storage_raid"] == ["md1"])
        #expect(watched["storage_smart"] == ["md0", "md1", "sda"])
        for type in ["storage", "storage_hung", "storage_readonly", "storage_forecast"] {
            #expect(watched[type] == ["/data", "/old"])
        }
        #expect(watched.count == 6)
    }

    @Test("while the list of mounts or of disks cannot be read, nothing is taken to be gone")
    func unreadable() async throws {
        let tree = try ScratchTree()
        let module = StorageModule(
            config: Config(), files: HostFiles(root: HostRoot(tree.path)),
            source: StorageScanner.Source(
                table: { .failure(FileFailure(.read, "/x", errno: EACCES)) }, ask: { _ in .hung }),
            cleaner: Cleaner(root: HostRoot(), tools: CleaningTools(), stateDirectory: "/nowhere"))
        #expect(await module.sample(at: .later(0)).watched.isEmpty)
    }

    @Test(
        arguments: [
            (
                "some avg10=1.64 avg60=0.54 avg300=0.71 total=29\nfull avg10=0.50 avg60=0 total=2\n",
                ["some_avg10": 1.64, "full_avg10": 0.5]
            ),
            ("", [:]), ("some avg10=x\nother avg10=1\n", [:]), ("some avg10=nan", [:]),
        ] as [(String, [String: Double])])
    func pressure(_ row: (text: String, values: [String: Double])) {
        let parsed = Pressure.parse(row.text)
        #expect(parsed.members.count == row.values.count)
        for (name, value) in row.values { #expect(parsed[name]?.double == value) }
    }
}
