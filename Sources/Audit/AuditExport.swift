package import Protocol

/// The export of audit records: a line of JSON for each, with the record's own bytes as its last member,
/// so that `jq` reads it and the hashes can still be checked.
///
///     {"sequence":1,"subject":"SKOS_AUDIT.alert","prev":"00…","hash":"3f…","record":{…}}
package enum AuditExport {
    /// The line of a record, without the newline at its end.
    package static func line(_ record: ChainedRecord) -> [UInt8] {
        let head: JSON.Object = [
            "sequence": .integer(Int64(clamping: record.sequence)),
            "subject": .string(record.subject), "prev": .string(record.previous),
            "hash": .string(record.hash),
        ]
        var bytes: [UInt8] = []
        head.write(to: &bytes)
        bytes.removeLast()
        bytes.append(contentsOf: marker)
        // What is no record may hold anything; as text it cannot look like other lines.
        if record.isForeign || record.payload.contains(UInt8(ascii: "\n")) {
            JSON.string(String(decoding: record.payload, as: UTF8.self)).write(to: &bytes)
        } else {
            bytes.append(contentsOf: record.payload)
        }
        bytes.append(UInt8(ascii: "}"))
        return bytes
    }

    /// Reads a line of an export.
    ///
    /// - Throws: `MessageError` naming what is wrong with it.
    package static func record(_ line: [UInt8]) throws(MessageError) -> ChainedRecord {
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(line) } catch {
            throw MessageError(field: "", reason: error.description)
        }
        guard case .object(let object) = json, let start = payloadStart(line) else {
            throw MessageError(field: "", reason: "not a line of an audit export")
        }
        let fields = Fields(object)
        let sequence = try fields.required("sequence", try fields.integer("sequence"))
        guard sequence > 0 else { throw fields.error("sequence", "\(sequence) is not positive") }
        var end = line.count
        while end > start, line[end - 1] != UInt8(ascii: "}") { end -= 1 }
        return ChainedRecord(
            sequence: UInt64(sequence),
            subject: try fields.required("subject", try fields.string("subject")),
            previous: try fields.required("prev", try fields.string("prev")),
            hash: try fields.required("hash", try fields.string("hash")),
            payload: [UInt8](line[start..<max(start, end - 1)]))
    }

    private static let marker = [UInt8](#","record":"#.utf8)

    /// Where the record's own bytes begin: behind the first marker, since nothing before it can
    /// contain one (quotes inside strings are escaped).
    private static func payloadStart(_ line: [UInt8]) -> Int? {
        guard line.count > marker.count else { return nil }
        for start in 0...(line.count - marker.count)
        where line[start..<(start + marker.count)].elementsEqual(marker) {
            return start + marker.count
        }
        return nil
    }
}
