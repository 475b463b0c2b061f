package import Protocol

/// One record of the audit stream: who, what, when, with what result. The payload is this as JSON, all
/// members at the top level; its chain is in the headers.
package struct Record: Sendable, Equatable, ObjectEncodable {
    package var time: Timestamp
    /// Who caused it: an agent, an operator, or the coordinator itself.
    package var actor: String
    package var event: Event

    package init(time: Timestamp, actor: String, event: Event) {
        self.time = time
        self.actor = actor
        self.event = event
    }

    package func write(to object: inout ObjectWriter) {
        object.put("kind", event.kind)
        object.put("time", time)
        object.put("actor", actor)
        event.write(to: &object)
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

    func write(to object: inout ObjectWriter) {
        switch self {
        case .started(let version, let configuration, let isAlertStreamNew):
            object.put("change", "started")
            object.put("version", version)
            object.put("config", configuration)
            object.put("alert_stream_is_new", isAlertStreamNew ? true : nil)
        case .configured(let fingerprint, let refused):
            object.put("change", refused == nil ? "applied" : "refused")
            object.put("config", fingerprint)
            object.put("reason", refused)
        case .alert(let event): event.write(to: &object)
        case .decision(let decision): decision.write(to: &object)
        case .result(let event): event.write(to: &object)
        case .incident(let event):
            object.put("node", event.node)
            object.put("incident", event.incident)
            object.put("change", event.change.rawValue)
            object.put("reason", event.reason)
            object.put("lapsed", event.isLapsed ? true : nil)
        case .breaker(let event):
            object.put("node", event.key.node)
            object.put("breaker", event.key.text)
            object.put("change", event.change.rawValue)
            object.put("reason", event.reason)
            object.put("until", event.until)
        case .operation(let event):
            object.put("verb", event.verb)
            object.put("parameters", event.parameters)
            object.put("outcome", event.outcome)
        case .rejected(let rejection): rejection.write(to: &object)
        case .clock(let reason): object.put("reason", reason)
        }
    }
}

extension Rejection: ObjectEncodable {
    /// The members of the record, and of the message on `skos.rejected.<node>`.
    package func write(to object: inout ObjectWriter) {
        object.put("node", node)
        object.put("subject", subject)
        object.put("field", field.isEmpty ? nil : field)
        object.put("reason", reason)
        object.put("excerpt", excerpt.isEmpty ? nil : excerpt)
        object.put("sequence", sequence.map { Int64(clamping: $0) })
    }
}

extension AlertEvent {
    fileprivate func write(to object: inout ObjectWriter) {
        object.put("node", alert.node)
        object.put("incident", incident)
        object.put("effect", effect.rawValue)
        object.put("policy_severity", policySeverity?.rawValue)
        object.put("until", until)
        object.put("reason", reason)
        object.put("sequence", Int64(clamping: sequence))
        object.put("alert", alert)
    }
}

extension Decision {
    fileprivate func write(to object: inout ObjectWriter) {
        object.put("node", node)
        object.put("incident", incident)
        object.put("cause", cause)
        object.put("policy", policy)
        object.put("rung", Int64(rung))
        object.put("action", action.isEmpty ? nil : action)
        object.put("action_id", command?.actionID)
        object.put("verdict", verdict.rawValue)
        object.put("reason", reason)
        object.put("until", until)
        object.put("guards", guards)
        object.put("command", command)
    }
}

extension Decision.Guard: ObjectEncodable {
    package func write(to object: inout ObjectWriter) {
        object.put("guard", name)
        object.put("passed", passed)
        object.put("reason", reason)
    }
}

extension ResultEvent {
    fileprivate func write(to object: inout ObjectWriter) {
        object.put("node", result.node)
        object.put("incident", incident)
        object.put("action", result.actionType)
        object.put("action_id", result.actionID)
        object.put(
            "status", timedOut && result.status == .done ? "timeout" : result.status.rawValue)
        object.put("outcome", result.outcome?.rawValue)
        object.put("reason", result.reason)
        object.put("timed_out", timedOut ? true : nil)
        object.put("until", until)
        object.put("result", result)
    }
}
