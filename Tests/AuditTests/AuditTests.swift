import Protocol
import Testing

@testable import Audit

/// A chain of records, as a coordinator writes them.
private func chain(_ count: Int) -> [ChainedRecord] {
    var records: [ChainedRecord] = []
    var previous = AuditChain.genesis
    for number in 1...count {
        let payload = [UInt8](#"{"kind":"alert","number":\#(number),"note":"\"record\": °C"}"#.utf8)
        let hash = AuditChain.hash(previous: previous, payload: payload)
        records.append(
            ChainedRecord(
                sequence: UInt64(number), subject: "SKOS_AUDIT.alert", previous: previous,
                hash: hash, payload: payload))
        previous = hash
    }
    return records
}

private func faults(_ records: [ChainedRecord]) -> [ChainFault] {
    var verifier = ChainVerifier()
    return records.flatMap { verifier.check($0) }
}

@Suite("Audit chain")
struct AuditChainTests {
    @Test("the hash is SHA-256 over the text of the previous hash and the payload")
    func hash() {
        // printf %s 0000…0000abc | sha256sum
        #expect(
            AuditChain.hash(previous: AuditChain.genesis, payload: [UInt8]("abc".utf8))
                == "b64374d04ef9c4f39fddb1e0d6be38a0130f6c057fc0f4ee467ea0e18bc758f1")
    }

    @Test("a whole chain has no fault")
    func whole() {
        #expect(faults(chain(50)).isEmpty)
    }

    @Test("one changed byte is named at its record, wherever it is", arguments: 0..<10)
    func edited(_ index: Int) {
        var records = chain(10)
        records[index].payload[8] ^= 1
        #expect(faults(records).map(\.sequence) == [UInt64(index + 1)])
        #expect(faults(records).map(\.kind) == [.edited])
    }

    @Test("a changed byte whose hash was mended is named at the record after it")
    func mended() {
        var records = chain(10)
        records[4].payload[8] ^= 1
        records[4].hash = AuditChain.hash(
            previous: records[4].previous, payload: records[4].payload)
        #expect(faults(records).map(\.kind) == [.link])
        #expect(faults(records).map(\.sequence) == [6])
    }

    @Test("a removed record is named as a gap", arguments: 0..<9)
    func removed(_ index: Int) {
        var records = chain(10)
        records.remove(at: index)
        let found = faults(records)
        #expect(found.map(\.kind) == [.gap])
        #expect(found.first?.reason == "record \(index + 1) is missing")
    }

    @Test("several removed records are one gap")
    func severalRemoved() {
        var records = chain(10)
        records.removeSubrange(2...4)
        #expect(faults(records).map(\.description) == ["record 6: gap: records 3 to 5 are missing"])
    }

    @Test("two swapped records are named")
    func swapped() {
        var records = chain(10)
        records.swapAt(3, 6)
        let found = faults(records)
        #expect(found.contains { $0.kind == .gap && $0.sequence == 7 })
        #expect(found.contains { $0.kind == .order && $0.sequence == 5 })
    }

    @Test("a message of somebody else is named, and the chain goes on around it")
    func foreign() {
        var records = chain(10)
        let note = ChainedRecord(
            sequence: 5, subject: "SKOS_AUDIT.note", previous: "", hash: "",
            payload: Array("hello".utf8))
        for index in 4..<10 { records[index].sequence += 1 }
        records.insert(note, at: 4)
        var verifier = ChainVerifier()
        let found = records.prefix(5).flatMap { verifier.check($0) }
        #expect(found.map(\.kind) == [.foreign] && found.map(\.sequence) == [5])
        #expect(verifier.sequence == 5 && verifier.head == 4 && verifier.count == 4)
        #expect(records.suffix(6).flatMap { verifier.check($0) }.isEmpty)
    }

    @Test("a record whose hashes were taken away is missing in the chain")
    func stripped() {
        var records = chain(10)
        (records[4].previous, records[4].hash) = ("", "")
        #expect(faults(records).map(\.kind) == [.foreign, .link])
        #expect(faults(records).map(\.sequence) == [5, 6])
    }

    @Test("a verifier goes on behind a record that is known to be good")
    func resumed() {
        let records = chain(10)
        var verifier = ChainVerifier(sequence: 5, hash: records[4].hash)
        #expect(records[5...].flatMap { verifier.check($0) }.isEmpty)
        #expect(verifier.count == 5)
    }
}

@Suite("Audit export")
struct AuditExportTests {
    @Test("a line reads back to the same record, to the byte")
    func roundTrip() throws {
        for record in chain(5) {
            #expect(try AuditExport.record(AuditExport.line(record)) == record)
        }
    }

    @Test("what is no record stays on its line, whatever it holds")
    func foreign() throws {
        let lines = String(decoding: AuditExport.line(chain(1)[0]), as: UTF8.self)
        let forged = ChainedRecord(
            sequence: 2, subject: "SKOS_AUDIT.note", previous: "", hash: "",
            payload: Array("\"}\n\(lines)\n".utf8))
        let line = AuditExport.line(forged)
        #expect(!line.contains(UInt8(ascii: "\n")))
        let read = try AuditExport.record(line)
        #expect(read.isForeign && read.sequence == 2)
        var hashed = forged
        hashed.hash = AuditChain.hash(previous: "", payload: hashed.payload)
        #expect(!AuditExport.line(hashed).contains(UInt8(ascii: "\n")))
    }

    @Test("white space inside and after the record does not count as its own")
    func whiteSpace() throws {
        let line = AuditExport.line(chain(1)[0]) + [UInt8(ascii: " "), UInt8(ascii: "\r")]
        #expect(try AuditExport.record(line) == chain(1)[0])
    }

    @Test(
        "what is not a line of an export is refused with a reason",
        arguments: [
            "", "nonsense", "[]", "{}", #"{"sequence":1}"#,
            #"{"sequence":0,"subject":"a","prev":"","hash":"","record":{}}"#,
            #"{"sequence":"1","subject":"a","prev":"","hash":"","record":{}}"#,
            #"{"sequence":1,"prev":"","hash":"","record":{}}"#,
        ])
    func refused(_ line: String) {
        #expect(throws: MessageError.self) { try AuditExport.record([UInt8](line.utf8)) }
    }
}
