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

    /// The bucket's one key.
    static let key = "coordinator"
    /// A snapshot is made after this many records, but not sooner than `leastInterval` after the last,
    /// for it costs as much as a few hundred decisions; or after `everyInterval` when there were any.
    static let everyRecords: UInt64 = 10_000
    static let leastInterval: Duration = .seconds(10)
    static let everyInterval: Duration = .seconds(60)
    /// The largest that is stored: NATS' default limit of a message, with room for its headers.
    static let sizeLimit = 1_000_000

    static func open(_ jetStream: JetStream, logger: Logger) async throws(BusError) -> Snapshots {
        Snapshots(
            bucket: try await jetStream.ensureBucket(
                KeyValue.Config(bucket: Subjects.stateBucket)),
            logger: logger)
    }

    /// Stores the state as of a record.
    func save(_ replay: Replay) async {
        let bytes = JSON.object(Self.encode(replay)).encoded
        guard bytes.count <= Self.sizeLimit else {
            return logger.warning(
                "snapshot not stored; a start will replay more",
                ["bytes": bytes.count, "limit": Self.sizeLimit])
        }
        do {
            _ = try await bucket.put(Self.key, bytes)
        } catch { logger.warning("snapshot not stored", ["error": error.description]) }
    }

    /// The last snapshot, if it can be read and fits the audit stream.
    func load(_ jetStream: JetStream, upTo last: UInt64) async -> Replay? {
        do {
            guard let entry = try await bucket.get(Self.key) else { return nil }
            let replay = try Self.decode(entry.value)
            guard replay.sequence <= last,
                let record = try await jetStream.getMessage(
                    Subjects.auditStream, sequence: replay.sequence),
                record.header(AuditChain.hashHeader) == replay.hash
            else {
                logger.warning("the snapshot does not fit the audit stream; replaying all of it")
                return nil
            }
            return replay
        } catch {
            logger.warning("snapshot not used; replaying the whole audit", ["error": "\(error)"])
            return nil
        }
    }

    private static func encode(_ replay: Replay) -> JSON.Object {
        var object: JSON.Object = [
            "sequence": .integer(Int64(clamping: replay.sequence)), "hash": .string(replay.hash),
            "state": .object(replay.state.snapshot),
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

    private static func decode(_ bytes: [UInt8]) throws -> Replay {
        guard let object = try JSON.parse(bytes).object else {
            throw MessageError(field: "", reason: "a JSON object is expected")
        }
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
        let state = try fields.required("state", try fields.object("state"))
        replay.state = try State(snapshot: state)
        return replay
    }
}
