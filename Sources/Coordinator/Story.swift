import Audit
import Bus
import Protocol

/// The audit records about one thing, for `skos explain`.
enum Story {
    /// How many records one answer holds: a message of NATS has an end.
    static let limit = 400

    /// Reads the stream and keeps the records that belong to `id`: an incident, an alert, an action, or a
    /// node; of an alert or an action also the rest of its incident.
    static func read(
        _ id: String, _ jetStream: JetStream, upTo last: UInt64
    ) async throws -> JSON.Object {
        var matches: [(sequence: UInt64, object: JSON.Object)] = []
        var incidents: Set<String> = []
        var truncated = false
        guard last > 0 else { return answer(id, [], truncated: false) }
        let reader = try jetStream.readRange(Subjects.auditStream, 1...last, batch: Replay.batch)
        for try await message in reader {
            guard let sequence = message.metadata?.streamSequence,
                let object = try? JSON.parse(message.payload).object
            else { continue }
            guard belongs(object, to: id, incidents) else { continue }
            if let incident = object["incident"]?.string, object["node"]?.string != id {
                incidents.insert(incident)
            }
            matches.append((sequence, object))
            if matches.count > 2 * limit {
                matches.removeFirst(limit)
                truncated = true
            }
        }
        if matches.count > limit {
            matches.removeFirst(matches.count - limit)
            truncated = true
        }
        return answer(id, matches, truncated: truncated)
    }

    private static func belongs(
        _ record: JSON.Object, to id: String, _ incidents: Set<String>
    ) -> Bool {
        if let incident = record["incident"]?.string, incident == id || incidents.contains(incident)
        {
            return true
        }
        for name in ["node", "action_id", "breaker", "cause", "excerpt"]
        where record[name]?.string == id { return true }
        return record["alert"]?.object?["id"]?.string == id
    }

    private static func answer(
        _ id: String, _ matches: [(sequence: UInt64, object: JSON.Object)], truncated: Bool
    ) -> JSON.Object {
        let records = matches.map { match -> JSON in
            var object: JSON.Object = ["sequence": .integer(Int64(clamping: match.sequence))]
            // The alert's own sequence is in another stream.
            for (name, value) in match.object.members {
                object[name == "sequence" ? "alert_sequence" : name] = value
            }
            return .object(object)
        }
        return [
            "id": .string(id), "truncated": .bool(truncated), "records": .array(records),
        ]
    }
}
