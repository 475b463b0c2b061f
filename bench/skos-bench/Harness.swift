import CBench
import Foundation

/// A process of the benchmark, ended with it.
final class Child {
    let process = Process()
    private let output = Pipe()

    /// Starts a program; `log` takes what it prints, else it is dropped.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        log: String? = nil
    )
        throws
    {
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        if let log {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
            let handle = FileHandle(forWritingAtPath: log)
            process.standardError = handle
            process.standardOutput = handle
        } else {
            process.standardError = FileHandle.nullDevice
            process.standardOutput = output
        }
        try process.run()
    }

    /// Waits for a line on standard output.
    func waitForLine() -> String {
        var line = Data()
        while let byte = try? output.fileHandleForReading.read(upToCount: 1), !byte.isEmpty,
            byte.first != 0x0A
        { line.append(byte) }
        return String(decoding: line, as: UTF8.self)
    }

    func stop() {
        guard process.isRunning else { return }
        process.terminate()
        let deadline = Date().addingTimeInterval(5)
        while process.isRunning, Date() < deadline { usleep(10_000) }
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// User and system time used so far, in seconds.
    var cpuSeconds: Double {
        let text =
            (try? String(contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8))
            ?? ""
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
        else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Proportional set size in MiB.
    var pss: Double {
        let path = "/proc/\(process.processIdentifier)/smaps_rollup"
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") where line.hasPrefix("Pss:") {
            return (Double(line.split(separator: " ")[1]) ?? 0) / 1024
        }
        return 0
    }
}

/// One row of the table.
struct Row {
    var name: String
    var floor: String
    var skos: String
    var ratio: String
    var line: String
    var holds: Bool?
}

/// What every benchmark works in: a directory, a server, and SKOS' binary.
final class Bench {
    let directory: URL
    let skos: String
    let natsServer: String
    let port: Int
    let rounds: Int
    private(set) var rows: [Row] = []

    var url: String { "nats://127.0.0.1:\(port)" }

    init(skos: String, natsServer: String, rounds: Int) throws {
        self.skos = skos
        self.natsServer = natsServer
        self.rounds = rounds
        port = Bench.freePort()
        directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("skos-bench-\(getpid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func add(_ row: Row) {
        rows.append(row)
        print("\(row.name): floor \(row.floor), SKOS \(row.skos), ratio \(row.ratio)")
    }

    /// A server with an empty store.
    func server() throws -> Child {
        let store = directory.appendingPathComponent("store")
        try? FileManager.default.removeItem(at: store)
        let child = try Child(
            natsServer, ["-a", "127.0.0.1", "-p", "\(port)", "-js", "-sd", store.path],
            log: directory.appendingPathComponent("nats.log").path)
        for _ in 0..<500 where cbench_floor_streams(url) != 0 { usleep(10_000) }
        return child
    }

    /// A coordinator that has begun its term, or is about to.
    func coordinator(isAwaited: Bool = true) throws -> Child {
        let log = directory.appendingPathComponent("coordinator.log").path
        let child = try Child(
            skos, ["coordinator"],
            environment: [
                "NATS_URL": url, "SKOS_STATE_DIR": directory.path, "NODE_NAME": "bench",
                "SKOS_CONFIG": "",
            ], log: log)
        guard isAwaited else { return child }
        for _ in 0..<500 {
            let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            if text.contains("coordinator started") { break }
            usleep(10_000)
        }
        usleep(200_000)
        return child
    }

    /// The floor's coordinator: this program itself.
    func floor(pipelined: Bool) throws -> Child {
        let child = try Child(
            CommandLine.arguments[0], [pipelined ? "floor-pipelined" : "floor", url])
        guard child.waitForLine() == "ready" else { throw Failure("the floor did not start") }
        return child
    }

    func heal(_ space: String, _ prefix: String, count: Int, window: Int, answers: Bool) throws
        -> cbench_result
    {
        var result = cbench_result()
        guard cbench_heal(url, space, prefix, Int32(count), Int32(window), answers, &result) == 0
        else { throw Failure("\(space): only \(result.done) of \(count) alerts got a command") }
        return result
    }

    struct Failure: Error, CustomStringConvertible {
        var description: String
        init(_ description: String) { self.description = description }
    }

    static func freePort() -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, length)
                _ = getsockname(descriptor, $0, &length)
            }
        }
        return Int(address.sin_port.bigEndian)
    }
}

extension Array where Element == Double {
    var median: Double { isEmpty ? 0 : sorted()[count / 2] }
}
