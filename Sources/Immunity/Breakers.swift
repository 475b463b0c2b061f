import Protocol

/// When breakers open and close.
extension Immunity {
    /// Brings a breaker to the state that the records ask for: opens it after too many failures or
    /// executions, and ends a trial whose outcome is known.
    ///
    /// It is asked after whatever may change it, and again before an action is decided on: a kill may
    /// have come between an outcome's record and the breaker's.
    mutating func settle(_ key: BreakerKey, _ turn: inout Turn) {
        guard let breaker = state.breakers[key] else { return }
        if let trial = breaker.trial {
            switch outcome(ofTrial: trial) {
            case .pending: break
            case .helped:
                let reason = "the trial \(trial) helped"
                record(
                    .breaker(BreakerEvent(key: key, change: .closed, reason: reason, until: nil)),
                    &turn)
                publish("breaker_closed", key, reason, &turn)
            case .failed(let reason): open(key, "the trial \(trial) \(reason)", &turn)
            }
        } else if let reason = breaker.openingReason(at: turn.time, policy: policies.breaker) {
            open(key, reason, &turn)
        }
    }

    /// Ends the trials that an incident made, when it is over.
    mutating func settleBreakers(of incident: Incident, _ turn: inout Turn) {
        for attempt in incident.attempts {
            let key = BreakerKey(attempt.command, about: incident.key)
            if state.breakers[key]?.trial == attempt.command.actionID { settle(key, &turn) }
        }
    }

    private enum TrialOutcome {
        case pending, helped
        case failed(String)
    }

    /// A trial has helped only when its incident was resolved after it had succeeded.
    private func outcome(ofTrial actionID: String) -> TrialOutcome {
        guard let incident = state.incident(ofAction: actionID),
            let attempt = incident.attempt(actionID)
        else { return .failed("is not known any more") }
        switch attempt.status {
        case .dispatched: return incident.isClosed ? .failed("was not answered") : .pending
        case .succeeded: break
        default: return .failed("failed")
        }
        if incident.phase == .resolved { return .helped }
        let isLast = incident.attempts.last?.command.actionID == actionID
        return isLast && incident.course.phase == .verifying
            ? .pending : .failed("was not verified")
    }

    private mutating func open(_ key: BreakerKey, _ reason: String, _ turn: inout Turn) {
        let until = turn.time + policies.breaker.openFor
        record(
            .breaker(BreakerEvent(key: key, change: .opened, reason: reason, until: until)), &turn)
        publish("breaker_opened", key, reason, &turn)
    }

    private func publish(
        _ type: String, _ key: BreakerKey, _ reason: String, _ turn: inout Turn
    ) {
        turn.directives.append(
            .publish(
                type: type,
                [
                    "breaker": .string(key.text), "node": .string(key.node),
                    "reason": .string(reason), "timestamp": .string(turn.time.description),
                ]))
    }
}
