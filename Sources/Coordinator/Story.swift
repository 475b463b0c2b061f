import Audit
import Bus
import Protocol

/// The audit records about one thing, for `skos explain`.
struct Story {
    /// How many records one answer holds at most.
    static let limit = 400

    private let id: String
    /// The incidents that an alert or an action with this id belongs to.
    private var incidents: Set<String> = []

    /// Reads the stream and keeps the records that belong to `id`: an incident, an alert, an action, or a
    /// node; of an alert or an action also the rest of its incident. When there are more than `limit`, or
    /// than `budget` bytes hold, the last of them.
    static func read(_ id: String, _ jetStream: JetStream, budget: Int) async throws -> JSON.Object
    {
        let last = try await jetStream.streamInfo(Subjects.auditStream).lastSequence
        var story = Story(id: id)
        // The records that come before the id's own are only known to belong to it afterwards.
        try await forEachRecord(jetStream, upTo: last) { _, record, _ in story.learn(record) }
        var matches = Backlog<(bytes: Int, object: JSON.Object)>()
        var bytes = 0
        var truncated = false
        try await forEachRecord(jetStream, upTo: last) { sequence, record, count in
            guard story.includes(record) else { return }
            matches.append((count, Self.entry(record, sequence)))
            bytes += count
            while matches.count > limit || (bytes > budget && matches.count > 1),
                let dropped = matches.popFirst()
            {
                bytes -= dropped.bytes
                truncated = true
            }
        }
        let records = matches.take(limit).map { JSON.object($0.object) }
        return [
            "id": .string(id), "truncated": .bool(truncated), "records": .array(records),
        ]
    }

    private init(id: String) { self.id = id }

    private static func forEachRecord(
        _ jetStream: JetStream, upTo last: UInt64,
        _ body: (UInt64, JSON.Object, Int) -> Void
    ) async throws {
        guard last > 0 else { return }
        let reader = try jetStream.readRange(Subjects.auditStream, 1...last, batch: Replay.batch)
        for try await message in reader {
            guard let sequence = message.metadata?.streamSequence,
                let object = try? JSON.parse(message.payload).object
            else { continue }
            body(sequence, object, message.count + entryBytes)
        }
    }

    /// What `entry` adds to a record, at most.
    private static let entryBytes = 64

    private mutating func learn(_ record: JSON.Object) {
        guard let incident = record["incident"]?.string, isNamed(in: record),
            record["node"]?.string != id
        else { return }
        incidents.insert(incident)
    }

    private func includes(_ record: JSON.Object) -> Bool {
        if let incident = record["incident"]?.string, incident == id || incidents.contains(incident)
        {
            return true
        }
        return isNamed(in: record) || record["node"]?.string == id
    }

    private func isNamed(in record: JSON.Object) -> Bool {
        for name in ["action_id", "breaker", "cause", "excerpt"] where record[name]?.string == id {
            return true
        }
        return record["alert"]?.object?["id"]?.string == id
    }

    private static func entry(_ record: JSON.Object, _ sequence: UInt64) -> JSON.Object {
        var object: JSON.Object = ["sequence": .integer(Int64(clamping: sequence))]
        // The alert's own sequence is in another stream.
        for (name, value) in record.members {
            object[name == "sequence" ? "alert_sequence" : name] = value
        }
        return object
    }
}
