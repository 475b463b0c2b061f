package import Protocol

/// The decision core: alerts, results, heartbeats and time in; records, commands and events out.
///
/// Pure and deterministic: it has no clock and does no I/O. Whatever it wants to remember it appends
/// as an `Event`, and the state changes only by applying events, so that the audit stream alone
/// rebuilds it. A kill may come between any two records of one input, so every step must follow from
/// the state alone: what one input left undone, the next tick after a restart does.
package struct Immunity: Sendable {
    /// What happened. Boxed, as are directives and events: they are large, and go through many hands.
    package indirect enum Input: Sendable {
        /// An alert, complete with id and timestamp, and its place in the alert stream.
        case alert(Alert, sequence: UInt64)
        case result(CommandResult)
        case heartbeat(Heartbeat)
        /// Time has passed.
        case tick
        case rejected(Rejection)
        /// An agent says that it could not accept a message.
        case rejectedByAgent(Rejection)
        case configured(PolicySet, fingerprint: String)
        /// An edit of the configuration that was not accepted.
        case configurationRefused(fingerprint: String, reason: String)
        /// An operator asks for something.
        case resetBreaker(BreakerKey?, actor: String)
        /// An operator asks to undo what an incident or an action changed.
        case undo(id: String, actor: String)
    }

    /// What the shell must do, in this order.
    package indirect enum Directive: Sendable, Equatable {
        /// Append it to the audit stream. What follows waits until it is durable.
        case append(Event)
        /// Publish it to `skos.command.<node>`.
        case send(Command)
        /// Publish it to `skos.event.<type>`.
        case publish(type: String, JSON.Object)
        /// Publish it to `skos.rejected.<node>`.
        case reject(Rejection)
        /// The answer to an operator's input.
        case answer(String, granted: Bool)
    }

    package internal(set) var state: State
    package internal(set) var nodes: Nodes
    package internal(set) var policies: PolicySet
    /// The coordinator's term: the place of its `started` record in the audit stream.
    package var epoch: Int64

    // Soft state, which a restart may lose:

    /// When each incident is to be looked at.
    var agenda = Agenda()
    var nextSweep: Timestamp?
    /// The time of the last input.
    var latest: Timestamp?
    /// When each command in flight, renewal and undo is to be sent next. After a restart everything is
    /// sent again at once, which agents answer from their journals.
    var nextSend: [String: Timestamp] = [:]
    /// Until when an agent may answer that an action is not in force any more, about which there was
    /// reason to ask.
    var doubts: [String: Timestamp] = [:]
    /// Results of others that have been recorded, and nodes of heartbeats that have been rejected.
    var foreignResults: Set<String> = []
    var strangers: Set<String> = []
    /// What an agent has rejected last, and when.
    var agentRejection: (rejection: Rejection, time: Timestamp)?
    /// The newest `ok` about each symptom that changed nothing and so was not recorded.
    var clearReports: [IncidentKey: Timestamp] = [:]

    /// Time between two sendings of a command without an outcome, at most. Also of one that was
    /// accepted: the agent may have ended before its journal knew of it, and the repeat is answered with
    /// the outcome should that have been lost.
    package static let resendInterval: Duration = .seconds(2)
    /// The least time between two sendings, where a deadline is so near that there must be more.
    package static let resendFloor: Duration = .milliseconds(500)
    /// Time between two sendings of an undo that is not answered, for as long as a lease; then, and for
    /// what has no lease, the longer time.
    package static let undoResendInterval: Duration = .seconds(5)
    package static let lateUndoResendInterval: Duration = .seconds(60)
    /// How long after its deadline a command's result is waited for.
    package static let resultGrace: Duration = .seconds(5)
    /// How much longer than its lease an undo that nobody answers is sent for: then the node has
    /// undone it by itself.
    package static let leaseGrace: Duration = .seconds(60)
    /// How long an undo that nobody answers is sent for when the action has no lease.
    package static let undoPatience: Duration = .seconds(24 * 3600)
    /// How long after an agent had no time for an action it is asked again, and how often in one incident.
    package static let busyPause: Duration = .seconds(10)
    package static let busyLimit = 12
    /// How long the answer to a renewal is awaited when the action may not be in force any more.
    package static let answerTime: Duration = .seconds(2)
    /// The least time between two renewals of one lease.
    package static let renewalFloor: Duration = .seconds(1)
    /// Repeats of one alert closer together than this are not recorded.
    package static let repeatFloor: Duration = .seconds(1)
    /// Time between two looks at a breaker that waits for the trial of another incident.
    package static let trialInterval: Duration = .seconds(30)
    /// Time between two looks at all agents' last heartbeats.
    package static let sweepInterval: Duration = .seconds(1)

    package init(
        state: State = State(), policies: PolicySet, epoch: Int64 = 0, nodes: Nodes = Nodes()
    ) {
        self.nodes = nodes
        self.state = state
        self.policies = policies
        self.epoch = epoch
        // Whatever was under way before a restart is looked at on the first tick.
        scheduleAll(at: Timestamp(nanoseconds: .min))
    }

    /// Takes one input into account and says what to do about it.
    package mutating func handle(_ input: Input, at now: Timestamp) -> [Directive] {
        var turn = Turn(time: now)
        noticeStep(&turn)
        switch input {
        case .alert(let alert, let sequence): handle(alert, sequence, &turn)
        case .result(let result): handle(result, &turn)
        case .heartbeat(let heartbeat): handle(heartbeat, &turn)
        case .tick: tick(&turn)
        case .rejected(let rejection): reject(rejection, &turn)
        case .rejectedByAgent(let rejection): record(rejectedByAgent: rejection, &turn)
        case .configured(let policies, let fingerprint):
            self.policies = policies
            strangers = []
            record(.configured(fingerprint: fingerprint, refused: nil), &turn)
            scheduleAll(at: now)
        case .configurationRefused(let fingerprint, let reason):
            let reason = reason.shortened(to: Limits.textBytes)
            record(.configured(fingerprint: fingerprint, refused: reason), &turn)
        case .resetBreaker(let key, let actor): resetBreaker(key, actor, &turn)
        case .undo(let id, let actor): undo(id, actor, &turn)
        }
        for id in turn.touched { reschedule(id, at: now) }
        return turn.directives
    }

    /// When the shell should tick next at the latest for incidents to go on in time.
    package var nextTick: Timestamp? { agenda.next }

    /// The directives of one input, its time, and the incidents that it concerned.
    struct Turn {
        let time: Timestamp
        var directives: [Directive] = []
        var touched: [String] = []
    }

    /// Appends an event and applies it: the only way the durable state changes.
    mutating func record(_ event: Event, _ turn: inout Turn) {
        state.apply(event, at: turn.time)
        turn.directives.append(.append(event))
        if let incident = event.incident, turn.touched.last != incident {
            turn.touched.append(incident)
        }
    }

    mutating func reject(_ rejection: Rejection, _ turn: inout Turn) {
        // A redelivery, as with alerts that were accepted.
        if let sequence = rejection.sequence, state.alertSequences.contains(sequence) { return }
        let rejection = rejection.shortened
        record(.rejected(rejection), &turn)
        turn.directives.append(.reject(rejection))
    }

    mutating func scheduleAll(at time: Timestamp) {
        for incident in state.incidents.values { agenda.schedule(incident.id, at: time) }
        for id in state.undoing.keys { agenda.schedule(id, at: time) }
    }

    // MARK: Heartbeats

    private mutating func handle(_ heartbeat: Heartbeat, _ turn: inout Turn) {
        guard policies.nodes?.contains(heartbeat.node) ?? true else {
            let subject = Subjects.heartbeat(heartbeat.node)
            return refuse(heartbeat.node, subject, excerpt: heartbeat.agentID, &turn)
        }
        guard let change = nodes.heard(heartbeat, at: turn.time) else { return }
        publish(change, &turn)
    }

    func publish(_ change: Nodes.Change, _ turn: inout Turn) {
        turn.directives.append(
            .publish(
                type: "agent_\(change.change)",
                [
                    "node": .string(change.node), "agent_id": .string(change.agentID),
                    "last_seen": .string(change.lastSeen.description),
                    "timestamp": .string(turn.time.description),
                ]))
    }
}

extension Event {
    /// The incident that it changes.
    var incident: String? {
        switch self {
        case .alert(let event): event.incident
        case .decision(let decision): decision.incident
        // Empty: of an action that no incident has asked for.
        case .result(let event): event.incident.isEmpty ? nil : event.incident
        case .incident(let event): event.incident
        case .started, .configured, .breaker, .operation, .rejected, .clock: nil
        }
    }
}

extension Rejection {
    /// Within the limits of what can be read back.
    var shortened: Rejection {
        var rejection = self
        rejection.subject = subject.shortened(to: Limits.identifierBytes)
        rejection.field = field.shortened(to: Limits.identifierBytes)
        rejection.reason = reason.shortened(to: Limits.textBytes)
        rejection.excerpt = excerpt.shortened(to: Limits.textBytes)
        return rejection
    }
}

extension String {
    /// The beginning of the text, at most so many bytes of it, with `…` where something was left out.
    func shortened(to limit: Int) -> String {
        guard utf8.count > limit else { return self }
        let room = limit - "…".utf8.count
        var end = utf8.index(utf8.startIndex, offsetBy: room)
        while end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(self[..<end]) + "…"
    }
}
