import Immunity
import Protocol
import Runtime
import Synchronization

/// One log line for each audit record, so that the log alone tells the story.
///
/// Lines are made and written on a thread of their own: they cost more than decisions do, and a log that
/// nobody reads must not keep anybody from being healed.
final class RecordLog: Sendable {
    /// How many batches may wait for a log that is slow; more are counted, and the log says so.
    private static let batchLimit = 4096

    private let batches: AsyncStream<[Record]>.Continuation
    private let writing: Task<Void, Never>
    private let worker = WorkerThread(name: "record-log")
    private let lost: Lost

    /// How many records got no line since the log was last told.
    private final class Lost: Sendable {
        let count = Atomic<Int>(0)
    }

    init(_ logger: Logger) {
        let (stream, batches) = AsyncStream.makeStream(
            of: [Record].self, bufferingPolicy: .bufferingOldest(Self.batchLimit))
        let lost = Lost()
        self.batches = batches
        self.lost = lost
        writing = Task(executorPreference: worker) {
            for await records in stream {
                for record in records { Self.write(record, to: logger) }
                let count = lost.count.exchange(0, ordering: .relaxed)
                if count > 0 {
                    logger.error(
                        "the log is too slow: records without a line here are in the audit",
                        ["records": count])
                }
            }
        }
    }

    deinit {
        batches.finish()
        worker.stop()
    }

    func write(_ records: [Record]) {
        if case .dropped(let dropped) = batches.yield(records) {
            lost.count.add(dropped.count, ordering: .relaxed)
        }
    }

    /// Takes no more, and waits until everything is written.
    func finish() async {
        batches.finish()
        await writing.value
    }

    static func write(_ record: Record, to logger: Logger) {
        switch record.event {
        case .started(let version, let configuration, _):
            logger.info("coordinator started", ["version": version, "config": configuration])
        case .configured(let fingerprint, let refused):
            if let refused {
                logger.error("edit of the configuration refused", ["reason": refused])
            } else {
                logger.info("configuration applied", ["config": fingerprint])
            }
        case .alert(let event): write(event, to: logger)
        case .decision(let decision):
            logger.info(
                "decision: \(decision.verdict.rawValue)",
                [
                    "node": decision.node, "incident": decision.incident,
                    "action": decision.command?.actionID ?? decision.action,
                    "reason": decision.reason,
                ])
        case .result(let event):
            logger.info(
                "result: \(event.result.status.rawValue)",
                [
                    "node": event.result.node, "incident": event.incident,
                    "action": event.result.actionID,
                    "outcome": event.result.outcome?.rawValue ?? "",
                    "reason": event.result.reason ?? "",
                ])
        case .incident(let event):
            let level: Logger.Level = event.change == .escalated ? .warning : .info
            let message = "incident \(event.change.rawValue)"
            let fields: Logger.Fields = [
                "node": event.node, "incident": event.incident, "reason": event.reason,
            ]
            level == .warning ? logger.warning(message, fields) : logger.info(message, fields)
        case .breaker(let event):
            logger.warning(
                "breaker \(event.change.rawValue)",
                ["node": event.key.node, "breaker": event.key.text, "reason": event.reason])
        case .operation(let event):
            logger.info(
                "operator: \(event.verb)", ["actor": event.actor, "outcome": event.outcome])
        case .clock(let reason): logger.warning("the clock was set back", ["reason": reason])
        case .rejected(let rejection):
            logger.warning(
                "rejected",
                [
                    "node": rejection.node, "subject": rejection.subject,
                    "field": rejection.field, "reason": rejection.reason,
                ])
        }
    }

    private static func write(_ event: AlertEvent, to logger: Logger) {
        logger.info(
            "alert: \(event.effect.rawValue)",
            [
                "node": event.alert.node, "incident": event.incident ?? "",
                "type": event.alert.type, "resource": event.alert.resource,
                "severity": event.alert.severity.rawValue, "alert": event.alert.id ?? "",
                "message": event.reason ?? event.alert.message ?? "",
            ])
    }
}
