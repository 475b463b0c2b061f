import Audit
import Bus
import Immunity
import Protocol
import Runtime

/// The state as of one record of the audit, kept in the bucket `SKOS_STATE`, so that a start replays
/// only what came since. A snapshot only ever saves time: whatever is doubtful about it, the whole audit
/// is replayed instead.
struct Snapshots: Sendable {
    let bucket: KeyValue
    let logger: Logger

    /// The key that says what the last snapshot is and where its parts are.
    static let key = "coordinator"
    /// A snapshot is made after this many records, but not sooner than `leastInterval` after the last,
    /// for it costs as much as a few hundred decisions; or after `everyInterval` when there were any.
    static let everyRecords: UInt64 = 10_000
    static let leastInterval: Duration = .seconds(10)
    static let everyInterval: Duration = .seconds(60)
    /// Bytes of one part: half of what NATS takes as one message by default, for the API that reads it
    /// back writes it in a longer form.
    static let partSize = 512 * 1024
    /// The state's own limits keep it far below: 20,000 incidents are about 20 MB.
    static let partLimit = 128

    static func open(_ jetStream: JetStream, logger: Logger) async throws(BusError) -> Snapshots {
        Snapshots(
            bucket: try await jetStream.ensureBucket(
                KeyValue.Config(bucket: Subjects.stateBucket)),
            logger: logger)
    }

    /// Stores the state as of a record: first its parts, beside those of the last snapshot, and then
    /// the word that they count.
    func save(_ replay: Replay) async {
        let state = JSON.object(replay.state.snapshot).encoded
        let count = (state.count + Self.partSize - 1) / Self.partSize
        guard count <= Self.partLimit else {
            return logger.warning(
                "snapshot not stored; a start will replay more",
                ["bytes": state.count, "limit": Self.partLimit * Self.partSize])
        }
        do {
            let last = try await bucket.get(Self.key).flatMap { try? JSON.parse($0.value).object }
            let slot = last?["slot"]?.string == "a" ? "b" : "a"
            for index in 0..<count {
                let start = index * Self.partSize
                let part = state[start..<min(start + Self.partSize, state.count)]
                _ = try await bucket.put(Self.part(slot, index), Array(part))
            }
            var object = Self.encode(replay)
            object["slot"] = .string(slot)
            object["parts"] = .integer(Int64(count))
            object["digest"] = .string(Self.digest(state))
            _ = try await bucket.put(Self.key, JSON.object(object).encoded)
        } catch { logger.warning("snapshot not stored", ["error": "\(error)"]) }
    }

    private static func part(_ slot: String, _ index: Int) -> String { "\(key).\(slot).\(index)" }

    static func digest(_ state: [UInt8]) -> String {
        AuditChain.hash(previous: "", payload: state)
    }

    /// The last snapshot, if it can be read and fits the audit stream.
    func load(_ jetStream: JetStream, upTo last: UInt64) async -> Replay? {
        do {
            guard let entry = try await bucket.get(Self.key) else { return nil }
            let object = try Self.object(entry.value)
            var replay = try Self.decode(object)
            guard replay.sequence <= last,
                let record = try await jetStream.getMessage(
                    Subjects.auditStream, sequence: replay.sequence),
                record.header(AuditChain.hashHeader) == replay.hash
            else {
                logger.warning("the snapshot does not fit the audit stream; replaying all of it")
                return nil
            }
            replay.state = try State(snapshot: Self.object(try await state(object)))
            return replay
        } catch {
            logger.warning("snapshot not used; replaying the whole audit", ["error": "\(error)"])
            return nil
        }
    }

    private func state(_ object: JSON.Object) async throws -> [UInt8] {
        let fields = Fields(object)
        let slot = try fields.required("slot", try fields.string("slot"))
        let count = try fields.required("parts", try fields.integer("parts"))
        guard (1...Int64(Self.partLimit)).contains(count) else {
            throw fields.error("parts", "\(count) is not between 1 and \(Self.partLimit)")
        }
        var state: [UInt8] = []
        for index in 0..<Int(count) {
            guard let part = try await bucket.get(Self.part(slot, index)) else {
                throw fields.error("parts", "part \(index) of \(count) is missing")
            }
            state += part.value
        }
        guard Self.digest(state) == object["digest"]?.string else {
            throw fields.error("digest", "the parts are not what was stored")
        }
        return state
    }

    private static func object(_ bytes: [UInt8]) throws -> JSON.Object {
        guard let object = try JSON.parse(bytes).object else {
            throw MessageError(field: "", reason: "a JSON object is expected")
        }
        return object
    }

    private static func encode(_ replay: Replay) -> JSON.Object {
        var object: JSON.Object = [
            "sequence": .integer(Int64(clamping: replay.sequence)), "hash": .string(replay.hash),
        ]
        if let lead = replay.lead {
            object["lead"] = [
                "sequence": .integer(Int64(clamping: lead.sequence)), "hash": .string(lead.hash),
                "actor": .string(lead.actor),
            ]
        }
        object["alert_stream"] = replay.alertStream.map(JSON.string)
        return object
    }

    private static func decode(_ object: JSON.Object) throws -> Replay {
        let fields = Fields(object)
        var replay = Replay()
        let sequence = try fields.required("sequence", try fields.integer("sequence"))
        replay.sequence = UInt64(clamping: sequence)
        replay.hash = try fields.required("hash", try fields.string("hash"))
        if let lead = try fields.object("lead") {
            let fields = Fields(lead, path: "lead")
            let sequence = try fields.required("sequence", try fields.integer("sequence"))
            replay.lead = Replay.Lead(
                sequence: UInt64(clamping: sequence),
                hash: try fields.required("hash", try fields.string("hash")),
                actor: try fields.required("actor", try fields.string("actor")))
        }
        replay.alertStream = try fields.string("alert_stream")
        return replay
    }
}
