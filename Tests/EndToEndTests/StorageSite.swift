import Foundation
import TestSupport
import Testing

/// A real file system that a node watches and may clean, and another one for its archives.
final class StorageSite {
    /// What is filled, and what it runs out of.
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var kind: Volume.Kind
        var isAboutInodes = false
        var fileBytes = 64 * 1024
        var natsServer: String?
        var testDescription: String { name }
    }

    let item: Case
    let volume: Volume
    let archives: Volume
    let node: Node
    private(set) var agent: Process?
    private var count = 0

    var point: String { volume.point }

    /// - `levels`: lines of settings with other thresholds than the defaults.
    /// - `ages`: least age of what may be deleted and archived.
    init(
        _ item: Case, levels: String = "for: 0s", ages: String = "0s", webhook: String = "",
        logs: Bool = true
    ) async throws {
        self.item = item
        volume = try Volume(item.kind)
        // It counts what was deleted as free only when it writes back, by default every 30 s.
        if case .btrfs = item.kind { try volume.remount("remount,commit=1") }
        archives = try Volume(.tmpfs(megabytes: 160))
        let point = volume.point
        for name in ["temp", "logs", "data", "kept"] { mkdir(point + "/" + name, 0o755) }
        node = try await Node(
            config: """
                storage:
                  mounts: {include: ["\(point)"]}
                  \(levels)
                  cooldown: 1s
                  stay_clear: 1s
                  verify: 5s
                local:
                  cleanup_temp: {roots: ["\(point)/temp"], min_age: \(ages)}
                  cleanup_logs: {roots: [\(logs ? "\"\(point)/logs\"" : "")], min_age: \(ages), \
                journal_max: 0}
                  archive_old_data: {roots: ["\(point)/data"], min_age: \(ages), \
                to: "\(archives.point)"}
                  alert_human: {url: "\(webhook)"}

                """, natsServer: item.natsServer)
    }

    /// Starts the coordinator and the agent, which may act before this process runs again.
    func launch() throws {
        try node.start("coordinator")
        try startAgent()
    }

    /// Starts the coordinator and the agent, and waits until they know each other.
    func start() async throws {
        try launch()
        try await node.wait(for: "a heartbeat") { try node.run("nodes").output.contains("online") }
    }

    func startAgent() throws { agent = try node.start("agent", "storage") }

    /// Ends the agent with signal 9, and waits until its locks are gone with it.
    func killAgent() throws {
        let agent = try #require(agent)
        kill(agent.processIdentifier, SIGKILL)
        agent.waitUntilExit()
    }

    /// Does something while the agent looks away, so that the next it sees is the result.
    func unseen<Value>(_ body: () throws -> Value) throws -> Value {
        let agent = try #require(agent)
        kill(agent.processIdentifier, SIGSTOP)
        defer { kill(agent.processIdentifier, SIGCONT) }
        return try body()
    }

    var used: Double { volume.used(ofInodes: item.isAboutInodes) }

    /// Writes files into a directory, at least one, until the file system is as full as said.
    func fill(_ directory: String, to percent: Double, suffix: String = "") throws {
        // What btrfs deleted just now still counts, and would leave too little to write.
        sync()
        repeat {
            count += 1
            let path = "\(point)/\(directory)/\(count)\(suffix)"
            try write(path)
            if case .btrfs = item.kind, count % 16 == 0 { sync() }
        } while used < percent
        sync()
    }

    /// A btrfs that is busy refuses writes although there is room: its trees have reserved more than they need,
    /// until the next commit.
    private func write(_ path: String) throws {
        for _ in 0..<100 {
            do { return try ScratchTree.write(path, bytes: item.fileBytes) } catch {
                guard case .btrfs = item.kind else { throw error }
                unlink(path)
                sync()
                usleep(100_000)
            }
        }
        try ScratchTree.write(path, bytes: item.fileBytes)
    }

    func sync() { try? Volume.run("/bin/sync", ["-f", point]) }

    /// Waits until so many incidents have been resolved.
    func waitResolved(_ number: Int, location: SourceLocation = #_sourceLocation) async throws {
        do {
            try await node.wait(for: "the end of incident \(number)", location: location) {
                try changes("resolved").count >= number
            }
        } catch {
            Issue.record("\(try story())", sourceLocation: location)
            throw error
        }
    }

    /// Waits until an action has ended so; the file system may be below its threshold long before.
    func wait(forOutcome outcome: String) async throws {
        try await node.wait(for: outcome) { try outcomes().contains(outcome) }
    }

    /// What has happened so far, for a test that waits in vain.
    func story() throws -> String {
        "\(used) % used\n" + (try node.run("explain", "nova").output)
    }

    // MARK: What the audit says

    private func records(_ kind: String, _ name: String, _ value: String) throws -> [[String: Any]]
    {
        try node.audit().filter { $0["kind"] as? String == kind && $0[name] as? String == value }
    }

    func changes(_ change: String) throws -> [[String: Any]] {
        try records("incident", "change", change)
    }

    /// The alerts that have opened an incident.
    func opened() throws -> [[String: Any]] {
        try records("alert", "effect", "opened").compactMap { $0["alert"] as? [String: Any] }
    }

    /// The actions that were commanded, in their order.
    func dispatched() throws -> [String] {
        try records("decision", "verdict", "dispatch").compactMap { $0["action"] as? String }
    }

    /// What became of the commands, such as `cleanup_temp succeeded`.
    func outcomes() throws -> [String] {
        try node.audit().filter { $0["kind"] as? String == "result" }.compactMap { record in
            let result = record["result"] as? [String: Any] ?? record
            guard result["status"] as? String == "done" else { return nil }
            return "\(result["action_type"] ?? "?") \(result["outcome"] ?? "?")"
        }
    }

    // MARK: What is in a tree

    /// Names, modes, owners, sizes, times and sums of all files below a directory.
    func manifest(_ directory: String) throws -> String {
        try shell(
            """
            cd '\(directory)' || exit 1
            find . -type f ! -name '.skos-archive-*' -exec stat -c '%n %f %u %g %s %.9Y' {} + | sort
            find . -type f ! -name '.skos-archive-*' -exec sha256sum {} + | sort -k 2
            """)
    }

    /// Unpacks all finished archives with the machine's own tar and zstd.
    func unpack(into directory: String) throws {
        _ = try shell(
            """
            mkdir -p '\(directory)' || exit 1
            for archive in '\(archives.point)'/*.tar.zst; do
                [ -e "$archive" ] || continue
                tar --force-local --use-compress-program=zstd -xpf "$archive" -C '\(directory)' || exit 1
            done
            """)
    }

    private func shell(_ script: String) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script]
        process.standardOutput = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self)
    }
}
