import Protocol

extension Immunity {
    /// Asks a human, once for each incident.
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
        let isFirst = !incident.isEscalated
        record(
            .incident(
                IncidentEvent(
                    incident: incident.id, node: incident.key.node, change: .escalated,
                    reason: reason)),
            &turn)
        if isFirst { publish("escalation", state.incidents[incident.key], reason: reason, &turn) }
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
        let policy = policies.policy(type: key.type, severity: incident.policySeverity)
        record(
            .incident(
                IncidentEvent(
                    incident: incident.id, node: key.node, change: change, reason: reason)),
            &turn)
        if change == .resolved { closeBreakers(after: incident, &turn) }
        if policy?.undo ?? true {
            for attempt in incident.attemptsInForce.reversed() where attempt.undoRequestedAt == nil
            {
                requestUndo(of: attempt, in: incident, reason: "incident \(change.rawValue)", &turn)
            }
        }
        publish("incident_\(change.rawValue)", state.incident(id: incident.id), &turn)
    }

    /// Records and sends the command that takes an action back.
    mutating func requestUndo(
        of attempt: Attempt, in incident: Incident, reason: String, _ turn: inout Turn
    ) {
        let command = undoCommand(for: attempt, at: turn.now)
        record(
            .decision(
                Decision(
                    incident: incident.id, node: command.node,
                    policy: "\(incident.key.type)/\(attempt.policySeverity.rawValue)",
                    rung: attempt.rung, action: command.actionType, verdict: .undo,
                    reason: reason, guards: [], command: command, cause: incident.alertID)),
            &turn)
        turn.directives.append(.send(command))
        nextSend[command.actionID] = turn.now + Self.undoResendInterval
        due(at: turn.now + Self.undoResendInterval)
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
        _ type: String, _ incident: Incident?, reason: String? = nil, _ turn: inout Turn
    ) {
        guard let incident else { return }
        var event: JSON.Object = [
            "incident": .string(incident.id), "node": .string(incident.key.node),
            "type": .string(incident.key.type), "severity": .string(incident.severity.rawValue),
        ]
        event["resource"] =
            incident.key.resource.isEmpty ? nil : .string(incident.key.resource)
        event["message"] = incident.message.isEmpty ? nil : .string(incident.message)
        event["reason"] = reason.map(JSON.string)
        event["timestamp"] = .string(turn.now.description)
        turn.directives.append(.publish(type: type, event))
    }

    // MARK: Results

    mutating func handle(_ result: CommandResult, _ turn: inout Turn) {
        guard let key = state.incidentOfAction[result.actionID],
            let incident = holder(of: result.actionID, about: key),
            let attempt = incident.attempts.last(where: {
                $0.command.actionID == result.actionID
            }), attempt.command.node == result.node
        else { return }
        switch result.status {
        case .accepted:
            accepted.insert(result.actionID)
            return
        case .refused, .done:
            // A repeat; or the late word on what had to be taken for lost.
            guard attempt.status == .dispatched || attempt.status == .unknown,
                attempt.undoneAt == nil
            else { return }
        case .undone:
            guard attempt.undoneAt == nil else { return }
        }
        forgetSending(result.actionID, unlessUndoing: attempt, result.status)
        var result = result
        // Agents in other languages may leave it out; the record must say what was done.
        if result.actionType.isEmpty { result.actionType = attempt.command.actionType }
        finish(result, attempt, incident, timedOut: false, &turn)
    }

    private func holder(of actionID: String, about key: IncidentKey) -> Incident? {
        func holds(_ incident: Incident) -> Bool {
            incident.attempts.contains { $0.command.actionID == actionID }
        }
        if let open = state.incidents[key], holds(open) { return open }
        return state.closed.last(where: holds)
    }

    private mutating func forgetSending(
        _ actionID: String, unlessUndoing attempt: Attempt, _ status: CommandResult.Status
    ) {
        accepted.remove(actionID)
        if status == .undone || attempt.undoRequestedAt == nil { nextSend[actionID] = nil }
    }

    /// Records an outcome and goes on from it.
    mutating func finish(
        _ result: CommandResult, _ attempt: Attempt, _ incident: Incident, timedOut: Bool,
        _ turn: inout Turn
    ) {
        let key = incident.key
        let policy = policies.policy(type: key.type, severity: attempt.policySeverity)
        var event = ResultEvent(
            result: result, incident: incident.id, timedOut: timedOut, until: nil)
        if result.status == .done, result.outcome == .succeeded {
            event.until = turn.now + (policy?.verify ?? .zero)
        } else if result.outcome == .transientFailure {
            event.until = turn.now + (policy?.cooldown ?? .zero)
        }
        record(.result(event), &turn)
        due(at: event.until)
        if result.status != .undone, result.outcome != .succeeded {
            checkBreaker(of: attempt, about: key, &turn)
        }
        publishHealing(result, incident, &turn)
        guard let open = state.incidents[key], open.phase == .deciding,
            open.until.map({ $0 <= turn.now }) ?? true
        else {
            undoLateSuccess(of: result.actionID, in: incident, &turn)
            return
        }
        decide(key, &turn)
    }

    /// An action that turns out to have been done after its incident was over is taken back.
    private mutating func undoLateSuccess(
        of actionID: String, in incident: Incident, _ turn: inout Turn
    ) {
        guard let closed = state.closed.last(where: { $0.id == incident.id }),
            let attempt = closed.attempts.last(where: { $0.command.actionID == actionID }),
            attempt.isInForce, attempt.undoRequestedAt == nil,
            policies.policy(type: closed.key.type, severity: attempt.policySeverity)?.undo ?? true
        else { return }
        requestUndo(of: attempt, in: closed, reason: "its incident is over", &turn)
    }

    private func publishHealing(
        _ result: CommandResult, _ incident: Incident, _ turn: inout Turn
    ) {
        guard result.status == .done else { return }
        let type =
            result.outcome == .succeeded ? "healing_executed" : "healing_failed"
        var event: JSON.Object = [
            "incident": .string(incident.id), "node": .string(result.node),
            "action_id": .string(result.actionID), "action_type": .string(result.actionType),
            "outcome": .string(result.outcome?.rawValue ?? ""),
        ]
        event["reason"] = result.reason.map(JSON.string)
        event["timestamp"] = .string(turn.now.description)
        turn.directives.append(.publish(type: type, event))
    }
}
