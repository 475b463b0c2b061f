import Protocol

/// The journal's file format: one record a line, as a CRC-32 of the rest in eight hexadecimal digits, a
/// space, and the record's JSON. The first record says what the file is.
package enum JournalText {
    /// Bytes of one line that are read at most.
    package static let lineLimit = 1 << 20
    private static let version: Int64 = 1

    /// What a file holds.
    package struct Contents: Sendable, Equatable {
        package var ledger = Ledger()
        /// Bytes up to the end of the last whole line; what follows was being written in a crash.
        package var goodLength = 0
        /// What is wrong with lines before the last, if anything. Then the ledger holds what could be
        /// read, and nothing may be added to it.
        package var damage: String?
    }

    /// The line that begins a file.
    package static func header(agent: String) -> [UInt8] {
        line(["journal": .integer(version), "agent": .string(agent)])
    }

    /// The line of a record.
    package static func line(_ record: JournalRecord) -> [UInt8] { line(record.object) }

    private static func line(_ object: JSON.Object) -> [UInt8] {
        let body = JSON.object(object).encoded
        let digits = String(CRC32.checksum(of: body[...]), radix: 16)
        var line = [UInt8](repeating: UInt8(ascii: "0"), count: 8 - digits.utf8.count)
        line += digits.utf8
        line.append(UInt8(ascii: " "))
        line += body
        line.append(UInt8(ascii: "\n"))
        return line
    }

    /// Reads a file as far as it can be read.
    ///
    /// A last line that is incomplete was torn by a crash: it had not been synced, so nothing has been
    /// done that depends on it. Anything else that cannot be read is damage.
    package static func read(_ bytes: [UInt8], agent: String) -> Contents {
        var contents = Contents()
        var number = 0
        var start = 0
        while start < bytes.count {
            guard let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) else { break }
            number += 1
            let line = bytes[start..<end]
            let isLast = end == bytes.count - 1
            start = end + 1
            do throws(MessageError) {
                let object = try object(of: line)
                if number == 1 {
                    try check(header: object, agent: agent)
                } else if !contents.ledger.apply(try JournalRecord(object)) {
                    throw MessageError(field: "", reason: "does not follow from those before it")
                }
                if contents.damage == nil { contents.goodLength = start }
            } catch {
                // A line whose end was written and whose middle was not.
                if isLast, number > 1, !isIntact(line) { break }
                let damage = "line \(number): \(error)"
                contents.damage = contents.damage ?? damage
            }
        }
        return contents
    }

    private static func isIntact(_ line: ArraySlice<UInt8>) -> Bool {
        guard line.count > 9, line.count <= lineLimit, line[line.startIndex + 8] == 0x20,
            let sum = UInt32(String(decoding: line.prefix(8), as: UTF8.self), radix: 16)
        else { return false }
        return sum == CRC32.checksum(of: line.dropFirst(9))
    }

    private static func object(of line: ArraySlice<UInt8>) throws(MessageError) -> JSON.Object {
        guard isIntact(line) else {
            throw MessageError(field: "", reason: "the checksum does not match")
        }
        do throws(JSONError) {
            if case .object(let object) = try JSON.parse(Array(line.dropFirst(9))) { return object }
        } catch { throw MessageError(field: "", reason: error.description) }
        throw MessageError(field: "", reason: "not a JSON object")
    }

    private static func check(header: JSON.Object, agent: String) throws(MessageError) {
        guard header["journal"] == .integer(version) else {
            throw MessageError(field: "journal", reason: "written by another version of SKOS")
        }
        guard header["agent"]?.string == agent else {
            throw MessageError(
                field: "agent",
                reason: "the journal of \(header["agent"]?.text ?? "nobody"), not of \(agent)")
        }
    }
}

/// CRC-32 of IEEE 802.3, the one of zlib: finds what a failing disk or a torn write does, not what an
/// enemy does.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in
            crc & 1 == 1 ? (crc >> 1) ^ 0xEDB8_8320 : crc >> 1
        }
    }

    static func checksum(of bytes: ArraySlice<UInt8>) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { crc, byte in
            (crc >> 8) ^ table[Int((crc ^ UInt32(byte)) & 0xFF)]
        }
    }
}
