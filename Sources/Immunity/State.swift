package import Protocol

/// Everything that must survive a kill: rebuilt by applying the audit stream's events in order.
///
/// What applies an event decides nothing: each change follows from the event and the state alone,
/// without policies or clock, so that a replay under another configuration comes to the same state.
package struct State: Sendable, Equatable {
    /// Incidents that are not over.
    package internal(set) var incidents: [IncidentKey: Incident] = [:]
    /// Incidents that are over, but something they did is still to be taken back; by id.
    package internal(set) var undoing: [String: Incident] = [:]
    /// The last incidents that are over altogether, oldest first.
    package internal(set) var finished: [Incident] = []
    package internal(set) var breakers: [BreakerKey: Breaker] = [:]
    /// The places in the alert stream that have been recorded: what comes again is a redelivery.
    package internal(set) var alertSequences = SequenceSet()
    /// The last report of each symptom whose incident is over: an older one that arrives late must not
    /// open it again.
    package internal(set) var lastReports: [IncidentKey: Report] = [:]
    /// The numbers given out last on each node, so that none is given twice.
    package internal(set) var stamps: [String: Int64] = [:]
    /// At least the highest number ever given out on the nodes that `stamps` has forgotten.
    package internal(set) var stampFloor = Int64.min
    /// How many incidents are open of each type on each node, by `IncidentKey.kin`.
    package internal(set) var openCounts: [IncidentKey: Int] = [:]
    /// Where an open incident's id belongs.
    package internal(set) var keyOfIncident: [String: IncidentKey] = [:]
    /// The incident of each action of the incidents above.
    package internal(set) var incidentOfAction: [String: String] = [:]

    /// The latest time of any record, unless the clock was set back since.
    package internal(set) var newest = Timestamp(nanoseconds: .min)

    package init() {}

    /// A report about a symptom: when it was made, and its alert's id.
    package struct Report: Sendable, Equatable {
        package var time: Timestamp
        package var alertID: String
    }

    /// How many incidents that are over are kept for `skos incidents`, at least; older ones are in the
    /// audit.
    package static let finishedLimit = 1000
    /// How many finished incidents are dropped at once, when there are so many too many.
    static let finishedSlack = 250
    /// How many incidents may be open or undoing at once; alerts about more are rejected. Half of them are
    /// for agents that send heartbeats: what anybody floods the bus with keeps no agent from being heard.
    package static let openLimit = 20_000
    /// How many of one type may be open on one node; half of them for agents that send heartbeats.
    package static let openLimitOfType = 128
    /// How many late reports, used numbers and breakers are remembered before old ones are dropped.
    package static let memoryLimit = 20_000
    /// How many attempts one incident may make; then only a human can help.
    package static let attemptLimit = 64

    /// The highest place in the alert stream that has been recorded.
    package var alertSequence: UInt64 { alertSequences.highest }

    /// The incidents that are over, as far as they are kept, in the order they ended.
    package var closed: [Incident] {
        (undoing.values + finished).sorted {
            ($0.closedAt ?? $0.openedAt, $0.id) < ($1.closedAt ?? $1.openedAt, $1.id)
        }
    }

    /// The open incident with an id, or a closed one that is still kept.
    package func incident(id: String) -> Incident? {
        keyOfIncident[id].flatMap { incidents[$0] } ?? undoing[id] ?? finished.last { $0.id == id }
    }

    /// The incident that an action belongs to.
    package func incident(ofAction actionID: String) -> Incident? {
        incidentOfAction[actionID].flatMap { incident(id: $0) }
    }

    /// Takes one event of the audit stream into account.
    package mutating func apply(_ event: Event, at time: Timestamp) {
        defer { newest = max(newest, time) }
        switch event {
        case .started(_, _, let isAlertStreamNew):
            if isAlertStreamNew { alertSequences = SequenceSet() }
        case .configured, .operation: break
        case .clock: stepBack(to: time)
        case .rejected(let rejection):
            if let sequence = rejection.sequence { alertSequences.insert(sequence) }
        case .alert(let event): apply(event, at: time)
        case .decision(let decision): apply(decision, at: time)
        case .result(let event): apply(event, at: time)
        case .incident(let event): apply(event, at: time)
        case .breaker(let event):
            switch event.change {
            case .opened:
                remember(event.key) { $0.open(until: event.until ?? time, reason: event.reason) }
            case .closed, .reset: breakers[event.key]?.close()
            }
        }
    }

    // MARK: Alerts

    private mutating func apply(_ event: AlertEvent, at time: Timestamp) {
        alertSequences.insert(event.sequence)
        let alert = event.alert
        let key = IncidentKey(alert)
        switch event.effect {
        case .stale, .outOfOrder, .noPolicy: return
        case .opened: return open(event, key, at: time)
        case .repeated, .worsened, .eased, .cleared, .returned: break
        }
        guard var incident = incidents[key] else { return }
        incident.reportedAt = alert.timestamp ?? time
        incident.alertID = alert.id ?? incident.alertID
        incident.alertCount += 1
        if event.effect == .cleared {
            incident.resumption = incident.course
            incident.phase = .clearing
            incident.until = event.until
            incident.severity = .ok
        } else {
            incident.assertedAt = time
            incident.severity = alert.severity
            incident.message = alert.message ?? incident.message
        }
        if event.effect == .returned { incident.resume(at: time) }
        if let severity = event.policySeverity {
            incident.policySeverity = severity
            incident.rung = 0
            incident.resumption = nil
            incident.phase = .deciding
            incident.until = nil
        }
        incidents[key] = incident
    }

    private mutating func open(_ event: AlertEvent, _ key: IncidentKey, at time: Timestamp) {
        let alert = event.alert
        guard let id = event.incident, incidents[key] == nil else { return }
        stamp(id, node: alert.node, at: time)
        keyOfIncident[id] = key
        openCounts[key.kin, default: 0] += 1
        incidents[key] = Incident(
            id: id, key: key, phase: .deciding, until: nil, severity: alert.severity,
            policySeverity: alert.severity, openedAt: time, assertedAt: time,
            reportedAt: alert.timestamp ?? time, alertID: alert.id ?? "",
            message: alert.message ?? "", alertCount: 1, rung: 0, attempts: [],
            isEscalated: false)
    }
}
