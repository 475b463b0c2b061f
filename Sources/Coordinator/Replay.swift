import Audit
import Bus
import Immunity
import Protocol
import Runtime

/// What the audit stream says has happened so far.
struct Replay: Sendable {
    var state = State()
    /// The end of the chain.
    var sequence: UInt64 = 0
    var hash = AuditChain.genesis
    /// The last alerts, newest last.
    var alerts: [AlertEvent] = []
    /// The last `started` record: whose term it is.
    var lead: Lead?
    /// What somebody else has published into the stream since the last record.
    var foreign = ForeignMessages()
    /// Which alert stream that term has read; `nil` when its record does not say.
    var alertStream: String?

    /// A coordinator's `started` record.
    struct Lead: Sendable, Equatable {
        var sequence: UInt64
        var hash: String
        var actor: String
    }

    /// How many records are asked for at once.
    static let batch = 1024

    /// Reads the audit stream to its end, checking the chain on the way: damaged state stops the healer,
    /// it never resets a counter. Begins behind `start`, which is a snapshot or the very beginning.
    static func run(
        _ jetStream: JetStream, from start: Replay, upTo last: UInt64, logger: Logger
    ) async throws -> Replay {
        var replay = start
        guard last > start.sequence else { return replay }
        var verifier = ChainVerifier(sequence: start.sequence, hash: start.hash)
        let reader = try jetStream.readRange(
            Subjects.auditStream, (start.sequence + 1)...last, batch: batch)
        for try await message in reader {
            guard let record = ChainedRecord(message) else { continue }
            let faults = verifier.check(record)
            if record.isForeign, faults.map(\.kind) == [.foreign] {
                replay.foreign.add(record)
                continue
            }
            if let fault = faults.first { throw damaged(fault.description) }
            // The coordinator that wrote this record has told of them.
            replay.foreign = ForeignMessages()
            try replay.apply(record)
            if record.sequence % 100_000 == 0 {
                logger.info("replaying the audit", ["record": record.sequence, "of": last])
            }
        }
        guard verifier.sequence == last else {
            throw damaged("it ends at record \(verifier.sequence), not at \(last)")
        }
        replay.sequence = verifier.sequence
        replay.hash = verifier.hash
        return replay
    }

    /// Makes sure that a record that was durable once is still there.
    static func check(
        _ known: Lead, _ jetStream: JetStream, upTo last: UInt64
    ) async throws {
        guard known.sequence <= last else {
            throw damaged(
                "it ends at record \(last), but record \(known.sequence) was durable: it was cut, or "
                    + "made anew")
        }
        let record = try await jetStream.getMessage(
            Subjects.auditStream, sequence: known.sequence)
        guard record?.header(AuditChain.hashHeader) == known.hash else {
            throw damaged("record \(known.sequence) is not the one that was durable before")
        }
    }

    private mutating func apply(_ chained: ChainedRecord) throws {
        do {
            let record = try chained.payload.withUnsafeBytes {
                (bytes) throws(MessageError) in try Record(decoding: bytes)
            }
            state.apply(record.event, at: record.time)
            switch record.event {
            case .alert(let alert):
                EngineCore.keep(alert, bytes: chained.payload.count, in: &alerts)
            case .started:
                lead = Lead(
                    sequence: chained.sequence, hash: chained.hash, actor: record.actor)
                alertStream =
                    try? JSON.parse(chained.payload).object?[Self.alertStreamField]?.string
            default: break
            }
        } catch { throw Self.damaged("record \(chained.sequence): \(error)") }
    }

    /// The member of a `started` record that says when the alert stream was created: the numbers of
    /// another one say nothing about this one's alerts.
    static let alertStreamField = "alert_stream"

    private static func damaged(_ reason: String) -> CoordinatorFailure {
        CoordinatorFailure(
            isTransient: false,
            description: "the audit stream is damaged, so nothing is done: \(reason); "
                + "see `skos audit verify`")
    }
}

extension ChainedRecord {
    /// A record as the stream keeps it; missing headers fail verification.
    init?(_ message: BusMessage) {
        guard let metadata = message.metadata else { return nil }
        self.init(
            sequence: metadata.streamSequence, subject: message.subject,
            previous: message.header(AuditChain.previousHeader) ?? "",
            hash: message.header(AuditChain.hashHeader) ?? "", payload: message.payload)
    }
}
