import Foundation
import Glibc
import Platform
import Testing
import ThermalSentinel

/// One machine of Tests/Fixtures/sensors: its tree as facts, and the reading that was argued from them.
struct FixtureMachine: Decodable, Sendable, CustomTestStringConvertible {
    struct Expectation: Decodable, Sendable {
        var cpuTemp: Double?
        var gpuTemp: Double?
        /// How many sensors are in each state.
        var states: [String: Int]
        /// The class of chips and zones by their name.
        var classes: [String: String]
        /// Each knob's path below /sys: what it says, and what `throttle_50` makes of it.
        var knobs: [String: [String]]
        var why: [String]
    }

    var machine: String
    var traps: [String]
    var files: [String: String]
    var links: [String: String]?
    /// The errno that reading a path gives.
    var errors: [String: String]?
    var expect: Expectation

    var testDescription: String { machine }

    static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Fixtures/sensors").path

    static let all: [FixtureMachine] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.filter { $0.hasSuffix(".json") }.sorted().compactMap { try? load($0) }
    }()

    static func load(_ name: String) throws -> FixtureMachine {
        let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/" + name))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(FixtureMachine.self, from: data)
    }

    /// Writes the tree below a new host root.
    func materialise() throws -> NodeTree {
        let tree = try NodeTree()
        try write(to: tree)
        return tree
    }

    /// Writes the tree below a directory that is there.
    func materialise(in directory: String) throws {
        try write(to: try NodeTree(in: directory))
    }

    private func write(to tree: NodeTree) throws {
        for (path, content) in files {
            if path.hasSuffix("_hex") {
                // Bytes that no text file can hold.
                try tree.set(String(path.dropLast(4)), Self.bytes(hex: content) + Data("\n".utf8))
            } else {
                try tree.set(path, content.isEmpty ? "" : content + "\n")
            }
        }
        for path in (errors ?? [:]).keys where files[path] == nil { try tree.set(path, "") }
        // A link's target may be a directory that holds nothing but another link.
        for (path, _) in (links ?? [:]).sorted(by: { $0.key < $1.key })
        where path.hasSuffix("/device") {
            let parent = (tree.real(path) as NSString).deletingLastPathComponent
            try FileManager.default.createDirectory(
                atPath: parent, withIntermediateDirectories: true)
        }
        for (path, destination) in links ?? [:] { try tree.link(path, to: destination) }
    }

    /// The tree's files with the errnos in between.
    func access(_ tree: NodeTree) -> DriverFiles {
        var faults = DriverFiles.Faults()
        for (path, name) in errors ?? [:] { faults.reads["/sys/" + path] = Self.errnos[name] }
        return DriverFiles(tree.files, faults)
    }

    /// Names of chips and types of zones in the tree.
    var names: Set<String> {
        Set(
            files.filter { path, _ in
                path.hasSuffix("/name") && (path.contains("hwmon") || path.contains("applesmc"))
                    || path.contains("thermal_zone") && path.hasSuffix("/type")
            }.values)
    }

    private static func bytes(hex: String) -> Data {
        let digits = Array(hex)
        return Data(
            stride(from: 0, to: digits.count, by: 2).compactMap {
                UInt8(String(digits[$0..<($0 + 2)]), radix: 16)
            })
    }

    static let errnos: [String: Int32] = [
        "EIO": EIO, "ENXIO": ENXIO, "ENODATA": ENODATA, "EAGAIN": EAGAIN, "EINVAL": EINVAL,
        "ENODEV": ENODEV,
    ]
}
