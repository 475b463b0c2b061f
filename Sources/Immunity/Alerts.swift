import Protocol

extension Immunity {
    /// One alert: is it new, about what, and what does it change?
    mutating func handle(_ alert: Alert, _ sequence: UInt64, _ turn: inout Turn) {
        // A redelivery: its record is durable, and what follows from it is on its way.
        guard !state.alertSequences.contains(sequence) else { return }
        let key = IncidentKey(alert)
        if var rejection = rejection(of: alert, about: key, at: turn.time) {
            rejection.sequence = sequence
            return reject(rejection, &turn)
        }
        let time = alert.timestamp ?? turn.time
        func event(_ effect: AlertEvent.Effect, _ reason: String? = nil) -> AlertEvent {
            AlertEvent(
                alert: alert, sequence: sequence, effect: effect,
                incident: state.incidents[key]?.id, reason: reason)
        }
        if turn.time - time > policies.staleAfter {
            return refuseStale(event(.stale), at: time, &turn)
        }
        if let newest = newestReport(about: key) {
            // The same alert under another number, as a publisher's repeat has it.
            if newest.time == time, newest.alertID == alert.id { return }
            if isOutOfOrder(time, after: newest.time, at: turn.time) {
                let reason = "a report of \(newest.time) about the same symptom is newer"
                return record(.alert(event(.outOfOrder, reason)), &turn)
            }
        }
        if let incident = state.incidents[key] {
            alert.severity == .ok
                ? clear(incident, event(.cleared), &turn)
                : assert(incident, event(.repeated), &turn)
        } else if alert.severity != .ok {
            open(key, event(.opened), &turn)
        } else {
            remember(clearReport: time, about: key)
        }
    }

    /// The newest report about a symptom; an `ok` that changed nothing counts, but has no id.
    private func newestReport(about key: IncidentKey) -> (time: Timestamp, alertID: String?)? {
        let recorded: (time: Timestamp, alertID: String?)? =
            if let incident = state.incidents[key] {
                (incident.reportedAt, incident.alertID)
            } else if let report = state.lastReports[key] {
                (report.time, report.alertID)
            } else {
                nil
            }
        guard let clear = clearReports[key] else { return recorded }
        if let recorded, recorded.time >= clear { return recorded }
        return (clear, nil)
    }

    /// Whether a report is older than the newest. When that was in the future, the sender's clock was
    /// wrong and may have been set right since: then a report from the past is believed.
    private func isOutOfOrder(
        _ time: Timestamp, after newest: Timestamp, at now: Timestamp
    ) -> Bool {
        time < newest && (newest <= now || time > now)
    }

    private mutating func remember(clearReport time: Timestamp, about key: IncidentKey) {
        if clearReports.count >= State.memoryLimit { clearReports = [:] }
        clearReports[key] = time
    }

    private mutating func refuseStale(
        _ event: AlertEvent, at time: Timestamp, _ turn: inout Turn
    ) {
        var event = event
        let age = (turn.time - time).short
        let limit = policies.staleAfter.short
        event.reason = "stale: \(age) old; alerts older than \(limit) are not acted on"
        record(.alert(event), &turn)
        turn.directives.append(
            .reject(
                Rejection(
                    subject: Subjects.alert(event.alert.node), node: event.alert.node,
                    field: "timestamp", reason: event.reason ?? "",
                    excerpt: event.alert.id ?? "")))
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
            return rejection("node", Self.unknownNode(alert.node))
        }
        if let time = alert.timestamp, time - now > Limits.clockSkew {
            let ahead = (time - now).short
            return rejection("timestamp", "\(ahead) in the future: is the sender's clock right?")
        }
        guard state.incidents[key] == nil, alert.severity != .ok else { return nil }
        // Who sends heartbeats has a share that nobody else can use up.
        let isHeard = alert.agentID.map { nodes.hears($0, on: alert.node) } ?? false
        let shares = isHeard ? 1 : 2
        let (limit, limitOfType) = (State.openLimit / shares, State.openLimitOfType / shares)
        if state.incidents.count + state.undoing.count >= limit {
            return rejection("", "\(limit) incidents are open already")
        }
        if (state.openCounts[key.kin] ?? 0) >= limitOfType {
            return rejection(
                "", "\(limitOfType) incidents of \(key.type) are open on \(key.node) already")
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
        let stamp = state.nextStamp(node: key.node, at: turn.time)
        let resource = key.resource.isEmpty ? "" : ":\(key.resource)"
        event.incident = "\(key.node):\(key.type)\(resource):\(stamp)"
        record(.alert(event), &turn)
        clearReports[key] = nil
        decide(key, &turn)
        publish("incident_opened", state.incidents[key], &turn)
    }

    private mutating func clear(
        _ incident: Incident, _ event: AlertEvent, _ turn: inout Turn
    ) {
        guard incident.phase != .clearing else {
            return remember(
                clearReport: event.alert.timestamp ?? turn.time, about: incident.key)
        }
        var event = event
        let until = turn.time + stayClear(of: incident)
        event.until = until
        record(.alert(event), &turn)
        if until <= turn.time { resolve(incident.key, &turn) }
    }

    private mutating func assert(
        _ incident: Incident, _ event: AlertEvent, _ turn: inout Turn
    ) {
        var event = event
        let severity = event.alert.severity
        let silence = turn.time - incident.assertedAt
        if severity > incident.policySeverity,
            policies.policy(type: incident.key.type, severity: severity) != nil
        {
            event.effect = .worsened
            event.policySeverity = severity
        } else if incident.phase == .clearing {
            event.effect = .returned
        } else if severity < incident.severity {
            event.effect = .eased
        } else if severity == incident.severity, silence >= .zero, silence < Self.repeatFloor {
            return
        }
        if event.effect != .worsened, handsOver(incident, to: severity, at: turn.time) {
            event.policySeverity = severity
        }
        record(.alert(event), &turn)
        let before = incident
        guard let incident = state.incidents[incident.key] else { return }
        // A decision that waited only for a report such as this is due.
        let wasHeldBack = before.severity < before.policySeverity || silence > policies.staleAfter
        switch incident.phase {
        case .deciding where wasHeldBack || (incident.until.map { $0 <= turn.time } ?? true):
            decide(incident.key, &turn)
        case .verifying: verify(incident, &turn)
        default: break
        }
    }

    /// Whether what is asked for now is what the policy of a milder severity says: the symptom has eased,
    /// nothing is in force that holds it there, and nothing is under way.
    private func handsOver(_ incident: Incident, to severity: Severity, at now: Timestamp) -> Bool {
        guard severity < incident.policySeverity, incident.attemptsInForce.isEmpty,
            policies.policy(type: incident.key.type, severity: severity) != nil
        else { return false }
        switch incident.phase {
        case .deciding: return true
        // What its owner wants for the milder symptom may help where nothing did for the worse one. But
        // not while it passes by, as when a human is just mending it.
        case .escalated: return incident.severity == severity
        // What succeeded has helped as far as it could, and had its time.
        case .verifying: return incident.until.map { $0 <= now } ?? false
        default: return false
        }
    }

    /// The symptom is still reported after an action that succeeded: when its time is up and the
    /// policy's severity still holds, the rung has not helped. Unless the node has taken it back by
    /// itself, because nobody renewed it: that says nothing against the rung, which is tried again.
    /// What somebody else has changed is not tried again and nothing harsher is: it is left to them.
    mutating func verify(_ incident: Incident, _ turn: inout Turn) {
        if let attempt = incident.attempts.last, attempt.status == .superseded {
            return escalate(
                incident,
                "somebody else has changed what \(attempt.command.actionType) had set: left to "
                    + "humans from here on", &turn)
        }
        guard incident.severity >= incident.policySeverity, let attempt = incident.attempts.last,
            let finishedAt = attempt.finishedAt, incident.assertedAt > finishedAt
        else { return }
        let action = attempt.command.actionType
        var event = IncidentEvent(
            incident: incident.id, node: incident.key.node, change: .notVerified, reason: "")
        if let lapsedAt = attempt.lapsedAt {
            guard incident.assertedAt > lapsedAt else { return }
            event.isLapsed = true
            event.reason =
                "\(action) is not in force since \(lapsedAt)"
                + (attempt.reason.map { " (\($0))" } ?? "")
                + ", and the symptom was there at \(incident.assertedAt)"
        } else {
            guard let until = incident.until, until <= turn.time,
                !isInDoubt(attempt, at: turn.time)
            else { return }
            event.reason =
                "\(action) succeeded at \(finishedAt), but the symptom was still there at "
                + "\(incident.assertedAt)"
        }
        record(.incident(event), &turn)
        settle(BreakerKey(attempt.command, about: incident.key), &turn)
        decide(incident.key, &turn)
    }

    /// How long the symptom must stay away; immediately resolved when nothing was done about it.
    private func stayClear(of incident: Incident) -> Duration {
        guard !incident.attempts.isEmpty else { return .zero }
        let policy = policies.policy(type: incident.key.type, severity: incident.policySeverity)
        return policy?.stayClear ?? .zero
    }
}
