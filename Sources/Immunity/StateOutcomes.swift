import Protocol

extension State {
    // MARK: Decisions

    mutating func apply(_ decision: Decision, at time: Timestamp) {
        if decision.verdict == .undo {
            guard let id = decision.command?.actionID else { return }
            return change(attempt: id) { $0.undoRequestedAt = time }
        }
        guard let key = keyOfIncident[decision.incident], var incident = incidents[key] else {
            return
        }
        incident.rung = decision.rung
        switch decision.verdict {
        case .dispatch:
            guard let command = decision.command else { return }
            stamp(command.actionID, node: key.node, at: time)
            incident.attempts.append(
                Attempt(
                    command: command, rung: decision.rung,
                    policySeverity: incident.policySeverity))
            incident.proceed(to: .acting, until: command.deadline)
            incidentOfAction[command.actionID] = incident.id
            remember(BreakerKey(command, about: key)) { $0.executed(command.actionID, at: time) }
        case .wait: incident.proceed(to: .deciding, until: decision.until)
        case .skip:
            incident.rung += 1
            incident.proceed(to: .deciding)
        case .escalate: incident.proceed(to: .escalated)
        case .undo: break
        }
        incidents[key] = incident
    }

    // MARK: Results

    mutating func apply(_ event: ResultEvent, at time: Timestamp) {
        let id = event.result.actionID
        guard let incident = incident(ofAction: id), let attempt = incident.attempt(id) else {
            return
        }
        guard event.isAboutExecution(of: attempt) else {
            return change(attempt: id) {
                $0.undoneAt = time
                $0.isUndoneOnRequest = event.result.isAsked
                // Somebody else has changed what it had set; that is theirs now.
                if event.result.outcome == .superseded { $0.status = .superseded }
                $0.reason = event.result.reason ?? $0.reason
            }
        }
        let status = event.timedOut ? .unknown : Self.status(of: event.result)
        change(attempt: id) {
            $0.finishedAt = time
            $0.reason = event.result.reason
            $0.status = status
            $0.isReversible = event.result.undo != nil
            $0.isUntried = event.isUntried && attempt.status == .dispatched
        }
        // The failure of an attempt counts once, also when its late word is another failure.
        if status != .succeeded, attempt.status == .dispatched {
            remember(BreakerKey(attempt.command, about: incident.key)) {
                event.isUntried ? $0.withdraw(attempt.command) : $0.failed(at: time)
            }
        }
        guard var open = incidents[incident.key], open.id == incident.id,
            open.course.phase == .acting, open.attempts.last?.command.actionID == id
        else { return }
        switch status {
        case .succeeded: open.proceed(to: .verifying, until: event.until)
        case .transientFailure: open.proceed(to: .deciding, until: event.until)
        default:
            open.rung = attempt.rung + 1
            open.proceed(to: .deciding)
        }
        incidents[open.key] = open
    }

    private static func status(of result: CommandResult) -> Attempt.Status {
        if result.status == .refused {
            return result.outcome == .transientFailure ? .transientFailure : .permanentFailure
        }
        return switch result.outcome {
        case .succeeded: .succeeded
        case .transientFailure: .transientFailure
        case .superseded: .superseded
        case .cancelled: .cancelled
        case .permanentFailure, nil: .permanentFailure
        }
    }

    // MARK: Ends

    mutating func apply(_ event: IncidentEvent, at time: Timestamp) {
        guard let key = keyOfIncident[event.incident], var incident = incidents[key] else { return }
        switch event.change {
        case .notVerified:
            guard let attempt = incident.attempts.last else { return }
            if event.isLapsed {
                incident.rung = attempt.rung
            } else {
                remember(BreakerKey(attempt.command, about: key)) { $0.failed(at: time) }
                incident.rung = attempt.rung + 1
            }
            incident.proceed(to: .deciding)
            incidents[key] = incident
        case .escalated:
            incident.isEscalated = true
            incident.escalatedAt = time
            incident.proceed(to: .escalated)
            incidents[key] = incident
        case .resolved, .expired:
            incident.phase = event.change == .resolved ? .resolved : .expired
            incident.until = nil
            incident.resumption = nil
            incident.closedAt = time
            incidents[key] = nil
            keyOfIncident[incident.id] = nil
            let open = (openCounts[key.kin] ?? 1) - 1
            openCounts[key.kin] = open > 0 ? open : nil
            remember(Report(time: incident.reportedAt, alertID: incident.alertID), about: key)
            keep(incident)
        }
    }

    /// Changes one attempt wherever its incident is.
    private mutating func change(attempt actionID: String, _ body: (inout Attempt) -> Void) {
        guard let id = incidentOfAction[actionID], var incident = incident(id: id),
            let index = incident.attempts.lastIndex(where: { $0.command.actionID == actionID })
        else { return }
        body(&incident.attempts[index])
        guard incident.isClosed else { return incidents[incident.key] = incident }
        if undoing.removeValue(forKey: id) == nil { finished.removeAll { $0.id == id } }
        keep(incident)
    }

    /// Keeps an incident that is over: where something is to be taken back, until that is done.
    private mutating func keep(_ incident: Incident) {
        guard !incident.isUndoing else { return undoing[incident.id] = incident }
        finished.append(incident)
        guard finished.count >= Self.finishedLimit + Self.finishedSlack else { return }
        for old in finished.prefix(Self.finishedSlack) {
            for attempt in old.attempts { incidentOfAction[attempt.command.actionID] = nil }
        }
        finished.removeFirst(Self.finishedSlack)
    }
}

extension ResultEvent {
    /// Whether the action was not even looked at, since its agent had no time.
    var isUntried: Bool {
        result.status == .refused && result.isBusy && result.outcome == .transientFailure
    }

    /// Whether it says what became of executing the action, and not of renewing or undoing it.
    func isAboutExecution(of attempt: Attempt) -> Bool {
        switch result.status {
        case .undone: false
        case .accepted, .done, .refused:
            attempt.status == .dispatched || attempt.status == .unknown
        }
    }
}
