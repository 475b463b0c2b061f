import Foundation
import Testing

@testable import Settings

/// Files that are too large, too deep, or not files at all.
@Suite struct LimitTests {
    @Test func tooLarge() {
        let text = String(repeating: "# " + String(repeating: "x", count: 1022) + "\n", count: 1025)
        #expect(problems(text) == ["config.yaml: is larger than 1 MiB"])
    }

    @Test func tooDeep() {
        let text = "dry_run: " + String(repeating: "[", count: 200_000)
        #expect(problems(text) == ["config.yaml:1:42: is nested more than 32 levels deep"])
        let block = (0..<100).map { String(repeating: " ", count: $0) + "a:" }.joined(
            separator: "\n")
        #expect(problems(block) == ["config.yaml:33:33: is nested more than 32 levels deep"])
    }

    @Test func tooMany() {
        let text = "dry_run: [" + String(repeating: "1,", count: 200_000) + "]"
        #expect(problems(text) == ["config.yaml:1:200005: has more than 100000 values"])
    }

    @Test func tooManyNodesAndActions() {
        let nodes = (0...Schema.nodeLimit).map { "n\($0): " }.joined(separator: ", ")
        let actions = String(repeating: "failover, ", count: 33)
        #expect(
            problems("nodes: {\(nodes)}\nthermal: {actions: {warning: [\(actions)]}}") == [
                "config.yaml:1:1: nodes: has 5001 entries; at most 5000 are allowed",
                "config.yaml:2:21: thermal.actions.warning: has 33 elements; at most 32 are allowed",
            ])
    }

    @Test func aBombOfAliases() {
        let lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        let more = (1...9).map { level in
            "a\(level): &a\(level) ["
                + Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
                + "]"
        }
        let found = problems((lines + more).joined(separator: "\n"))
        #expect(found.contains { $0.contains("2:10: aliases (*a0) are not supported") })
        #expect(found.count == ConfigError.issueLimit + 1)
    }

    @Test func moreProblemsThanAnybodyReads() {
        let text = (0..<150).map { "key_\($0): 1" }.joined(separator: "\n")
        let found = problems(text)
        #expect(found.count == ConfigError.issueLimit + 1)
        #expect(found.last == "config.yaml: there are more problems; only the first 100 are shown")
    }

    @Test func quotedTextIsShortAndPrintable() {
        let text = "dry_run: \"\\e[2J" + String(repeating: "x", count: 5000) + "\""
        let line = problems(text).joined()
        #expect(line.contains(#""\u{1b}[2Jxxx"#))
        #expect(line.utf8.count < 200)
    }

    @Test func notUTF8() {
        #expect(
            problems(Array("a: 1\nb: é".utf8) + [0xE9, 0x0A]) == [
                "config.yaml:2:5: is not UTF-8 from here on"
            ])
        #expect(
            problems([0xFF, 0xFE, 0x61, 0x00]) == ["config.yaml:1:1: is UTF-16; save it as UTF-8"])
    }

    // MARK: Files

    /// The one line that a path gets.
    private func line(_ path: String) -> String {
        do throws(ConfigError) {
            _ = try ConfigLoader.load(file: path, environment: [:])
            return "loaded"
        } catch {
            return error.description
        }
    }

    @Test func notAFile() throws {
        let folder = try TemporaryFolder()
        #expect(line(folder.path) == "\(folder.path): is a directory, not a file")
        #expect(line(folder.path + "/none") == "\(folder.path)/none: does not exist")
        #expect(line("/dev/zero") == "/dev/zero: is not a regular file")
        let fifo = folder.path + "/fifo"
        #expect(mkfifo(fifo, 0o600) == 0)
        #expect(line(fifo) == "\(fifo): is not a regular file")
        let loop = folder.path + "/loop"
        #expect(symlink(loop, loop) == 0)
        #expect(line(loop) == "\(loop): cannot be opened: Too many levels of symbolic links")
        #expect(line("") == ": does not exist")
    }

    @Test func aFileOfExactlyTheLimit() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/config.yaml"
        let head = "version: 1\n#"
        let text = head + String(repeating: "x", count: YAMLReader.sizeLimit - head.utf8.count)
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        #expect(line(path) == "loaded")
        try (text + "x").write(toFile: path, atomically: false, encoding: .utf8)
        #expect(line(path) == "\(path): is larger than 1 MiB")
    }
}

/// A folder that is removed with the value that stands for it.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "skos-settings-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
