import Protocol

extension Immunity {
    /// One alert: is it new, about what, and what does it change?
    mutating func handle(_ alert: Alert, _ sequence: UInt64, _ turn: inout Turn) {
        // A redelivery: its record is durable, and what follows from it is on its way.
        guard sequence > state.alertSequence else { return }
        let key = IncidentKey(node: alert.node, type: alert.type, resource: alert.resource)
        if let rejection = rejection(of: alert, about: key, at: turn.now) {
            return reject(rejection, &turn)
        }
        let time = alert.timestamp ?? turn.now
        func event(_ effect: AlertEvent.Effect, _ reason: String? = nil) -> AlertEvent {
            AlertEvent(
                alert: alert, sequence: sequence, effect: effect,
                incident: state.incidents[key]?.id, reason: reason)
        }
        if turn.now - time > policies.staleAfter {
            let age = (turn.now - time).short
            let reason =
                "\(age) old; alerts older than \(policies.staleAfter.short) are not acted on"
            record(.alert(event(.stale, "stale: \(reason)")), &turn)
            turn.directives.append(
                .reject(
                    Rejection(
                        subject: Subjects.alert(alert.node), node: alert.node, field: "timestamp",
                        reason: "stale: \(reason)", excerpt: alert.id ?? "")))
            return
        }
        let newest = state.incidents[key]?.reportedAt ?? state.lastReports[key]
        if let newest, time < newest {
            let reason = "a report of \(newest) about the same symptom is newer"
            return record(.alert(event(.outOfOrder, reason)), &turn)
        }
        if let incident = state.incidents[key] {
            alert.severity == .ok
                ? clear(incident, event(.cleared), &turn)
                : assert(incident, event(.repeated), &turn)
        } else if alert.severity != .ok {
            open(key, event(.opened), &turn)
        }
        // `ok` about something that has no incident changes nothing and is not recorded.
    }

    private func rejection(
        of alert: Alert, about key: IncidentKey, at now: Timestamp
    ) -> Rejection? {
        func rejection(_ field: String, _ reason: String) -> Rejection {
            Rejection(
                subject: Subjects.alert(alert.node), node: alert.node, field: field,
                reason: reason, excerpt: alert.id ?? "")
        }
        if let known = policies.nodes, !known.contains(alert.node) {
            return rejection("node", "unknown node \"\(alert.node)\": add it under nodes:")
        }
        if let time = alert.timestamp, time - now > Limits.clockSkew {
            let ahead = (time - now).short
            return rejection("timestamp", "\(ahead) in the future: is the sender's clock right?")
        }
        if state.incidents[key] == nil, state.incidents.count >= State.openLimit,
            alert.severity != .ok
        {
            return rejection("", "\(State.openLimit) incidents are open already")
        }
        if state.incidents[key] == nil, alert.severity != .ok,
            (state.openCounts[key.node] ?? 0) >= State.openLimitPerNode
        {
            return rejection(
                "", "\(State.openLimitPerNode) incidents are open on \(key.node) already")
        }
        return nil
    }

    private mutating func open(_ key: IncidentKey, _ event: AlertEvent, _ turn: inout Turn) {
        var event = event
        guard policies.policy(type: key.type, severity: event.alert.severity) != nil else {
            event.effect = .noPolicy
            event.reason =
                "no policy for \(key.type)/\(event.alert.severity.rawValue): add one to config.yaml"
            return record(.alert(event), &turn)
        }
        let stamp = state.nextStamp(node: key.node, at: turn.now)
        let resource = key.resource.isEmpty ? "" : ":\(key.resource)"
        event.incident = "\(key.node):\(key.type)\(resource):\(stamp)"
        record(.alert(event), &turn)
        decide(key, &turn)
        publish("incident_opened", state.incidents[key], &turn)
    }

    private mutating func clear(
        _ incident: Incident, _ event: AlertEvent, _ turn: inout Turn
    ) {
        guard incident.phase != .clearing else { return }
        var event = event
        let until = turn.now + stayClear(of: incident)
        event.until = until
        record(.alert(event), &turn)
        if until <= turn.now { resolve(incident.key, &turn) } else { due(at: until) }
    }

    private mutating func assert(
        _ incident: Incident, _ event: AlertEvent, _ turn: inout Turn
    ) {
        var event = event
        let severity = event.alert.severity
        if severity > incident.policySeverity,
            policies.policy(type: incident.key.type, severity: severity) != nil
        {
            event.effect = .worsened
        } else if incident.phase == .clearing {
            event.effect = .returned
        } else if severity < incident.severity {
            event.effect = .eased
        } else if severity == incident.severity,
            turn.now - incident.assertedAt < Self.repeatFloor, incident.phase != .deciding
        {
            return
        }
        record(.alert(event), &turn)
        guard let incident = state.incidents[incident.key] else { return }
        switch incident.phase {
        case .deciding:
            if incident.until.map({ $0 <= turn.now }) ?? true { decide(incident.key, &turn) }
        case .verifying: verify(incident, &turn)
        default: break
        }
    }

    /// The symptom is still reported after an action that succeeded: when its time is up and the
    /// policy's severity still holds, the rung has not helped.
    mutating func verify(_ incident: Incident, _ turn: inout Turn) {
        guard let until = incident.until, until <= turn.now,
            incident.severity >= incident.policySeverity, let attempt = incident.attempts.last,
            let finishedAt = attempt.finishedAt, incident.assertedAt > finishedAt
        else { return }
        failVerification(of: attempt, in: incident, &turn)
    }

    /// The action was done, is still in force, and has not helped: on to the next rung.
    private mutating func failVerification(
        of attempt: Attempt, in incident: Incident, _ turn: inout Turn
    ) {
        let finishedAt = attempt.finishedAt.map { " at \($0)" } ?? ""
        record(
            .incident(
                IncidentEvent(
                    incident: incident.id, node: incident.key.node, change: .notVerified,
                    reason: "\(attempt.command.actionType) succeeded\(finishedAt), but the symptom "
                        + "was there at \(incident.assertedAt)")),
            &turn)
        checkBreaker(of: attempt, about: incident.key, &turn)
        decide(incident.key, &turn)
    }

    /// How long the symptom must stay away; immediately resolved when nothing was done about it.
    private func stayClear(of incident: Incident) -> Duration {
        guard !incident.attempts.isEmpty else { return .zero }
        let policy = policies.policy(type: incident.key.type, severity: incident.policySeverity)
        return policy?.stayClear ?? .zero
    }
}
