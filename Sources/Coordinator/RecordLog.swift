import Immunity
import Protocol
import Runtime
import Synchronization

/// One log line for each audit record, so that the log alone tells the story.
///
/// Lines are made and written on a thread of their own, many at once: they cost more than decisions do, and a
/// log that nobody reads must not keep anybody from being healed.
final class RecordLog: Sendable {
    /// How many records may wait for a log that is slow; more are counted, and the log says so.
    private static let limit = 100_000
    /// How long records are collected: waking a thread for each of a storm would cost as much as its line.
    private static let pause: Duration = .milliseconds(5)
    /// How many lines are made before they are written.
    private static let batchLimit = 256

    private let backlog: Waiting
    private let writing: Task<Void, Never>
    private let worker = WorkerThread(name: "record-log")

    /// The records whose lines are still to be written.
    private final class Waiting: Sendable {
        struct Content {
            var records: [Record] = []
            /// How many records got no line since the log was last told.
            var lost = 0
            var isFinished = false
        }

        let content = Mutex(Content())
        let arrival = Wakeup()
    }

    init(_ logger: Logger) {
        let backlog = Waiting()
        self.backlog = backlog
        writing = Task(executorPreference: worker) {
            var isFinished = false
            while !isFinished {
                _ = await backlog.arrival.wait()
                isFinished = Self.writeAll(of: backlog, to: logger)
                if !isFinished { try? await Task.sleep(for: Self.pause) }
            }
        }
    }

    deinit {
        end()
        worker.stop()
    }

    func write(_ records: [Record]) {
        backlog.content.withLock { content in
            let taken = records.prefix(max(0, Self.limit - content.records.count))
            content.records += taken
            content.lost += records.count - taken.count
        }
        backlog.arrival.ring()
    }

    /// Takes no more, and waits until everything is written.
    func finish() async {
        end()
        await writing.value
    }

    private func end() {
        backlog.content.withLock { $0.isFinished = true }
        backlog.arrival.ring()
    }

    /// Says whether nothing will come any more.
    private static func writeAll(of backlog: Waiting, to logger: Logger) -> Bool {
        let content = backlog.content.withLock { content in
            defer { content = Waiting.Content(isFinished: content.isFinished) }
            return content
        }
        for start in stride(from: 0, to: content.records.count, by: batchLimit) {
            logger.batched { logger in
                for record in content.records[start...].prefix(batchLimit) {
                    write(record, to: logger)
                }
            }
        }
        if content.lost > 0 {
            logger.error(
                "the log is too slow: records without a line here are in the audit",
                ["records": content.lost])
        }
        return content.isFinished
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
