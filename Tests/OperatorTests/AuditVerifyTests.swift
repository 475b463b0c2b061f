import Audit
import Foundation
import Protocol
import Testing

@testable import Operator

/// `audit verify FILE`, on exports that somebody has tampered with.
@Suite struct AuditVerifyTests {
    static let count = 7

    /// The lines of a sound export.
    static let lines: [String] = {
        var previous = AuditChain.genesis
        return (1...count).map { number in
            let payload = Array(
                #"{"kind":"alert","time":"2026-11-21T09:42:52Z","n":\#(number)}"#.utf8)
            let hash = AuditChain.hash(previous: previous, payload: payload)
            defer { previous = hash }
            let record = ChainedRecord(
                sequence: UInt64(number), subject: "SKOS_AUDIT.alert", previous: previous,
                hash: hash, payload: payload)
            return String(decoding: AuditExport.line(record), as: UTF8.self)
        }
    }()

    private func verify(_ lines: [String]) async throws -> (Session.Outcome, faults: [String]) {
        let directory = try TemporaryDirectory()
        let file = try directory.write(lines.map { $0 + "\n" }.joined(), to: "audit.jsonl")
        let outcome = await Session().run(["audit", "verify", file])
        let faults = outcome.out.split(separator: "\n").filter { $0.hasPrefix(file) }
        return (outcome, faults.map { String($0.dropFirst(file.count + 1)) })
    }

    @Test("a sound export passes")
    func sound() async throws {
        let (outcome, faults) = try await verify(Self.lines)
        #expect(outcome.code == .done)
        #expect(faults.isEmpty)
        #expect(outcome.out.hasPrefix("7 records: all as they were written\nhead: record 7, "))
    }

    @Test("one byte changed in any record", arguments: 0..<count)
    func edited(index: Int) async throws {
        var lines = Self.lines
        lines[index] = lines[index].replacingOccurrences(
            of: "alert\",\"time", with: "alerT\",\"time")
        let (outcome, faults) = try await verify(lines)
        #expect(outcome.code == .failed)
        #expect(faults.count == 1)
        #expect(faults[0].hasPrefix("\(index + 1): record \(index + 1): edited: "))
    }

    @Test("every byte of a line counts")
    func anyByte() async throws {
        let victim = Array(Self.lines[3].utf8)
        for position in stride(from: 0, to: victim.count, by: 3) {
            var bytes = victim
            bytes[position] ^= 1
            // Not UTF-8 any more, or the line is torn in two: a fault as well, but not one to name here.
            guard let line = String(bytes: bytes, encoding: .utf8), !line.contains("\n") else {
                continue
            }
            var lines = Self.lines
            lines[3] = line
            let (outcome, faults) = try await verify(lines)
            #expect(outcome.code == .failed, "byte \(position): \(line)")
            #expect(faults.contains { $0.hasPrefix("4: ") || $0.hasPrefix("5: ") })
        }
    }

    @Test("one record removed", arguments: 0..<(count - 1))
    func removed(index: Int) async throws {
        var lines = Self.lines
        lines.remove(at: index)
        let (outcome, faults) = try await verify(lines)
        #expect(outcome.code == .failed)
        #expect(
            faults == ["\(index + 1): record \(index + 2): gap: record \(index + 1) is missing"])
    }

    @Test("two records swapped", arguments: 0..<(count - 1))
    func swapped(index: Int) async throws {
        var lines = Self.lines
        lines.swapAt(index, index + 1)
        let (outcome, faults) = try await verify(lines)
        #expect(outcome.code == .failed)
        #expect(faults.first?.hasPrefix("\(index + 1): record \(index + 2): gap: ") == true)
        #expect(
            faults.contains(
                "\(index + 2): record \(index + 1): order: it stands where record "
                    + "\(index + 3) is expected"))
    }

    @Test("a record and its hash forged together break the link to the next one")
    func forged() async throws {
        var lines = Self.lines
        var record = try AuditExport.record(Array(lines[2].utf8))
        record.payload = Array(#"{"kind":"alert","n":99}"#.utf8)
        record.hash = AuditChain.hash(previous: record.previous, payload: record.payload)
        lines[2] = String(decoding: AuditExport.line(record), as: UTF8.self)
        let (outcome, faults) = try await verify(lines)
        #expect(outcome.code == .failed)
        #expect(faults.count == 1)
        #expect(faults[0].hasPrefix("4: record 4: link: "))
    }

    @Test("lines that are no records are named, and the rest is checked")
    func garbage() async throws {
        var lines = Self.lines
        lines[4] = "not JSON"
        let (outcome, faults) = try await verify(lines)
        #expect(outcome.code == .failed)
        #expect(faults.count == 2)
        #expect(faults[0].hasPrefix("5: not a record: "))
        #expect(faults[1] == "6: record 6: gap: record 5 is missing")
    }

    @Test("a file without an end of line, and an empty one")
    func ends() async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(Self.lines.joined(separator: "\n"), to: "a")
        #expect(await Session().run(["audit", "verify", file]).code == .done)
        let empty = try directory.write("", to: "b")
        let outcome = await Session().run(["audit", "verify", empty])
        #expect(outcome.out.hasPrefix("0 records"))
        #expect(outcome.code == .done)
    }

    @Test("a file that is not there, and a line without end")
    func unusable() async throws {
        let directory = try TemporaryDirectory()
        let missing = await Session().run(["audit", "verify", directory.path + "/none"])
        #expect(missing.code == .usage)
        let endless = try directory.write(
            String(repeating: "x", count: LineReader.lineLimit + 70_000), to: "endless")
        let outcome = await Session().run(["audit", "verify", endless])
        #expect(outcome.code == .failed)
        #expect(outcome.err.contains("\(endless):1: the line is longer than"))
    }

    @Test("for programs")
    func forPrograms() async throws {
        let directory = try TemporaryDirectory()
        var lines = Self.lines
        lines.remove(at: 2)
        let file = try directory.write(lines.joined(separator: "\n"), to: "a")
        let outcome = await Session().run(["audit", "verify", file, "-o", "json"])
        #expect(outcome.code == .failed)
        let answer = try #require(try JSON.parse(Array(outcome.out.utf8)).object)
        #expect(answer["sound"]?.bool == false)
        #expect(answer.integer("records") == 6)
        let fault = try #require(answer.list("faults").first)
        #expect(fault.integer("line") == 3)
        #expect(fault.integer("sequence") == 4)
    }
}
