import Audit
import Bus
import Glibc
import Protocol

/// The audit records about one thing, for `skos explain`.
struct Story {
    /// How many incidents an id may lead to: alerts' ids need not be unique.
    private static let incidentLimit = 1000
    /// How long reading the audit may take; nobody waits longer for an answer.
    static let timeLimit: Duration = .seconds(60)

    private let id: String
    /// The incidents that an alert or an action with this id belongs to.
    private var incidents: Set<String> = []

    /// Reads the stream and keeps the records that belong to `id`: an incident, an alert, an action, or a
    /// node; of an alert or an action also the rest of its incident. What does not fit into `budget` bytes
    /// is left out, and the answer says how much that is.
    /// - Throws: `TooLong`, and what reading a stream throws.
    static func read(
        _ id: String, _ jetStream: JetStream, budget: Int, timeLimit: Duration = Story.timeLimit
    ) async throws -> JSON.Object {
        let last = try await jetStream.streamInfo(Subjects.auditStream).lastSequence
        let reading = Reading(
            jetStream: jetStream, last: last, deadline: ContinuousClock.now + timeLimit)
        var story = Story(id: id)
        var keeper = StoryKeeper(budget: budget)
        try await reading.forEachRecord(naming: [id]) { record, sequence in
            if story.includes(record) { keeper.add(record, sequence) }
            story.learn(record)
        }
        // Records that come before those with the id are only known now to belong to it.
        if !story.incidents.isEmpty {
            keeper = StoryKeeper(budget: budget)
            try await reading.forEachRecord(naming: [id] + story.incidents.sorted()) {
                record, sequence in
                if story.includes(record) { keeper.add(record, sequence) }
            }
        }
        var answer: JSON.Object = ["id": .string(id)]
        for (name, value) in keeper.answer().members { answer[name] = value }
        return answer
    }

    private init(id: String) { self.id = id }

    private mutating func learn(_ record: JSON.Object) {
        guard let incident = record["incident"]?.string, !incident.isEmpty, isNamed(in: record),
            record["node"]?.string != id, incidents.count < Self.incidentLimit
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
}

extension Story {
    /// Why no story is told.
    struct TooLong: Error, CustomStringConvertible {
        var description: String
    }

    /// One way through the audit stream.
    private struct Reading {
        let jetStream: JetStream
        let last: UInt64
        let deadline: ContinuousClock.Instant

        /// Records are looked at for so many texts; for more it is faster to parse each of them.
        private static let textLimit = 16

        /// Reads the records that may name one of these texts; few do, and only those are parsed.
        func forEachRecord(
            naming texts: [String], _ body: (JSON.Object, UInt64) -> Void
        ) async throws {
            guard last > 0 else { return }
            let needles = texts.count > Self.textLimit ? [] : texts.map(Self.written)
            let reader = try jetStream.readRange(
                Subjects.auditStream, 1...last, batch: Replay.batch)
            for try await message in reader {
                guard let sequence = message.metadata?.streamSequence else { continue }
                if sequence % UInt64(Replay.batch) == 0, ContinuousClock.now > deadline {
                    throw TooLong(
                        description: "reading the \(last) records of the audit takes too long; "
                            + "`skos audit export` writes them to a file that can be searched")
                }
                let object = message.withPayload { payload in
                    needles.isEmpty || needles.contains { Self.contains(payload, $0) }
                        ? try? JSON.parse(payload).object : nil
                }
                // What somebody else has published into the stream tells no story.
                if let object, message.header(AuditChain.hashHeader) != nil {
                    body(object, sequence)
                }
            }
        }

        /// A text as it stands in a record, without the quotes.
        private static func written(_ text: String) -> [UInt8] {
            Array(JSON.string(text).encoded.dropFirst().dropLast())
        }

        private static func contains(_ bytes: UnsafeRawBufferPointer, _ needle: [UInt8]) -> Bool {
            guard let base = bytes.baseAddress, let first = needle.first else { return true }
            var start = 0
            while start + needle.count <= bytes.count,
                let found = memchr(
                    base + start, CInt(first), bytes.count - needle.count + 1 - start)
            {
                if memcmp(found, needle, needle.count) == 0 { return true }
                start = UnsafeRawPointer(found) - base + 1
            }
            return false
        }
    }
}
