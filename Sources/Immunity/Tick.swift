import Protocol

extension Immunity {
    /// Time has passed: ends phases that are over, sends again what was not answered, renews leases.
    mutating func tick(_ turn: inout Turn) {
        if nextSweep.map({ $0 <= turn.time }) ?? true {
            nextSweep = turn.time + Self.sweepInterval
            for change in nodes.sweep(at: turn.time, timeout: policies.heartbeatTimeout) {
                publish(change, &turn)
            }
            for naming in nodes.findNamesakes(
                at: turn.time, timeout: policies.heartbeatTimeout)
            { tell(naming, &turn) }
        }
        while let id = agenda.popDue(at: turn.time) {
            lookAt(id, &turn)
            turn.touched.append(id)
        }
    }

    private mutating func lookAt(_ id: String, _ turn: inout Turn) {
        if let incident = open(id) { timeOutAttempts(of: incident, &turn) }
        if let incident = open(id) { endPhase(of: incident, &turn) }
        if let incident = state.undoing[id] { requestUndos(of: incident, &turn) }
        guard let incident = open(id) ?? state.undoing[id] else { return }
        for attempt in incident.attempts { pursue(attempt, of: incident, &turn) }
    }

    private func open(_ id: String) -> Incident? {
        state.keyOfIncident[id].flatMap { state.incidents[$0] }
    }

    // MARK: Phases

    private mutating func timeOutAttempts(of incident: Incident, _ turn: inout Turn) {
        for attempt in incident.attempts
        where attempt.status == .dispatched && timeout(of: attempt) <= turn.time {
            let command = attempt.command
            var result = CommandResult(
                actionID: command.actionID, actionType: command.actionType, node: command.node,
                status: .done, outcome: .permanentFailure,
                reason: "no result came before the deadline; it may or may not have been done")
            result.incident = incident.id
            finish(result, attempt, incident, timedOut: true, &turn)
        }
    }

    private func timeout(of attempt: Attempt) -> Timestamp {
        (attempt.command.deadline ?? attempt.command.timestamp ?? Timestamp(nanoseconds: .min))
            + Self.resultGrace
    }

    private mutating func endPhase(of incident: Incident, _ turn: inout Turn) {
        let isOver = incident.until.map { $0 <= turn.time } ?? true
        switch incident.phase {
        case .clearing:
            if isOver { resolve(incident.key, &turn) }
            return
        case .acting: return
        case .verifying: verify(incident, &turn)
        // A kill may have come between the decision and the call.
        case .escalated where !incident.isEscalated:
            callHuman(incident, "nothing was left to try", &turn)
        case .deciding, .escalated, .resolved, .expired: break
        }
        guard let incident = open(incident.id), incident.phase != .acting else { return }
        if turn.time - incident.assertedAt >= policies.expireAfter {
            expire(incident.key, &turn)
        } else if incident.phase == .deciding, incident.until.map({ $0 <= turn.time }) ?? true {
            decide(incident.key, &turn)
        }
    }

    // MARK: Commands

    /// What is still to be sent about an attempt, again and again until it is answered.
    private enum Duty { case execute, renew, undo }

    private func duty(about attempt: Attempt, of incident: Incident, at now: Timestamp) -> Duty? {
        if attempt.isInForce, attempt.undoRequestedAt != nil { return .undo }
        guard !incident.isClosed else { return nil }
        switch attempt.status {
        case .dispatched:
            // What has cleared is not acted upon, not even by a repeat; nor are two machines at once.
            guard incident.phase != .clearing, now <= attempt.command.deadline ?? now,
                nodes.ambiguity(of: incident.key.node) == nil
            else { return nil }
            return .execute
        case .succeeded: return attempt.isInForce && attempt.command.lease != nil ? .renew : nil
        default: return nil
        }
    }

    private mutating func pursue(
        _ attempt: Attempt, of incident: Incident, _ turn: inout Turn
    ) {
        guard let duty = duty(about: attempt, of: incident, at: turn.time) else { return }
        let id = attempt.command.actionID
        if duty == .undo, undoLimit(of: attempt) <= turn.time {
            return giveUpUndo(of: attempt, incident, &turn)
        }
        if let next = nextSend[id], next > turn.time { return }
        switch duty {
        case .execute:
            var command = attempt.command
            command.epoch = epoch
            turn.directives.append(.send(command))
            nextSend[id] = turn.time + resendInterval(of: command)
        case .renew:
            if mayHaveLapsed(attempt, at: turn.time) { doubts[id] = turn.time + Self.answerTime }
            var command = attempt.command
            command.operation = .renew
            command.epoch = epoch
            command.timestamp = turn.time.inMilliseconds
            command.deadline = (turn.time + (command.lease ?? .zero)).inMilliseconds
            turn.directives.append(.send(command))
            nextSend[id] = turn.time + renewalInterval(of: command)
        case .undo:
            turn.directives.append(.send(undoCommand(for: attempt, at: turn.time)))
            let asked = attempt.undoRequestedAt ?? turn.time
            let isLate = turn.time - asked > (attempt.command.lease ?? .zero) + Self.leaseGrace
            nextSend[id] =
                turn.time + (isLate ? Self.lateUndoResendInterval : Self.undoResendInterval)
        }
    }

    /// Whether nobody has renewed an action for its lease, as far as this coordinator knows: it has hung,
    /// or has just begun.
    private func mayHaveLapsed(_ attempt: Attempt, at now: Timestamp) -> Bool {
        guard let next = nextSend[attempt.command.actionID] else { return true }
        let interval = renewalInterval(of: attempt.command)
        return now - next >= max((attempt.command.lease ?? .zero) - interval, Self.answerTime)
    }

    /// Whether the node may have taken an action back by itself without the word of it having come yet.
    func isInDoubt(_ attempt: Attempt, at now: Timestamp) -> Bool {
        guard attempt.isInForce, attempt.command.lease != nil else { return false }
        return doubts[attempt.command.actionID].map { now < $0 } ?? false
            || mayHaveLapsed(attempt, at: now)
    }

    /// Until when an undo is sent again: until the node's own lease must have run out.
    private func undoLimit(of attempt: Attempt) -> Timestamp {
        (attempt.undoRequestedAt ?? Timestamp(nanoseconds: .min))
            + (attempt.command.lease.map { $0 + Self.leaseGrace } ?? Self.undoPatience)
    }

    private mutating func giveUpUndo(
        of attempt: Attempt, _ incident: Incident, _ turn: inout Turn
    ) {
        let reason =
            attempt.command.lease == nil
            ? "not answered for \(Self.undoPatience.short); the node may still be changed"
            : "not answered; the node's own lease has run out"
        var result = CommandResult(
            actionID: attempt.command.actionID, actionType: attempt.command.actionType,
            node: attempt.command.node, status: .undone, reason: reason)
        result.incident = incident.id
        finish(result, attempt, incident, timedOut: true, &turn)
    }

    // MARK: Agenda

    /// Notes when an incident is to be looked at next, and forgets what is not to be sent any more.
    mutating func reschedule(_ id: String, at now: Timestamp) {
        guard let incident = state.incident(id: id) else { return agenda.schedule(id, at: nil) }
        var next = phaseEnd(of: incident, at: now)
        for attempt in incident.attempts {
            let action = attempt.command.actionID
            guard let duty = duty(about: attempt, of: incident, at: now) else {
                nextSend[action] = nil
                doubts[action] = nil
                continue
            }
            let sending = nextSend[action] ?? now
            next = min(next ?? sending, sending)
            if duty == .undo { next = min(next ?? sending, undoLimit(of: attempt)) }
        }
        agenda.schedule(id, at: next)
    }

    /// When something about an open incident ends by itself.
    private func phaseEnd(of incident: Incident, at now: Timestamp) -> Timestamp? {
        guard !incident.isClosed else { return nil }
        var end: Timestamp?
        for attempt in incident.attempts where attempt.status == .dispatched {
            end = min(end ?? timeout(of: attempt), timeout(of: attempt))
        }
        if incident.phase == .verifying, let last = incident.attempts.last,
            let answered = doubts[last.command.actionID], answered > now
        {
            end = min(end ?? answered, answered)
        }
        let expiry = incident.assertedAt + policies.expireAfter
        let own: Timestamp? =
            switch incident.phase {
            case .acting: nil
            case .clearing: incident.until ?? now
            case .deciding: min(expiry, incident.until ?? now)
            // Its time may be up while no new report has come; the next report ends it.
            case .verifying: incident.until.flatMap { $0 > now ? min($0, expiry) : nil } ?? expiry
            case .escalated, .resolved, .expired: expiry
            }
        return [end, own].compactMap { $0 }.min()
    }
}
