package import Protocol

/// How incidents end, and what is taken back.
extension Immunity {
    /// Asks a human, once for each incident; the incident rests in any case.
    mutating func escalate(
        _ incident: Incident, _ reason: String, after decision: Decision? = nil,
        _ turn: inout Turn
    ) {
        let policy = "\(incident.key.type)/\(incident.policySeverity.rawValue)"
        record(
            .decision(
                decision
                    ?? Decision(
                        incident: incident.id, node: incident.key.node, policy: policy,
                        rung: incident.rung, action: "", verdict: .escalate, reason: reason,
                        guards: [], cause: incident.alertID)),
            &turn)
        if !incident.isEscalated { callHuman(incident, reason, &turn) }
    }

    /// Records that a human is asked, and says so.
    mutating func callHuman(_ incident: Incident, _ reason: String, _ turn: inout Turn) {
        record(
            .incident(
                IncidentEvent(
                    incident: incident.id, node: incident.key.node, change: .escalated,
                    reason: reason)),
            &turn)
        publish("escalation", state.incident(id: incident.id), reason: reason, &turn)
    }

    /// The events of the incidents about which a human was asked since a time and whose symptom lasts,
    /// oldest first. Of a coordinator that has ended nobody knows whether it could tell them.
    package func escalations(since time: Timestamp) -> [JSON.Object] {
        state.incidents.values
            .compactMap { incident in incident.escalatedAt.map { ($0, incident) } }
            .filter { at, incident in at >= time && incident.severity != .ok }
            .sorted { ($0.0, $0.1.id) < ($1.0, $1.1.id) }
            .map { at, incident in event(about: incident, reason: nil, at: at) }
    }

    /// The symptom stayed away: success is proven, and what was changed is taken back.
    mutating func resolve(_ key: IncidentKey, _ turn: inout Turn) {
        close(key, .resolved, "the symptom cleared and stayed clear", &turn)
    }

    /// Nobody has repeated the symptom for so long that nothing is known of it any more.
    mutating func expire(_ key: IncidentKey, _ turn: inout Turn) {
        close(key, .expired, "not repeated for \(policies.expireAfter.short)", &turn)
    }

    private mutating func close(
        _ key: IncidentKey, _ change: IncidentEvent.Change, _ reason: String, _ turn: inout Turn
    ) {
        guard let incident = state.incidents[key] else { return }
        record(
            .incident(
                IncidentEvent(
                    incident: incident.id, node: key.node, change: change, reason: reason)),
            &turn)
        settleBreakers(of: incident, &turn)
        if let over = state.undoing[incident.id] { requestUndos(of: over, &turn) }
        // The last report's words would be about a symptom that is gone.
        publish(
            "incident_\(change.rawValue)", state.incident(id: incident.id),
            message: change == .resolved ? reason : nil, reason: reason, &turn)
    }

    /// Asks to take back what an incident that is over still owes, the last first.
    mutating func requestUndos(of incident: Incident, _ turn: inout Turn) {
        for attempt in incident.attempts.reversed()
        where attempt.owesUndo && attempt.undoRequestedAt == nil {
            requestUndo(
                of: attempt, in: incident, reason: "incident \(incident.phase.rawValue)", &turn)
        }
    }

    /// Records and sends the command that takes an action back.
    mutating func requestUndo(
        of attempt: Attempt, in incident: Incident, reason: String, _ turn: inout Turn
    ) {
        let command = undoCommand(for: attempt, at: turn.time)
        record(
            .decision(
                Decision(
                    incident: incident.id, node: command.node,
                    policy: "\(incident.key.type)/\(attempt.policySeverity.rawValue)",
                    rung: attempt.rung, action: command.actionType, verdict: .undo,
                    reason: reason, guards: [], command: command, cause: incident.alertID)),
            &turn)
        turn.directives.append(.send(command))
        nextSend[command.actionID] = turn.time + Self.undoResendInterval
    }

    func undoCommand(for attempt: Attempt, at now: Timestamp) -> Command {
        var command = attempt.command
        command.operation = .undo
        command.timestamp = now.inMilliseconds
        // An undo is never too late.
        command.deadline = nil
        command.lease = nil
        command.epoch = epoch
        return command
    }

    func publish(
        _ type: String, _ incident: Incident?, message: String? = nil, reason: String? = nil,
        _ turn: inout Turn
    ) {
        guard let incident else { return }
        var event = event(about: incident, reason: reason, at: turn.time)
        event["message"] = message.map(JSON.string) ?? event["message"]
        turn.directives.append(.publish(type: type, event))
    }

    private func event(
        about incident: Incident, reason: String?, at time: Timestamp
    ) -> JSON.Object {
        var event: JSON.Object = [
            "incident": .string(incident.id), "node": .string(incident.key.node),
            "type": .string(incident.key.type), "severity": .string(incident.severity.rawValue),
        ]
        event["resource"] =
            incident.key.resource.isEmpty ? nil : .string(incident.key.resource)
        event["message"] = incident.message.isEmpty ? nil : .string(incident.message)
        event["reason"] = reason.map(JSON.string)
        event["drill"] = incident.isDrill ? true : nil
        event["dry_run"] = policies.dryRun ? true : nil
        event["timestamp"] = .string(time.description)
        return event
    }
}
