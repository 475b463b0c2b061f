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
        // Ids only have to last from one record to the next; the server remembers them this long.
        config.duplicateWindow = .seconds(1)
        return config
    }

    /// What an operator may set otherwise on the existing streams: sizes and copies.
    static let adjustable: Set<String> = [
        "max_bytes", "max_msgs", "max_msg_size", "num_replicas", "duplicate_window", "allow_direct",
    ]

    /// And on that of the alerts also how long they wait.
    static let adjustableOfAlerts = adjustable.union([
        "max_age", "discard", "max_msgs_per_subject",
    ])

    /// The epoch of a term: the place of its first record in the audit, counted from the stream's creation.
    ///
    /// Agents remember the highest they have seen. So that a stream that was made anew goes on above the
    /// old one, each millisecond of its age counts as more records than a stream can take meanwhile.
    static func epoch(_ sequence: UInt64, of audit: StreamInfo) -> Int64 {
        let created = (Timestamp(audit.created)?.nanoseconds ?? 0) / 1_000_000
        // Below 2^53, the last whole number that every JSON reader knows, until the year 2248.
        return max(created, 0) << 10 &+ Int64(clamping: sequence)
    }

    /// The coordinator's cursor over the alerts.
    static var alertConsumer: ConsumerConfig {
        var config = ConsumerConfig(durable: "coordinator")
        config.ackWait = .seconds(30)
        // Of the largest size they are as much as a subscription holds; more would be dropped.
        config.maxAckPending = Int(Connection.Pending.bytes) / Limits.messageBytes
        return config
    }
}
