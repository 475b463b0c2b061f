package import Protocol

/// One record of the audit stream: who, what, when, with what result. The payload is this as JSON, all
/// members at the top level; its chain is in the headers.
package struct Record: Sendable, Equatable {
    package var time: Timestamp
    /// Who caused it: an agent, an operator, or the coordinator itself.
    package var actor: String
    package var event: Event

    package init(time: Timestamp, actor: String, event: Event) {
        self.time = time
        self.actor = actor
        self.event = event
    }

    package var object: JSON.Object {
        var object: JSON.Object = [
            "kind": .string(event.kind), "time": .string(time.description),
            "actor": .string(actor),
        ]
        event.write(to: &object)
        return object
    }
}

extension Event {
    /// Stands for whoever sent a message that does not say whose it is: it may be anybody.
    package static let unknownActor = "unknown"

    /// Who caused it; `nil`: the coordinator itself.
    package var actor: String? {
        switch self {
        case .alert(let event): event.alert.agentID ?? Self.unknownActor
        case .result(let event):
            event.timedOut ? nil : event.result.agentID ?? Self.unknownActor
        case .operation(let event): event.actor
        default: nil
        }
    }

    func write(to object: inout JSON.Object) {
        switch self {
        case .started(let version, let configuration, let isAlertStreamNew):
            object["change"] = "started"
            object["version"] = .string(version)
            object["config"] = .string(configuration)
            object["alert_stream_is_new"] = isAlertStreamNew ? true : nil
        case .configured(let fingerprint, let refused):
            object["change"] = refused == nil ? "applied" : "refused"
            object["config"] = .string(fingerprint)
            object["reason"] = refused.map(JSON.string)
        case .alert(let event): event.write(to: &object)
        case .decision(let decision): decision.write(to: &object)
        case .result(let event): event.write(to: &object)
        case .incident(let event):
            object["node"] = .string(event.node)
            object["incident"] = .string(event.incident)
            object["change"] = .string(event.change.rawValue)
            object["reason"] = .string(event.reason)
            object["lapsed"] = event.isLapsed ? true : nil
        case .breaker(let event):
            object["node"] = .string(event.key.node)
            object["breaker"] = .string(event.key.text)
            object["change"] = .string(event.change.rawValue)
            object["reason"] = .string(event.reason)
            object["until"] = event.until.map { .string($0.description) }
        case .operation(let event):
            object["verb"] = .string(event.verb)
            object["parameters"] = .object(event.parameters)
            object["outcome"] = .string(event.outcome)
        case .rejected(let rejection): rejection.write(to: &object)
        case .clock(let reason): object["reason"] = .string(reason)
        }
    }
}

extension Rejection {
    /// The members of the record, and of the message on `skos.rejected.<node>`.
    package func write(to object: inout JSON.Object) {
        object["node"] = .string(node)
        object["subject"] = .string(subject)
        object["field"] = field.isEmpty ? nil : .string(field)
        object["reason"] = .string(reason)
        object["excerpt"] = excerpt.isEmpty ? nil : .string(excerpt)
        object["sequence"] = sequence.map { .integer(Int64(clamping: $0)) }
    }
}

extension AlertEvent {
    fileprivate func write(to object: inout JSON.Object) {
        object["node"] = .string(alert.node)
        object["incident"] = incident.map(JSON.string)
        object["effect"] = .string(effect.rawValue)
        object["policy_severity"] = policySeverity.map { .string($0.rawValue) }
        object["until"] = until.map { .string($0.description) }
        object["reason"] = reason.map(JSON.string)
        object["sequence"] = .integer(Int64(clamping: sequence))
        object["alert"] = .object(alert.object)
    }
}

extension Decision {
    fileprivate func write(to object: inout JSON.Object) {
        object["node"] = .string(node)
        object["incident"] = .string(incident)
        object["cause"] = cause.map(JSON.string)
        object["policy"] = .string(policy)
        object["rung"] = .integer(Int64(rung))
        object["action"] = action.isEmpty ? nil : .string(action)
        object["action_id"] = command.map { .string($0.actionID) }
        object["verdict"] = .string(verdict.rawValue)
        object["reason"] = .string(reason)
        object["until"] = until.map { .string($0.description) }
        object["guards"] = .array(
            guards.map {
                [
                    "guard": .string($0.name), "passed": .bool($0.passed),
                    "reason": .string($0.reason),
                ]
            })
        object["command"] = command.map { .object($0.object) }
    }
}

extension ResultEvent {
    fileprivate func write(to object: inout JSON.Object) {
        object["node"] = .string(result.node)
        object["incident"] = .string(incident)
        object["action"] = .string(result.actionType)
        object["action_id"] = .string(result.actionID)
        object["status"] = .string(
            timedOut && result.status == .done ? "timeout" : result.status.rawValue)
        object["outcome"] = result.outcome.map { .string($0.rawValue) }
        object["reason"] = result.reason.map(JSON.string)
        object["timed_out"] = timedOut ? true : nil
        object["until"] = until.map { .string($0.description) }
        object["result"] = .object(result.object)
    }
}
