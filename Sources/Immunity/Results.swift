import Protocol

/// What agents answer.
extension Immunity {
    mutating func handle(_ result: CommandResult, _ turn: inout Turn) {
        guard let incident = state.incident(ofAction: result.actionID),
            let attempt = incident.attempt(result.actionID)
        else { return recordForeign(result, &turn) }
        guard attempt.command.node == result.node else { return }
        var result = result
        // Agents in other languages may leave it out; the record must say what was done.
        if result.actionType.isEmpty { result.actionType = attempt.command.actionType }
        let isFinished = attempt.status != .dispatched && attempt.status != .unknown
        switch result.status {
        case .accepted:
            guard attempt.status == .dispatched else { return }
            nextSend[result.actionID] = turn.time + resendInterval(of: attempt.command)
            turn.touched.append(incident.id)
        case .done:
            // A repeat says nothing new; the late word on what had to be taken for lost does.
            guard !isFinished else { return }
            finish(result, attempt, incident, timedOut: false, &turn)
        case .refused where !isFinished:
            finish(result, attempt, incident, timedOut: false, &turn)
        case .refused, .undone:
            if result.status == .refused, result.outcome == .transientFailure {
                // A renewal that came too late may have found nothing to renew.
                doubts[result.actionID] = turn.time + Self.answerTime
                turn.touched.append(incident.id)
            }
            // Refused: a renewal or an undo of what the agent does not hold, or cannot take back.
            guard attempt.undoneAt == nil, attempt.isInForce || result.status == .undone,
                result.outcome != .transientFailure
            else { return }
            finish(result, attempt, incident, timedOut: false, &turn)
        }
    }

    /// Records an outcome and goes on from it.
    mutating func finish(
        _ result: CommandResult, _ attempt: Attempt, _ incident: Incident, timedOut: Bool,
        _ turn: inout Turn
    ) {
        let key = incident.key
        var event = ResultEvent(
            result: result, incident: incident.id, timedOut: timedOut, until: nil)
        guard event.isAboutExecution(of: attempt) else {
            record(.result(event), &turn)
            publishFailedUndo(result, attempt, timedOut: timedOut, &turn)
            guard result.outcome == .superseded, let open = state.incidents[key],
                open.id == incident.id, open.phase == .verifying
            else { return }
            return verify(open, &turn)
        }
        let policy = policies.policy(type: key.type, severity: attempt.policySeverity)
        if result.outcome == .succeeded, result.status == .done {
            event.until = turn.time + (policy?.verify ?? .zero)
            if attempt.undoRequestedAt == nil {
                nextSend[result.actionID] = turn.time + renewalInterval(of: attempt.command)
            }
        } else if event.isUntried {
            event.until = turn.time + Self.busyPause
        } else if result.outcome == .transientFailure {
            event.until = turn.time + (policy?.cooldown ?? .zero)
        }
        record(.result(event), &turn)
        settle(BreakerKey(attempt.command, about: key), &turn)
        publishHealing(result, attempt, incident, &turn)
        guard let open = state.incidents[key], open.id == incident.id, open.phase == .deciding,
            open.until.map({ $0 <= turn.time }) ?? true
        else { return }
        decide(key, &turn)
    }

    /// How often a command without an outcome is sent again: some times before its deadline.
    func resendInterval(of command: Command) -> Duration {
        guard let deadline = command.deadline, let issued = command.timestamp else {
            return Self.resendInterval
        }
        return min(max((deadline - issued) / 4, Self.resendFloor), Self.resendInterval)
    }

    /// How often a lease is renewed: two renewals may be lost.
    func renewalInterval(of command: Command) -> Duration {
        max((command.lease ?? .zero) / 3, Self.renewalFloor)
    }

    private func publishHealing(
        _ result: CommandResult, _ attempt: Attempt, _ incident: Incident, _ turn: inout Turn
    ) {
        let succeeded = result.status == .done && result.outcome == .succeeded
        var event: JSON.Object = [
            "incident": .string(incident.id), "node": .string(result.node),
            "action_id": .string(result.actionID),
            "action_type": .string(attempt.command.actionType),
            "outcome": .string(result.outcome?.rawValue ?? result.status.rawValue),
        ]
        event["reason"] = result.reason.map(JSON.string)
        event["dry_run"] = attempt.command.dryRun ? true : nil
        event["timestamp"] = .string(turn.time.description)
        turn.directives.append(
            .publish(type: succeeded ? "healing_executed" : "healing_failed", event))
    }

    /// Says so when what was to be taken back may still be in force.
    private func publishFailedUndo(
        _ result: CommandResult, _ attempt: Attempt, timedOut: Bool, _ turn: inout Turn
    ) {
        guard attempt.undoRequestedAt != nil, attempt.isInForce,
            result.status == .refused || result.outcome == .permanentFailure
                || (timedOut && attempt.command.lease == nil)
        else { return }
        var event: JSON.Object = [
            "node": .string(result.node), "action_id": .string(result.actionID),
            "action_type": .string(attempt.command.actionType),
        ]
        event["incident"] = attempt.command.incident.map(JSON.string)
        event["reason"] = result.reason.map(JSON.string)
        event["timestamp"] = .string(turn.time.description)
        turn.directives.append(.publish(type: "undo_failed", event))
    }
}
