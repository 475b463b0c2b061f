import Immunity
import Protocol
import Runtime

/// One log line for each audit record, so that the log alone tells the story.
enum RecordLog {
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
