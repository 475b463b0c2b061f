import Bus
import Notifier
import Protocol
import Runtime
import Synchronization

/// Says on NATS what became of telling a human: `skos.event.human_alerted`, or `human_alert_failed`.
final class Announcer: Sendable {
    private let connection = Mutex<Connection?>(nil)
    private let clock: SteadyClock

    init(clock: SteadyClock) { self.clock = clock }

    /// The connection from now on.
    func use(_ new: Connection) { connection.withLock { $0 = new } }

    /// Without NATS nobody hears it; the log has it in any case.
    func announce(_ outcome: DeliveryQueue.Outcome) {
        let escalation = outcome.escalation
        var event: JSON.Object = [
            "incident": .string(escalation.incident), "tries": .integer(Int64(outcome.tries)),
        ]
        for name in ["node", "type", "severity", "resource", "drill", "dry_run"] {
            event[name] = escalation.event[name]
        }
        event["repeated"] = escalation.isRepeated ? true : nil
        event["reason"] = outcome.failure.map(JSON.string)
        event["timestamp"] = .string(clock.now().inMilliseconds.description)
        let type = outcome.failure == nil ? "human_alerted" : "human_alert_failed"
        let connection = connection.withLock { $0 }
        try? connection?.publish(Subjects.event(type), JSON.object(event).encoded)
    }
}
