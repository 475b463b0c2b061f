import Foundation
import TestSupport
import Testing

/// The built program under test: `SKOS_BINARY`, or what this build made.
enum Program {
    static let path: String? = {
        let named = ProcessInfo.processInfo.environment["SKOS_BINARY"]
        return [named, ".build/release/skos", ".build/debug/skos"].compactMap { $0 }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }()
}

/// One node: a server, a host tree with a sensor and a knob, and the program's processes.
final class Node {
    let server: NATSServer
    let directory: URL
    private let hostRoot: String
    /// Seconds, for what is started from now on.
    var heartbeatTimeout = "30"
    private var processes: [Process] = []

    /// A node of the machine itself, with these settings.
    init(config: String, natsServer: String?) async throws {
        server = try await NATSServer.start(binary: natsServer)
        directory = Self.newDirectory()
        hostRoot = "/"
        try write("config.yaml", config)
    }

    /// A node with a sensor and a knob of its own.
    init(lease: String = "60s") async throws {
        server = try await NATSServer.start()
        directory = Self.newDirectory()
        hostRoot = directory.appendingPathComponent("host").path
        try writeHost("host")
        try write(
            "config.yaml",
            """
            thermal:
              thresholds: {warning: 65, critical: 85, emergency: 95}
              clear: {warning: 62, critical: 68, emergency: 90}
              stay_clear: 1s
              cooldown: 1s
              lease: \(lease)

            """)
    }

    /// A host with a sensor at 60 °C, and a processor whose frequency has a limit.
    private func writeHost(_ host: String) throws {
        try write("\(host)/sys/class/hwmon/hwmon0/name", "coretemp\n")
        try write("\(host)/sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n")
        try write("\(host)/sys/class/hwmon/hwmon0/temp1_input", "60000\n")
        try write("\(host)/\(Self.policy)/cpuinfo_max_freq", "3600000\n")
        try write("\(host)/\(Self.policy)/cpuinfo_min_freq", "800000\n")
        try write("\(host)/\(Self.policy)/scaling_max_freq", "3400000\n")
    }

    /// Starts `skos ARGUMENTS…` on another machine of the same name, with a host and a state of its own.
    func startTwin(_ arguments: String...) throws -> Process {
        try writeHost("twin")
        return try start(
            arguments,
            environment.merging([
                "SKOS_HOST_ROOT": directory.appendingPathComponent("twin").path,
                "SKOS_STATE_DIR": directory.appendingPathComponent("twin-state").path,
            ]) { $1 })
    }

    private static func newDirectory() -> URL {
        FileManager.default.temporaryDirectory
            .appendingPathComponent("skos-end-to-end-\(UUID().uuidString)")
    }

    deinit {
        for process in processes where process.isRunning {
            kill(process.processIdentifier, SIGKILL)
        }
        server.kill()
        try? FileManager.default.removeItem(at: directory)
    }

    private static let policy = "sys/devices/system/cpu/cpufreq/policy0"

    func write(_ path: String, _ text: String) throws {
        let url = directory.appendingPathComponent(path)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: url, atomically: false, encoding: .utf8)
    }

    func heat(_ celsius: Int) throws {
        try write("host/sys/class/hwmon/hwmon0/temp1_input", "\(celsius)000\n")
    }

    /// The knob's content, to the byte.
    var knob: String { knob(of: "host") }

    /// Sets the knob, as somebody does who knows nothing of SKOS.
    func turnKnob(_ text: String) throws {
        try write("host/\(Self.policy)/scaling_max_freq", text)
    }

    /// That of the other machine of the same name.
    var twinsKnob: String { knob(of: "twin") }

    private func knob(of host: String) -> String {
        let path = "\(host)/\(Self.policy)/scaling_max_freq"
        return
            (try? String(contentsOf: directory.appendingPathComponent(path), encoding: .utf8)) ?? ""
    }

    private var environment: [String: String] {
        [
            "PATH": "/usr/sbin:/usr/bin:/bin", "NATS_URL": server.url, "NODE_NAME": "nova",
            "SKOS_HOST_ROOT": hostRoot,
            "SKOS_STATE_DIR": directory.appendingPathComponent("state").path,
            "SKOS_CONFIG": directory.appendingPathComponent("config.yaml").path,
            "MONITOR_INTERVAL": "0.2", "HEARTBEAT_INTERVAL": "0.2",
            "HEARTBEAT_TIMEOUT": heartbeatTimeout,
        ]
    }

    /// Starts `skos ARGUMENTS…`, to be ended with the node.
    @discardableResult
    func start(_ arguments: String...) throws -> Process { try start(arguments, environment) }

    private func start(_ arguments: [String], _ environment: [String: String]) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(Program.path))
        process.arguments = arguments
        process.environment = environment
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        processes.append(process)
        return process
    }

    /// Runs `skos ARGUMENTS…` to its end.
    func run(_ arguments: String...) throws -> (code: Int32, output: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: try #require(Program.path))
        process.arguments = arguments
        process.environment = environment
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }

    /// The audit's records, oldest first.
    func audit() throws -> [[String: Any]] {
        let output = try run("audit", "export", "-").output
        return output.split(separator: "\n").compactMap { line in
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8))
            return (object as? [String: Any])?["record"] as? [String: Any]
        }
    }

    /// Waits until something holds; generous, for a busy machine.
    func wait(
        for what: String, location: SourceLocation = #_sourceLocation,
        _ condition: () throws -> Bool
    ) async throws {
        for _ in 0..<1800 {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("never happened: \(what)", sourceLocation: location)
        throw CancellationError()
    }
}
