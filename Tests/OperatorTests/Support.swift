import Foundation
import Glibc
import Synchronization
import TestSupport

@testable import Operator

/// Runs verbs in this process, with output that is kept.
struct Session {
    var program = Program(
        Parts(
            agentKinds: ["thermal"], coordinator: { _ in .done }, agents: { _ in .done },
            up: { _ in .done }, inspect: { _ in [Finding("sensor", .ok, "a sensor")] }))
    var environment: [String: String] = ["NATS_URL": "nats://127.0.0.1:1"]

    struct Outcome {
        var code: ExitCode
        var out: String
        var err: String
    }

    func run(_ words: [String]) async -> Outcome {
        let out = Output()
        let err = Output()
        let code = await program.run(words, environment: environment, out: out, err: err)
        return Outcome(code: code, out: out.text, err: err.text)
    }
}

/// A directory that goes with its owner.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/skos-operator-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw CocoaError(.fileWriteUnknown) }
        path = String(cString: made)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, to name: String) throws -> String {
        let file = path + "/" + name
        try FileManager.default.createDirectory(
            atPath: (file as NSString).deletingLastPathComponent,
            withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        return file
    }

    func read(_ name: String) -> String {
        (try? String(contentsOfFile: path + "/" + name, encoding: .utf8)) ?? ""
    }
}

/// The program itself, as it was built with these tests.
enum Binary {
    /// Beside the tests' own executable.
    static let path: String = {
        let beside = Bundle.allBundles.map(\.bundlePath) + CommandLine.arguments.prefix(1)
        let directories = beside.map { ($0 as NSString).deletingLastPathComponent }
        return directories.map { $0 + "/skos" }.first { access($0, X_OK) == 0 } ?? "skos"
    }()

    struct Outcome: Sendable {
        var code: Int32
        var out: String
        var err: String
    }

    /// Runs it to its end. Kills it after a minute, which only a test that has failed sees.
    static func run(
        _ words: [String], environment: [String: String] = [:], input: String? = nil
    ) async throws -> Outcome {
        let running = try Running(words, environment: environment, input: input)
        return await running.end()
    }
}

/// A running `skos`.
final class Running: Sendable {
    private struct State {
        var out: [UInt8] = []
        var err: [UInt8] = []
        var hasEnded = false
        /// Pipes that may still bring something.
        var pipes = 2
    }

    private let process = Mutex(Process())
    private let state = Mutex(State())
    let processID: pid_t

    init(_ words: [String], environment: [String: String] = [:], input: String? = nil) throws {
        let (out, err, feed) = (Pipe(), Pipe(), Pipe())
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Binary.path)
        process.arguments = words
        process.environment =
            ["PATH": "/usr/sbin:/usr/bin:/bin", "HOME": "/nonexistent", "USER": "tester"]
            .merging(environment) { $1 }
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardOutput = out
        process.standardError = err
        process.standardInput = input == nil ? FileHandle.nullDevice : feed
        try process.run()
        processID = process.processIdentifier
        self.process.withLock { $0 = process }
        if let input {
            feed.fileHandleForWriting.write(Data(input.utf8))
            try feed.fileHandleForWriting.close()
        }
        collect(out) { $0.out += $1 }
        collect(err) { $0.err += $1 }
    }

    deinit { if !state.withLock({ $0.hasEnded }) { kill(processID, SIGKILL) } }

    private func collect(
        _ pipe: Pipe, _ add: @escaping @Sendable (inout State, [UInt8]) -> Void
    ) {
        let handle = pipe.fileHandleForReading
        let thread = Thread { [weak self] in
            while let self {
                let data = handle.availableData
                self.state.withLock { state in
                    if data.isEmpty { state.pipes -= 1 } else { add(&state, Array(data)) }
                }
                if data.isEmpty { return }
            }
        }
        thread.start()
    }

    var out: String { state.withLock { String(decoding: $0.out, as: UTF8.self) } }
    var err: String { state.withLock { String(decoding: $0.err, as: UTF8.self) } }

    /// Whether it has ended by itself or by a signal.
    var hasEnded: Bool { process.withLock { !$0.isRunning } }

    func signal(_ number: Int32) { kill(processID, number) }

    /// Waits for its end.
    func end() async -> Binary.Outcome {
        if await !eventually({ self.hasEnded }) { kill(processID, SIGKILL) }
        _ = await eventually { self.hasEnded }
        state.withLock { $0.hasEnded = true }
        // What it printed last is still on its way through the pipes.
        _ = await eventually { self.state.withLock { $0.pipes == 0 } }
        let code = process.withLock { process in
            process.terminationReason == .uncaughtSignal
                ? 128 + process.terminationStatus : process.terminationStatus
        }
        return Binary.Outcome(code: code, out: out, err: err)
    }
}
