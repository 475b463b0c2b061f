import Audit
import Bus
import Protocol

/// A record of the audit stream, as it is read for people.
struct AuditRecord: Sendable {
    /// Its place in the stream.
    var sequence: UInt64
    /// Its JSON, with the place as its first member; the alert's own place is `alert_sequence`.
    var object: JSON.Object

    /// - Returns: `nil` for a message that is no record, because it carries no hash or is not readable.
    init?(_ message: BusMessage) {
        guard let sequence = message.metadata?.streamSequence,
            message.header(AuditChain.hashHeader) != nil,
            let members = message.withPayload({ try? JSON.parse($0).object })
        else { return nil }
        self.sequence = sequence
        object = ["sequence": .integer(Int64(clamping: sequence))]
        for (name, value) in members.members {
            object[name == "sequence" ? "alert_sequence" : name] = value
        }
    }

    /// Whether it is of a kind, and about a node; `nil` is any.
    func matches(kind: String?, node: String?) -> Bool {
        if let kind, object.text("kind") != kind { return false }
        if let node, object.text("node") != node { return false }
        return true
    }

    /// The record on one line: place, time, kind, node, and what it says.
    func line(_ style: Style) -> String {
        let narration = Narrator.narrate(object)
        let time = object.time("time").map(Text.time) ?? ""
        let kind = Text.safe(object.text("kind"))
        let node = Text.safe(object.text("node"))
        let head =
            "\(sequence)  \(time)  " + kind.padded(to: 11) + " " + (node.isEmpty ? "-" : node)
        return style.paint(head, .dim) + "  "
            + style.paint(Text.safe(narration.headline), narration.colour)
    }
}

extension String {
    /// The text with blanks behind it, up to a number of characters.
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}

/// The audit stream, as verbs read it.
struct AuditStream: Sendable {
    /// Records that are read back at a time when looking for the last ones.
    static let step: UInt64 = 1000

    let link: Link
    let info: StreamInfo
    /// The place of the last record that is there, 0 when there is none: reading up to one that somebody
    /// has taken out would wait for ever.
    private(set) var end: UInt64

    /// - Throws: `Failure` when there is no such stream, or it does not answer.
    init(_ link: Link) async throws {
        self.link = link
        let jetStream = link.connection.jetStream
        do {
            info = try await jetStream.streamInfo(Subjects.auditStream)
            let last = info.lastSequence
            end = info.messages > 0 ? last : 0
            guard end > 0,
                try await jetStream.getMessage(Subjects.auditStream, sequence: last) == nil
            else { return }
        } catch {
            throw link.failure(error, "the audit stream \(Subjects.auditStream)")
        }
        // Only in a stream that somebody has cut: whatever is delivered last is the last.
        var seen: UInt64 = 0
        try await read(max(1, info.firstSequence)...UInt64.max) { message in
            guard let metadata = message.metadata else { return true }
            seen = metadata.streamSequence
            return metadata.pending > 0
        }
        end = seen
    }

    /// The messages of a part of the stream, in order; beyond its end, they are waited for.
    func read(
        _ range: ClosedRange<UInt64>, _ body: (BusMessage) throws -> Bool
    ) async throws {
        do {
            let reader = try link.connection.jetStream.readRange(
                Subjects.auditStream, range, batch: 512)
            var messages = reader.makeAsyncIterator()
            while let message = try await messages.next() {
                guard try body(message) else { return }
            }
        } catch let error as BusError { throw link.failure(error, "reading the audit") }
    }

    /// The last records of a kind and a node, oldest first.
    func last(_ count: Int, kind: String?, node: String?) async throws -> [AuditRecord] {
        var found: [AuditRecord] = []
        var end = end
        let first = max(1, info.firstSequence)
        while end >= first, found.count < count {
            let start = max(first, end > Self.step ? end - Self.step + 1 : 1)
            var part: [AuditRecord] = []
            try await read(start...end) { message in
                if let record = AuditRecord(message), record.matches(kind: kind, node: node) {
                    part.append(record)
                }
                return true
            }
            found = part + found
            end = start - 1
        }
        return found.suffix(count)
    }
}
