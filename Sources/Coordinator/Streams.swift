import Bus
import Protocol

/// The streams as SKOS needs them; `Bus` creates them, or checks that they are so.
enum Streams {
    /// Alerts wait here until the coordinator has dealt with them.
    static var alerts: StreamConfig {
        var config = StreamConfig(
            name: Subjects.alertStream,
            subjects: [
                Subjects.alerts, "skos.event.anomaly.detected", "skos.event.security.event",
                "skos.event.system.health_check",
            ])
        config.maxAge = .seconds(24 * 3600)
        config.duplicateWindow = .seconds(120)
        return config
    }

    /// The audit: nothing can be deleted from it, and when it is full it refuses instead of forgetting.
    static var audit: StreamConfig {
        var config = StreamConfig(name: Subjects.auditStream, subjects: [Subjects.audit])
        config.denyDelete = true
        config.denyPurge = true
        config.discard = .new
        return config
    }

    /// The coordinator's cursor over the alerts.
    static var alertConsumer: ConsumerConfig {
        var config = ConsumerConfig(durable: "coordinator")
        config.ackWait = .seconds(30)
        config.maxAckPending = 2048
        return config
    }
}
