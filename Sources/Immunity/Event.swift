package import Protocol

/// One thing that happened, as the audit stream keeps it. Applying the events of the stream in order
/// rebuilds the durable state; nothing else changes it.
package indirect enum Event: Sendable, Equatable {
    /// A coordinator took over; the record's place in the stream is its epoch. When the alert stream was
    /// made anew since, its sequences begin again.
    case started(version: String, configuration: String, isAlertStreamNew: Bool)
    /// Another configuration is in force, or an edit was refused.
    case configured(fingerprint: String, refused: String?)
    case alert(AlertEvent)
    case decision(Decision)
    case result(ResultEvent)
    case incident(IncidentEvent)
    case breaker(BreakerEvent)
    /// An operator asked for something through the API.
    case operation(OperatorEvent)
    /// A message that could not be accepted.
    case rejected(Rejection)
    /// Time has gone back; what was recorded for the future is moved along.
    case clock(reason: String)

    /// The last token of the record's subject.
    package var kind: String {
        switch self {
        case .started: "coordinator"
        case .configured: "config"
        case .alert: "alert"
        case .decision: "decision"
        case .result: "result"
        case .incident: "incident"
        case .breaker: "breaker"
        case .operation: "operator"
        case .rejected: "rejected"
        case .clock: "clock"
        }
    }
}

/// An alert that was accepted, and what it did.
package struct AlertEvent: Sendable, Equatable {
    package enum Effect: String, Sendable, CaseIterable {
        case opened
        /// The same symptom again.
        case repeated
        /// Worse than before: a stronger policy takes over.
        case worsened
        /// Better than before, but not gone.
        case eased
        /// The symptom is gone; the incident waits whether it stays so.
        case cleared
        /// It came back before the incident was resolved.
        case returned
        /// Older than `stale_after`: not acted upon.
        case stale
        /// Older than another report about the same symptom: not acted upon.
        case outOfOrder = "out_of_order"
        /// No policy matches it.
        case noPolicy = "no_policy"
    }

    /// With its id, and its time.
    package var alert: Alert
    /// Its place in the alert stream.
    package var sequence: UInt64
    package var effect: Effect
    /// The incident it belongs to.
    package var incident: String?
    /// The end of the phase that it begins.
    package var until: Timestamp?
    /// The severity whose policy takes over, from its first rung.
    package var policySeverity: Severity?
    /// Why, for people.
    package var reason: String?

    package init(
        alert: Alert, sequence: UInt64, effect: Effect, incident: String? = nil,
        until: Timestamp? = nil, reason: String? = nil
    ) {
        self.alert = alert
        self.sequence = sequence
        self.effect = effect
        self.incident = incident
        self.until = until
        self.reason = reason
    }
}

/// What was decided about one rung, and each guard's word on it.
package struct Decision: Sendable, Equatable {
    package enum Verdict: String, Sendable, CaseIterable {
        /// The command is sent as soon as this record is durable.
        case dispatch
        /// Not now; again at `until`.
        case wait
        /// This rung cannot be used; on to the next.
        case skip
        /// Nothing is left to try.
        case escalate
        /// What an action changed is taken back.
        case undo
    }

    package struct Guard: Sendable, Equatable {
        package var name: String
        package var passed: Bool
        package var reason: String
    }

    package var incident: String
    package var node: String
    /// Such as `thermal/critical`.
    package var policy: String
    package var rung: Int
    /// The verb; empty when no rung is left.
    package var action: String
    package var verdict: Verdict
    package var reason: String
    package var guards: [Guard]
    /// With `dispatch` and `undo`.
    package var command: Command?
    /// With `wait`.
    package var until: Timestamp?
    /// The alert that brought it about.
    package var cause: String?
}

/// What an agent reported, or, without an agent, that it did not report in time.
package struct ResultEvent: Sendable, Equatable {
    package var result: CommandResult
    /// Empty for an action that no incident has asked for, such as a command by hand.
    package var incident: String
    /// Set when the deadline passed without a result.
    package var timedOut: Bool
    /// The end of the phase that it begins.
    package var until: Timestamp?
}

/// A turn in an incident that no alert, decision or result says.
package struct IncidentEvent: Sendable, Equatable {
    package enum Change: String, Sendable, CaseIterable {
        /// The last action succeeded, but the symptom did not clear in time.
        case notVerified = "not_verified"
        /// A human is asked.
        case escalated
        /// The symptom cleared and stayed clear.
        case resolved
        /// Nobody repeated the symptom.
        case expired
    }

    package var incident: String
    package var node: String
    package var change: Change
    package var reason: String
    /// With `notVerified`: the node had taken the action back by itself, so the same rung is tried again.
    package var isLapsed = false
}

/// A breaker changed its state.
package struct BreakerEvent: Sendable, Equatable {
    package enum Change: String, Sendable, CaseIterable { case opened, closed, reset }

    package var key: BreakerKey
    package var change: Change
    package var reason: String
    /// With `opened`.
    package var until: Timestamp?
}

/// An operator's request and whether it was granted.
package struct OperatorEvent: Sendable, Equatable {
    /// Such as `breaker_reset` or `undo`.
    package var verb: String
    /// Who asked, as far as the caller says.
    package var actor: String
    package var parameters: JSON.Object
    package var outcome: String
}

/// A message that was not acted on, and why.
package struct Rejection: Sendable, Equatable {
    package var subject: String
    package var node: String
    /// The field at fault; empty: the message as a whole.
    package var field: String
    package var reason: String
    /// The beginning of the message, printable; of an alert that could be read its id, of a heartbeat the
    /// agent's.
    package var excerpt: String
    /// Its place in the alert stream, when it came from there.
    package var sequence: UInt64?

    package init(
        subject: String, node: String, field: String, reason: String, excerpt: String,
        sequence: UInt64? = nil
    ) {
        self.subject = subject
        self.node = node
        self.field = field
        self.reason = reason
        self.excerpt = excerpt
        self.sequence = sequence
    }
}
