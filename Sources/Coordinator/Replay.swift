import Audit
import Bus
import Immunity
import Protocol
import Runtime

/// Why the coordinator must not act.
struct CoordinatorFailure: Error, CustomStringConvertible {
    /// Whether trying again later may help; damaged state is for a human.
    var isTransient: Bool
    var description: String
}

/// What the audit stream says has happened so far.
struct Replay: Sendable {
    var state = State()
    /// The end of the chain.
    var sequence: UInt64 = 0
    var hash = AuditChain.genesis
    /// The last alerts, newest last.
    var alerts: [AlertEvent] = []

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
            if let fault = verifier.check(record).first { throw damaged(fault.description) }
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

    private mutating func apply(_ chained: ChainedRecord) throws {
        do {
            let record = try chained.payload.withUnsafeBytes {
                (bytes) throws(MessageError) in try Record(decoding: bytes)
            }
            state.apply(record.event, at: record.time)
            guard case .alert(let alert) = record.event else { return }
            alerts.append(alert)
            if alerts.count > 2 * EngineCore.alertLimit {
                alerts.removeFirst(EngineCore.alertLimit)
            }
        } catch { throw Self.damaged("record \(chained.sequence): \(error)") }
    }

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
