import Foundation

extension Bench {
    /// A tree like a small server's: a CPU package with four cores, and a disk.
    private func sensorTree() throws -> String {
        let root = directory.appendingPathComponent("host")
        let files = [
            "sys/class/hwmon/hwmon0/name": "coretemp",
            "sys/class/hwmon/hwmon0/temp1_label": "Package id 0",
            "sys/class/hwmon/hwmon0/temp1_input": "52000",
            "sys/class/hwmon/hwmon0/temp2_label": "Core 0",
            "sys/class/hwmon/hwmon0/temp2_input": "50000",
            "sys/class/hwmon/hwmon0/temp3_label": "Core 1",
            "sys/class/hwmon/hwmon0/temp3_input": "51000",
            "sys/class/hwmon/hwmon1/name": "nvme",
            "sys/class/hwmon/hwmon1/temp1_label": "Composite",
            "sys/class/hwmon/hwmon1/temp1_input": "38850",
            "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
            "sys/class/thermal/thermal_zone0/temp": "52000",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "3600000",
            "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "3600000",
            "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_min_freq": "800000",
        ]
        for (path, content) in files {
            let url = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try "\(content)\n".write(to: url, atomically: false, encoding: .utf8)
        }
        return root.path
    }

    /// What the thermal agent costs its node at the defaults.
    func agent(seconds: Int) throws {
        try cost(
            of: ["thermal"], name: "thermal agent", host: try sensorTree(), seconds: seconds,
            memory: 13, time: 60)
    }

    /// What all four agents in one process cost this very node at the defaults; but they only report
    /// what they would do to it.
    func agents(seconds: Int) throws {
        // A copy, since the memory of a program that runs twice is counted by half.
        let copy = directory.appendingPathComponent("skos").path
        try FileManager.default.copyItem(atPath: skos, toPath: copy)
        let config = directory.appendingPathComponent("dry.yaml").path
        try "local: {dry_run: true}\n".write(toFile: config, atomically: true, encoding: .utf8)
        try cost(
            of: ["thermal", "storage", "mesh", "loop"], name: "four agents in one process",
            program: copy, config: config, host: "/", seconds: seconds, memory: 18, time: 150)
    }

    /// - `memory`: the line in MiB; `time`: the line in milliseconds of CPU a minute.
    private func cost(
        of kinds: [String], name: String, program: String? = nil, config: String = "",
        host: String, seconds: Int, memory: Double, time: Double
    ) throws {
        let server = try server()
        defer { server.stop() }
        let coordinator = try coordinator()
        defer { coordinator.stop() }
        let agent = try Child(
            program ?? skos, ["agent"] + kinds,
            environment: [
                "NATS_URL": url, "SKOS_HOST_ROOT": host, "NODE_NAME": "bench",
                "SKOS_STATE_DIR": directory.appendingPathComponent("agent").path,
                "SKOS_CONFIG": config,
            ], log: directory.appendingPathComponent("agent.log").path)
        defer { agent.stop() }
        sleep(6)
        let before = agent.cpuSeconds
        sleep(UInt32(seconds))
        let used = (agent.cpuSeconds - before) * 1000 * 60 / Double(seconds)
        let pss = agent.pss
        guard agent.process.isRunning else { throw Failure("the agent has ended") }
        add(
            Row(
                name: "\(name), memory (PSS)", floor: "–",
                skos: String(format: "%.1f MiB", pss), ratio: "–",
                line: String(format: "≤ %.0f MiB", memory), holds: pss <= memory))
        add(
            Row(
                name: "\(name), CPU a minute", floor: "–",
                skos: String(format: "%.0f ms", used), ratio: "–",
                line: String(format: "≤ %.0f ms", time), holds: used <= time))
    }

    /// `skos up` until the coordinator has heard a heartbeat.
    func startUp() throws {
        var times: [Double] = []
        for round in 0..<rounds {
            let state = directory.appendingPathComponent("up\(round)").path
            let start = Date()
            let child = try Child(
                skos, ["up"],
                environment: [
                    "NATS_URL": "nats://127.0.0.1:\(Bench.freePort())",
                    "SKOS_HOST_ROOT": try sensorTree(), "NODE_NAME": "bench",
                    "SKOS_STATE_DIR": state, "SKOS_NATS_MONITOR_PORT": "0", "SKOS_CONFIG": "",
                ], log: directory.appendingPathComponent("up.log").path)
            let log = directory.appendingPathComponent("up.log").path
            while Date().timeIntervalSince(start) < 10 {
                let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
                if text.contains("agent joined") { break }
                usleep(5000)
            }
            times.append(Date().timeIntervalSince(start))
            child.stop()
        }
        add(
            Row(
                name: "`skos up` to the first heartbeat heard", floor: "–",
                skos: String(format: "%.2f s", times.median), ratio: "–", line: "< 2 s",
                holds: times.median < 2))
    }
}
