import Protocol

/// A coordinator whose clock was ahead has recorded times that are in the future once it is set right, or
/// once another coordinator takes over. Left alone they would hold cooldowns, breakers and waits for as
/// long as the clock was wrong.
extension Immunity {
    /// How far back time may go, between two inputs or two coordinators, without it being a step.
    package static let clockTolerance: Duration = .seconds(5)

    /// Notices that time has gone back, and brings what is in the future back to where it was meant.
    mutating func noticeStep(_ turn: inout Turn) {
        let last = max(latest ?? turn.time, state.newest)
        latest = turn.time
        guard last - turn.time > Self.clockTolerance else { return }
        if state.newest - turn.time > Self.clockTolerance {
            let step = (state.newest - turn.time).short
            record(
                .clock(reason: "it is \(step) before the last record: the clock was set back"),
                &turn)
        }
        nodes.stepBack(to: turn.time)
        nextSend = [:]
        doubts = [:]
        nextSweep = nil
        clearReports = [:]
        scheduleAll(at: turn.time)
    }
}

extension State {
    /// Moves every time that is in the future by as much as time has gone back.
    mutating func stepBack(to now: Timestamp) {
        let step = newest - now
        newest = now
        guard step > .zero else { return }
        func moved(_ time: Timestamp) -> Timestamp { time > now ? time - step : time }
        for (key, incident) in incidents { incidents[key] = incident.moved(moved) }
        for (id, incident) in undoing { undoing[id] = incident.moved(moved) }
        finished = finished.map { $0.moved(moved) }
        for (key, breaker) in breakers { breakers[key] = breaker.moved(moved) }
    }
}

extension Incident {
    // `reportedAt` is by the clock of the alert's sender, and stays.
    fileprivate func moved(_ move: (Timestamp) -> Timestamp) -> Incident {
        var incident = self
        incident.until = until.map(move)
        incident.resumption?.until = resumption?.until.map(move)
        incident.openedAt = move(openedAt)
        incident.assertedAt = move(assertedAt)
        incident.closedAt = closedAt.map(move)
        incident.attempts = attempts.map { attempt in
            var attempt = attempt
            attempt.command.timestamp = attempt.command.timestamp.map(move)
            attempt.command.deadline = attempt.command.deadline.map(move)
            attempt.finishedAt = attempt.finishedAt.map(move)
            attempt.undoRequestedAt = attempt.undoRequestedAt.map(move)
            attempt.undoneAt = attempt.undoneAt.map(move)
            return attempt
        }
        return incident
    }
}

extension Breaker {
    fileprivate func moved(_ move: (Timestamp) -> Timestamp) -> Breaker {
        var breaker = self
        breaker.failures = failures.map(move)
        breaker.executions = executions.map(move)
        breaker.openUntil = openUntil.map(move)
        return breaker
    }
}
