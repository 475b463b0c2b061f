import Protocol

extension Immunity {
    /// Time has passed: ends phases that are over, sends again what was not answered, renews leases.
    mutating func tick(_ turn: inout Turn) {
        if nextSweep.map({ $0 <= turn.now }) ?? true {
            nextSweep = turn.now + Self.sweepInterval
            for change in nodes.sweep(at: turn.now, timeout: policies.heartbeatTimeout) {
                publish(change, &turn)
            }
        }
        guard let nextDue, nextDue <= turn.now else { return }
        self.nextDue = nil
        for key in state.incidents.keys.sorted() {
            guard let incident = state.incidents[key] else { continue }
            endPhase(of: incident, &turn)
            guard let incident = state.incidents[key] else { continue }
            keepUp(incident, &turn)
            due(at: wakeUp(for: incident))
        }
        for incident in state.closed {
            for attempt in incident.attemptsInForce where attempt.undoRequestedAt != nil {
                pressUndo(attempt, incident, &turn)
            }
        }
    }

    private func wakeUp(for incident: Incident) -> Timestamp {
        let expiry = incident.assertedAt + policies.expireAfter
        switch incident.phase {
        case .acting: return min(expiry, (incident.until ?? expiry) + Self.resultGrace)
        case .deciding, .clearing: return min(expiry, incident.until ?? expiry)
        // Its time may be up while no new report has come; the next report ends it.
        case .verifying:
            return incident.until.map { $0 > incident.assertedAt ? $0 : expiry } ?? expiry
        case .escalated, .resolved, .expired: return expiry
        }
    }

    private mutating func endPhase(of incident: Incident, _ turn: inout Turn) {
        let now = turn.now
        let isOver = incident.until.map { $0 <= now } ?? true
        switch incident.phase {
        case .clearing where isOver: return resolve(incident.key, &turn)
        case .acting:
            guard let until = incident.until, until + Self.resultGrace <= now,
                let attempt = incident.attempts.last
            else { return }
            return timeOut(attempt, incident, &turn)
        case .verifying: verify(incident, &turn)
        default: break
        }
        guard let incident = state.incidents[incident.key], incident.phase != .clearing,
            incident.phase != .acting
        else { return }
        if now - incident.assertedAt >= policies.expireAfter {
            expire(incident.key, &turn)
        } else if incident.phase == .deciding, isOver {
            decide(incident.key, &turn)
        }
    }

    private mutating func timeOut(
        _ attempt: Attempt, _ incident: Incident, _ turn: inout Turn
    ) {
        let command = attempt.command
        var result = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: command.node,
            status: .done, outcome: .permanentFailure,
            reason: "no result came before the deadline; it may or may not have been done")
        result.incident = incident.id
        nextSend[command.actionID] = nil
        accepted.remove(command.actionID)
        finish(result, attempt, incident, timedOut: true, &turn)
    }

    /// Sends again what is not answered, and renews the leases of what is in force.
    private mutating func keepUp(_ incident: Incident, _ turn: inout Turn) {
        for attempt in incident.attemptsInForce {
            let id = attempt.command.actionID
            if attempt.undoRequestedAt != nil {
                pressUndo(attempt, incident, &turn)
                continue
            }
            let isInFlight = attempt.status == .dispatched
            if isInFlight, accepted.contains(id) { continue }
            if isInFlight, let deadline = attempt.command.deadline, turn.now > deadline { continue }
            guard isInFlight || attempt.status == .succeeded else { continue }
            if let next = nextSend[id], next > turn.now {
                due(at: next)
                continue
            }
            var command = attempt.command
            var interval = Self.resendInterval
            if !isInFlight {
                guard let lease = command.lease else { continue }
                command.operation = .renew
                command.timestamp = turn.now.inMilliseconds
                command.deadline = (turn.now + lease).inMilliseconds
                interval = lease / 3
            }
            command.epoch = epoch
            turn.directives.append(.send(command))
            nextSend[id] = turn.now + interval
            due(at: turn.now + interval)
        }
    }

    /// Sends an undo again until it is answered, or until the node's own lease must have run out.
    private mutating func pressUndo(
        _ attempt: Attempt, _ incident: Incident, _ turn: inout Turn
    ) {
        let id = attempt.command.actionID
        let limit = (attempt.command.lease ?? .zero) + Self.leaseGrace
        guard let asked = attempt.undoRequestedAt, turn.now < asked + limit else {
            var result = CommandResult(
                actionID: id, actionType: attempt.command.actionType, node: attempt.command.node,
                status: .undone, reason: "not answered; the node's own lease has run out")
            result.incident = incident.id
            nextSend[id] = nil
            return record(
                .result(
                    ResultEvent(result: result, incident: incident.id, timedOut: true, until: nil)),
                &turn)
        }
        if let next = nextSend[id], next > turn.now { return due(at: next) }
        turn.directives.append(.send(undoCommand(for: attempt, at: turn.now)))
        nextSend[id] = turn.now + Self.undoResendInterval
        due(at: turn.now + Self.undoResendInterval)
    }
}
