import Antibody
import Foundation
import Glibc
import Platform
import Protocol
import Settings
import Synchronization
import ThermalSentinel

/// A directory that is gone with its last user.
final class TemporaryDirectory: Sendable {
    let path: String
    private let isOwn: Bool

    /// Directories in use. A worker's thread may hold the last reference when the process ends.
    private static let remaining: Mutex<Set<String>> = {
        atexit { TemporaryDirectory.removeRemaining() }
        return Mutex([])
    }()

    private static func removeRemaining() {
        for path in remaining.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
    }

    init() throws {
        isOwn = true
        path = FileManager.default.temporaryDirectory.path + "/skos-thermal-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        _ = Self.remaining.withLock { $0.insert(path) }
    }

    /// A directory that somebody else removes.
    init(borrowing path: String) {
        self.path = path
        isOwn = false
    }

    deinit {
        guard isOwn else { return }
        try? FileManager.default.removeItem(atPath: path)
        _ = Self.remaining.withLock { $0.remove(path) }
    }
}

/// A node's tree on disk, below a host root of its own.
struct NodeTree: Sendable {
    let directory: TemporaryDirectory
    var root: HostRoot { HostRoot(directory.path) }
    var files: HeldFiles { HeldFiles(base: HostFiles(root: root), directory: directory) }

    /// - `files`: paths below `/sys` and their content; a newline is added, as sysfs does.
    init(_ files: [String: String] = [:]) throws {
        directory = try TemporaryDirectory()
        try FileManager.default.createDirectory(
            atPath: directory.path + "/sys", withIntermediateDirectories: true)
        for (path, content) in files { try set(path, content + "\n") }
    }

    /// A tree in a directory of somebody else.
    init(in path: String) throws { directory = TemporaryDirectory(borrowing: path) }

    func real(_ path: String) -> String { directory.path + "/sys/" + path }

    func set(_ path: String, _ content: String) throws { try set(path, Data(content.utf8)) }

    func set(_ path: String, _ content: Data) throws {
        let real = real(path)
        try FileManager.default.createDirectory(
            atPath: (real as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try content.write(to: URL(fileURLWithPath: real))
    }

    func link(_ path: String, to destination: String) throws {
        let real = real(path)
        try FileManager.default.createDirectory(
            atPath: (real as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: real, withDestinationPath: destination)
    }

    func get(_ path: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: real(path))), as: UTF8.self)
    }

    func remove(_ path: String) throws { try FileManager.default.removeItem(atPath: real(path)) }

    func fifo(_ path: String) throws {
        try set(path, "")
        try remove(path)
        guard mkfifo(real(path), 0o644) == 0 else { throw CocoaError(.fileWriteUnknown) }
    }
}

/// The files of a tree, which stays as long as they are used.
struct HeldFiles: FileAccess {
    let base: HostFiles
    let directory: TemporaryDirectory

    func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        try base.read(path, limit: limit)
    }
    func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure) { try base.write(path, bytes) }
    func checkWritable(_ path: String) throws(FileFailure) { try base.checkWritable(path) }
    func names(in directory: String) throws(FileFailure) -> [String] {
        try base.names(in: directory)
    }
    func resolve(_ path: String) -> String? { base.resolve(path) }
}

/// The node's files with a driver in between that misbehaves. Paths are the node's, such as
/// `/sys/class/hwmon/hwmon0/temp1_input`.
final class DriverFiles: FileAccess {
    struct Faults: Sendable {
        /// What reading gives instead.
        var reads: [String: Int32] = [:]
        /// What writing gives instead.
        var writes: [String: Int32] = [:]
        /// How many of the next reads and writes of a path fail with EAGAIN, then EBUSY is over.
        var busy: [String: Int] = [:]
        /// What a driver makes of a number that is written.
        var clamps: [String: @Sendable (Int64) -> Int64] = [:]
        /// How many reads after a write still give the old value: the driver works in the background.
        var lag = 0
        /// Called before each write.
        var beforeWrite: (@Sendable (String) -> Void)?
        /// A limit of somebody else on the same thing: what is read is the lower of both.
        var ceilings: [String: Int64] = [:]
    }

    let base: any FileAccess
    let faults: Mutex<Faults>
    /// Old content that the next reads of a path give, and how often.
    private let stale = Mutex<[String: (content: [UInt8], reads: Int)]>([:])
    /// All that was written, in order.
    let log = Mutex<[String]>([])

    init(_ base: any FileAccess, _ faults: Faults = Faults()) {
        self.base = base
        self.faults = Mutex(faults)
    }

    private func isBusy(_ path: String) -> Bool {
        faults.withLock { faults in
            guard let left = faults.busy[path], left > 0 else { return false }
            faults.busy[path] = left - 1
            return true
        }
    }

    func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        if let code = faults.withLock({ $0.reads[path] }) {
            throw FileFailure(.read, path, errno: code)
        }
        if isBusy(path) { throw FileFailure(.read, path, errno: EAGAIN) }
        let old: [UInt8]? = stale.withLock { stale in
            guard let entry = stale[path], entry.reads > 0 else { return nil }
            stale[path] = (entry.content, entry.reads - 1)
            return entry.content
        }
        if let old { return old }
        let bytes = try base.read(path, limit: limit)
        guard let ceiling = faults.withLock({ $0.ceilings[path] }),
            let value = Int64(sysfs: bytes), value > ceiling
        else { return bytes }
        return Array("\(ceiling)\n".utf8)
    }

    func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure) {
        faults.withLock { $0.beforeWrite }?(path)
        if let code = faults.withLock({ $0.writes[path] }) {
            throw FileFailure(.write, path, errno: code)
        }
        if isBusy(path) { throw FileFailure(.write, path, errno: EBUSY) }
        let lag = faults.withLock { $0.lag }
        if lag > 0, let old = try? read(path, limit: 4096) {
            stale.withLock { $0[path] = (old, lag) }
        }
        log.withLock { $0.append(path + "=" + String(decoding: bytes, as: UTF8.self)) }
        if let clamp = faults.withLock({ $0.clamps[path] }), let value = Int64(sysfs: bytes) {
            return try base.write(path, Array("\(clamp(value))\n".utf8))
        }
        try base.write(path, bytes)
    }

    func checkWritable(_ path: String) throws(FileFailure) {
        if let code = faults.withLock({ $0.writes[path] }) {
            throw FileFailure(.write, path, errno: code)
        }
        try base.checkWritable(path)
    }

    func names(in directory: String) throws(FileFailure) -> [String] {
        try base.names(in: directory)
    }

    func resolve(_ path: String) -> String? { base.resolve(path) }
}

/// Files whose reads of some paths do not come back until they are let go.
final class HangingFiles: FileAccess {
    let base: any FileAccess
    let paths: Set<String>
    private let gate = DispatchSemaphore(value: 0)
    private let waiting = Atomic(0)
    private let isOpen = Atomic(false)

    init(_ base: any FileAccess, hangingAt paths: Set<String>) {
        self.base = base
        self.paths = paths
    }

    var waitingCount: Int { waiting.load(ordering: .sequentiallyConsistent) }

    /// Lets those go that wait now; the next ones hang again.
    func letGo() { for _ in 0..<waitingCount { gate.signal() } }

    /// Lets all go for ever, and waits until they are gone.
    func open(_ isDone: () -> Bool) async throws {
        isOpen.store(true, ordering: .sequentiallyConsistent)
        while !isDone() || waitingCount > 0 {
            gate.signal()
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        if paths.contains(path), !isOpen.load(ordering: .sequentiallyConsistent) {
            waiting.add(1, ordering: .sequentiallyConsistent)
            gate.wait()
            waiting.subtract(1, ordering: .sequentiallyConsistent)
        }
        return try base.read(path, limit: limit)
    }

    func write(_ path: String, _ bytes: [UInt8]) throws(FileFailure) { try base.write(path, bytes) }
    func checkWritable(_ path: String) throws(FileFailure) { try base.checkWritable(path) }
    func names(in directory: String) throws(FileFailure) -> [String] {
        try base.names(in: directory)
    }
    func resolve(_ path: String) -> String? { base.resolve(path) }
}

/// The time of the nth sample at an interval of five seconds.
func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: 1_700_000_000 + seconds) }

extension Sample {
    func symptom(_ resource: String) -> Symptom? { symptoms.first { $0.resource == resource } }

    /// The state of each listed sensor by its id.
    var states: [String: String] {
        var states: [String: String] = [:]
        for entry in metadata["sensors"]?.array ?? [] {
            guard let id = entry.object?["id"]?.string else { continue }
            states[id] = entry.object?["state"]?.string
        }
        return states
    }
}
