import Foundation
import Glibc
import Protocol
import TestSupport

@testable import Operator

/// One `skos up` on ports and in a directory of its own, on a made-up machine: one temperature, one knob.
final class Node: Sendable {
    static let sensor = "root/sys/class/hwmon/hwmon0/temp1_input"
    static let knob = "root/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq"

    let directory: TemporaryDirectory
    let port: UInt16
    let environment: [String: String]
    let up: Running

    /// Starts it and waits until it says that it is up.
    static func start(
        _ natsServer: String, config: String = "", flags: [String] = []
    ) async throws -> Node {
        let node = try Node(natsServer, config, flags)
        let isUp = await eventually {
            node.up.err.contains("SKOS is up") || node.up.hasEnded
                // Said after a quarter of a minute, which a busy machine may need; then there is no more word.
                || node.up.err.contains("has not heard an agent of this node yet")
        }
        guard isUp, !node.up.hasEnded else {
            throw Failure(.failed, "skos up does not start:\n\(node.up.err)")
        }
        return node
    }

    private init(_ natsServer: String, _ config: String, _ flags: [String]) throws {
        directory = try TemporaryDirectory()
        port = try NATSServer.freePort()
        try Self.makeMachine(in: directory)
        let file = try directory.write(config + "\nmonitor_interval: 100ms\n", to: "config.yaml")
        environment = [
            "NATS_URL": "nats://127.0.0.1:\(port)", "NODE_NAME": "nova", "SKOS_CONFIG": file,
            "SKOS_STATE_DIR": directory.path + "/state",
            "SKOS_HOST_ROOT": directory.path + "/root", "SKOS_NATS_SERVER": natsServer,
            "SKOS_MONITORING_PORT": "0",
        ]
        up = try Running(["up"] + flags, environment: environment)
    }

    private static func makeMachine(in directory: TemporaryDirectory) throws {
        let chip = "root/sys/class/hwmon/hwmon0"
        let policy = "root/sys/devices/system/cpu/cpufreq/policy0"
        for (path, text) in [
            ("\(chip)/name", "k10temp\n"), ("\(chip)/temp1_label", "Tctl\n"), (sensor, "60000\n"),
            (knob, "3000000\n"), ("\(policy)/cpuinfo_max_freq", "3000000\n"),
            ("\(policy)/cpuinfo_min_freq", "800000\n"),
        ] {
            _ = try directory.write(text, to: path)
        }
    }

    /// Runs a verb against it.
    func skos(_ words: String...) async throws -> Binary.Outcome {
        try await Binary.run(words, environment: environment)
    }

    /// Runs a verb for programs, and reads its answer.
    func ask(_ words: String...) async throws -> JSON.Object {
        let outcome = try await Binary.run(words + ["-o", "json"], environment: environment)
        return try JSON.parse(Array(outcome.out.utf8)).object ?? JSON.Object()
    }

    func heat(_ celsius: Int) throws {
        _ = try directory.write("\(celsius * 1000)\n", to: Self.sensor)
    }

    var knob: String { directory.read(Self.knob) }

    /// The process numbers of the programs that `skos up` has started.
    var children: [pid_t] { Self.children(of: up.processID) }

    static func children(of parent: pid_t) -> [pid_t] {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return entries.compactMap { pid_t($0) }.filter { process in
            let stat = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
            let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
            return fields.count > 1 && fields[1] == "\(parent)" && fields[0] != "Z"
        }
    }

    static func isRunning(_ process: pid_t) -> Bool {
        let stat = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
        return !stat.isEmpty && !stat.contains(") Z ")
    }

    /// Asks it to stop, and waits.
    func stop() async -> Binary.Outcome {
        up.signal(SIGTERM)
        return await up.end()
    }
}
