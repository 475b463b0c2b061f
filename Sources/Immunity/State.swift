package import Protocol

/// Everything that must survive a kill: rebuilt by applying the audit stream's events in order.
package struct State: Sendable, Equatable {
    /// Incidents that are not over.
    package internal(set) var incidents: [IncidentKey: Incident] = [:]
    /// Incidents that are over but whose undo commands are not all answered, and the last few that are
    /// over altogether; oldest first.
    package internal(set) var closed: [Incident] = []
    package internal(set) var breakers: [BreakerKey: Breaker] = [:]
    /// The highest place in the alert stream that has been recorded; what comes again is a redelivery.
    package internal(set) var alertSequence: UInt64 = 0
    /// When each symptom was last reported, for symptoms whose incident is over: an older report that
    /// arrives late must not open it again.
    package internal(set) var lastReports: [IncidentKey: Timestamp] = [:]
    /// The ids given out last on each node, so that none is given twice within a second.
    package internal(set) var stamps: [String: Int64] = [:]
    /// How many incidents are open on each node.
    package internal(set) var openCounts: [String: Int] = [:]
    /// Where an open incident's id belongs.
    package internal(set) var keyOfIncident: [String: IncidentKey] = [:]
    /// Where an action in flight or in force belongs.
    package internal(set) var incidentOfAction: [String: IncidentKey] = [:]

    package init() {}

    /// How many incidents that are over are kept for `skos incidents`; older ones are in the audit.
    package static let closedLimit = 1000
    /// How many incidents may be open at once; alerts about more are rejected.
    package static let openLimit = 20_000
    package static let openLimitPerNode = 64
    /// How many late reports and used ids are remembered before old ones are dropped.
    package static let memoryLimit = 20_000
    /// How many attempts of one incident are kept; the oldest that hold nothing are dropped first.
    package static let attemptLimit = 64

    /// The open incident with an id, or a closed one that is still kept.
    package func incident(id: String) -> Incident? {
        keyOfIncident[id].flatMap { incidents[$0] } ?? closed.last { $0.id == id }
    }

    /// Takes one event of the audit stream into account.
    package mutating func apply(_ event: Event, at time: Timestamp) {
        switch event {
        case .started(_, _, let isAlertStreamNew): if isAlertStreamNew { alertSequence = 0 }
        case .configured, .operation, .rejected: break
        case .alert(let event): apply(event, at: time)
        case .decision(let decision): apply(decision, at: time)
        case .result(let event): apply(event, at: time)
        case .incident(let event): apply(event, at: time)
        case .breaker(let event):
            switch event.change {
            case .opened:
                breakers[event.key, default: Breaker()].open(
                    until: event.until ?? time, reason: event.reason)
            case .closed, .reset: breakers[event.key]?.close()
            }
        }
    }

    // MARK: Alerts

    private mutating func apply(_ event: AlertEvent, at time: Timestamp) {
        alertSequence = max(alertSequence, event.sequence)
        let alert = event.alert
        let key = IncidentKey(node: alert.node, type: alert.type, resource: alert.resource)
        let reportedAt = alert.timestamp ?? time
        switch event.effect {
        case .stale, .outOfOrder, .noPolicy: return
        case .opened:
            guard let id = event.incident else { return }
            stamp(id, node: alert.node, at: time)
            keyOfIncident[id] = key
            openCounts[key.node, default: 0] += 1
            incidents[key] = Incident(
                id: id, key: key, phase: .deciding, until: nil, severity: alert.severity,
                policySeverity: alert.severity, openedAt: time, assertedAt: time,
                reportedAt: reportedAt, alertID: alert.id ?? "", message: alert.message ?? "",
                alertCount: 1, isDrill: alert.drill, rung: 0, attempts: [], isEscalated: false)
            return
        case .repeated, .worsened, .eased, .cleared, .returned: break
        }
        guard var incident = incidents[key] else { return }
        incident.reportedAt = max(incident.reportedAt, reportedAt)
        incident.alertID = alert.id ?? incident.alertID
        incident.alertCount += 1
        if event.effect == .cleared {
            incident.phase = .clearing
            incident.until = event.until
            incident.severity = .ok
        } else {
            incident.assertedAt = time
            incident.severity = alert.severity
            incident.message = alert.message ?? incident.message
            incident.isDrill = alert.drill
        }
        if event.effect == .worsened {
            incident.policySeverity = alert.severity
            incident.rung = 0
            incident.phase = .deciding
            incident.until = nil
        }
        if event.effect == .returned { resume(&incident) }
        incidents[key] = incident
    }

    /// The symptom is back before the incident was resolved: what was under way goes on.
    private func resume(_ incident: inout Incident) {
        if incident.isEscalated {
            incident.phase = .escalated
            incident.until = nil
        } else if let attempt = incident.attempts.last, attempt.status == .dispatched {
            incident.phase = .acting
            incident.until = attempt.command.deadline
        } else if let attempt = incident.attempts.last, attempt.status == .succeeded,
            attempt.isInForce
        {
            // It has had its time; the next report of the policy's severity ends the rung.
            incident.phase = .verifying
            incident.until = attempt.finishedAt
        } else {
            incident.phase = .deciding
            incident.until = nil
        }
    }

    // MARK: Decisions and results

    private mutating func apply(_ decision: Decision, at time: Timestamp) {
        if decision.verdict == .undo {
            guard let id = decision.command?.actionID else { return }
            change(attempt: id) { $0.undoRequestedAt = time }
            return
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
            dropOldAttempts(of: &incident)
            incident.phase = .acting
            incident.until = command.deadline
            incidentOfAction[command.actionID] = key
            let breakerKey = BreakerKey(
                node: key.node, action: command.actionType, resource: key.resource)
            breakers[breakerKey, default: Breaker()].executed(command.actionID, at: time)
        case .wait:
            incident.phase = .deciding
            incident.until = decision.until
        case .skip:
            incident.rung += 1
            incident.phase = .deciding
            incident.until = nil
        case .escalate, .undo: break
        }
        incidents[key] = incident
    }

    private mutating func apply(_ event: ResultEvent, at time: Timestamp) {
        let result = event.result
        if result.status == .undone {
            change(attempt: result.actionID) { $0.undoneAt = time }
            forgetFinishedActions()
            return
        }
        var failedAction: String?
        change(attempt: result.actionID) { attempt in
            attempt.finishedAt = time
            attempt.reason = result.reason
            attempt.status = event.timedOut ? .unknown : Self.status(of: result)
            attempt.isReversible = result.undo != nil
            if attempt.status != .succeeded {
                failedAction = attempt.command.actionType
            }
        }
        guard let key = incidentOfAction[result.actionID] else { return }
        if let failedAction { failed(failedAction, about: key, at: time) }
        guard var incident = incidents[key],
            incident.phase == .acting, incident.attempts.last?.command.actionID == result.actionID
        else { return }
        if let attempt = incident.attempts.last {
            switch attempt.status {
            case .succeeded:
                incident.phase = .verifying
                incident.until = event.until
            case .transientFailure:
                incident.phase = .deciding
                incident.until = event.until
            default:
                incident.rung = attempt.rung + 1
                incident.phase = .deciding
                incident.until = nil
            }
        }
        incidents[key] = incident
    }

    private mutating func failed(_ action: String, about key: IncidentKey, at time: Timestamp) {
        let key = BreakerKey(node: key.node, action: action, resource: key.resource)
        breakers[key, default: Breaker()].failed(at: time)
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

    private mutating func apply(_ event: IncidentEvent, at time: Timestamp) {
        guard let key = keyOfIncident[event.incident], var incident = incidents[key] else { return }
        switch event.change {
        case .notVerified:
            guard let attempt = incident.attempts.last else { return }
            failed(attempt.command.actionType, about: key, at: time)
            incident.rung = attempt.rung + 1
            incident.phase = .deciding
            incident.until = nil
            incidents[key] = incident
        case .escalated:
            incident.isEscalated = true
            incident.phase = .escalated
            incident.until = nil
            incidents[key] = incident
        case .resolved, .expired:
            incident.phase = event.change == .resolved ? .resolved : .expired
            incident.until = nil
            incident.closedAt = time
            incidents[key] = nil
            keyOfIncident[incident.id] = nil
            let open = (openCounts[key.node] ?? 1) - 1
            openCounts[key.node] = open > 0 ? open : nil
            remember(report: incident.reportedAt, about: key)
            closed.append(incident)
            forgetFinishedActions()
        }
    }

    private mutating func remember(report time: Timestamp, about key: IncidentKey) {
        if lastReports.count >= Self.memoryLimit {
            // The oldest half goes; which of several with the same time does not depend on hashing.
            let sorted = lastReports.sorted { ($0.value, $0.key) < ($1.value, $1.key) }
            for (key, _) in sorted.prefix(Self.memoryLimit / 2) { lastReports[key] = nil }
        }
        lastReports[key] = time
    }

    /// Changes one attempt wherever its incident is.
    private mutating func change(attempt actionID: String, _ body: (inout Attempt) -> Void) {
        if let key = incidentOfAction[actionID], var incident = incidents[key],
            let index = incident.attempts.lastIndex(where: { $0.command.actionID == actionID })
        {
            body(&incident.attempts[index])
            incidents[key] = incident
            return
        }
        for position in closed.indices.reversed() {
            let attempts = closed[position].attempts
            guard let index = attempts.lastIndex(where: { $0.command.actionID == actionID })
            else { continue }
            body(&closed[position].attempts[index])
            return
        }
    }

    /// Drops closed incidents past the limit that hold nothing, and the index of their actions.
    private mutating func forgetFinishedActions() {
        while closed.count > Self.closedLimit {
            let index = closed.firstIndex { $0.attemptsInForce.isEmpty } ?? 0
            for attempt in closed[index].attempts {
                incidentOfAction[attempt.command.actionID] = nil
            }
            closed.remove(at: index)
        }
    }

    private mutating func dropOldAttempts(of incident: inout Incident) {
        guard incident.attempts.count > Self.attemptLimit,
            let index = incident.attempts.firstIndex(where: { !$0.isInForce })
        else { return }
        incidentOfAction[incident.attempts.remove(at: index).command.actionID] = nil
    }

    // MARK: Names

    /// The number for the next id on a node: the time in seconds, or one more than the last.
    package func nextStamp(node: String, at now: Timestamp) -> Int64 {
        max(now.seconds, (stamps[node] ?? .min) &+ 1)
    }

    private mutating func stamp(_ id: String, node: String, at time: Timestamp) {
        guard let colon = id.lastIndex(of: ":"), let stamp = Int64(id[id.index(after: colon)...])
        else { return }
        if stamps.count >= Self.memoryLimit {
            stamps = stamps.filter { $0.value >= time.seconds }
        }
        stamps[node] = max(stamps[node] ?? .min, stamp)
    }
}
