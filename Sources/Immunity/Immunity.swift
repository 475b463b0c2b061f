package import Protocol

/// The decision core: alerts, results, heartbeats and time in; records, commands and events out.
///
/// Pure and deterministic: it has no clock and does no I/O. Whatever it wants to remember it appends
/// as an `Event`, and the state changes only by applying events, so that the audit stream alone
/// rebuilds it.
package struct Immunity: Sendable {
    /// What happened.
    package enum Input: Sendable {
        /// An alert, complete with id and timestamp, and its place in the alert stream.
        case alert(Alert, sequence: UInt64)
        case result(CommandResult)
        case heartbeat(Heartbeat)
        /// Time has passed.
        case tick
        case rejected(Rejection)
        case configured(PolicySet, fingerprint: String)
        /// An edit of the configuration that was not accepted.
        case configurationRefused(fingerprint: String, reason: String)
        /// An operator asks for something.
        case resetBreaker(BreakerKey?, actor: String)
        /// An operator asks to undo what an incident or an action changed.
        case undo(id: String, actor: String)
    }

    /// What the shell must do, in this order.
    package enum Directive: Sendable, Equatable {
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
    package internal(set) var nodes = Nodes()
    package internal(set) var policies: PolicySet
    /// The coordinator's term: the place of its `started` record in the audit stream.
    package var epoch: Int64

    /// When something is due next; before, a tick does nothing about incidents.
    var nextDue: Timestamp?
    var nextSweep: Timestamp?
    /// When each command in flight, renewal and undo is to be sent next. Soft: after a restart
    /// everything is sent again at once, which agents answer from their journals.
    var nextSend: [String: Timestamp] = [:]
    /// Commands that an agent has accepted: no need to send them again.
    var accepted: Set<String> = []

    /// Time between two sendings of a command, or of an undo, that is not answered.
    package static let resendInterval: Duration = .seconds(2)
    package static let undoResendInterval: Duration = .seconds(5)
    /// How long after its deadline a command's result is waited for.
    package static let resultGrace: Duration = .seconds(5)
    /// How much longer than its lease an undo that nobody answers is sent for: then the node has
    /// undone it by itself.
    package static let leaseGrace: Duration = .seconds(60)
    /// Repeats of one alert closer together than this are not recorded.
    package static let repeatFloor: Duration = .seconds(1)
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
        nextDue = Timestamp(nanoseconds: .min)
    }

    /// Takes one input into account and says what to do about it.
    package mutating func handle(_ input: Input, at now: Timestamp) -> [Directive] {
        var turn = Turn(now: now)
        switch input {
        case .alert(let alert, let sequence): handle(alert, sequence, &turn)
        case .result(let result): handle(result, &turn)
        case .heartbeat(let heartbeat): handle(heartbeat, &turn)
        case .tick: tick(&turn)
        case .rejected(let rejection): reject(rejection, &turn)
        case .configured(let policies, let fingerprint):
            self.policies = policies
            record(.configured(fingerprint: fingerprint, refused: nil), &turn)
        case .configurationRefused(let fingerprint, let reason):
            record(.configured(fingerprint: fingerprint, refused: reason), &turn)
        case .resetBreaker(let key, let actor): resetBreaker(key, actor, &turn)
        case .undo(let id, let actor): undo(id, actor, &turn)
        }
        return turn.directives
    }

    /// When the shell should tick next at the latest for incidents to go on in time.
    package var nextTick: Timestamp? { nextDue }

    /// The directives of one input, and its time.
    struct Turn {
        let now: Timestamp
        var directives: [Directive] = []
    }

    /// Appends an event and applies it: the only way the durable state changes.
    mutating func record(_ event: Event, _ turn: inout Turn) {
        state.apply(event, at: turn.now)
        turn.directives.append(.append(event))
    }

    mutating func reject(_ rejection: Rejection, _ turn: inout Turn) {
        record(.rejected(rejection), &turn)
        turn.directives.append(.reject(rejection))
    }

    /// Remembers that something is due.
    mutating func due(at time: Timestamp?) {
        guard let time else { return }
        nextDue = min(nextDue ?? time, time)
    }

    private mutating func handle(_ heartbeat: Heartbeat, _ turn: inout Turn) {
        if let known = policies.nodes, !known.contains(heartbeat.node) { return }
        guard let change = nodes.heard(heartbeat, at: turn.now) else { return }
        publish(change, &turn)
    }

    func publish(_ change: Nodes.Change, _ turn: inout Turn) {
        turn.directives.append(
            .publish(
                type: "agent_\(change.change)",
                [
                    "node": .string(change.node), "agent_id": .string(change.agentID),
                    "last_seen": .string(change.lastSeen.description),
                    "timestamp": .string(turn.now.description),
                ]))
    }

    // MARK: Operators

    private mutating func resetBreaker(_ key: BreakerKey?, _ actor: String, _ turn: inout Turn) {
        let open = state.breakers.filter { $0.value.openUntil != nil }.keys.sorted()
        let chosen = key.map { key in open.filter(key.covers) } ?? open
        let outcome =
            chosen.isEmpty
            ? "no open breaker\(key.map { " \($0.text)" } ?? "")"
            : "reset \(chosen.map(\.text).joined(separator: ", "))"
        record(
            .operation(
                OperatorEvent(
                    verb: "breaker_reset", actor: actor,
                    parameters: ["breaker": .string(key?.text ?? "all")], outcome: outcome)),
            &turn)
        for key in chosen {
            record(
                .breaker(
                    BreakerEvent(key: key, change: .reset, reason: "reset by \(actor)", until: nil)),
                &turn)
        }
        turn.directives.append(.answer(outcome, granted: key == nil || !chosen.isEmpty))
    }

    private mutating func undo(_ id: String, _ actor: String, _ turn: inout Turn) {
        let incidents =
            state.incident(id: id).map { [$0] }
            ?? (state.incidents.values + state.closed).filter {
                $0.attempts.contains { $0.command.actionID == id }
            }
        let attempts = incidents.flatMap { incident in
            incident.attemptsInForce.filter { incident.id == id || $0.command.actionID == id }
                .map { (incident, $0) }
        }
        let outcome =
            attempts.isEmpty
            ? "nothing in force under \(id)"
            : "undoing \(attempts.map(\.1.command.actionID).joined(separator: ", "))"
        record(
            .operation(
                OperatorEvent(
                    verb: "undo", actor: actor, parameters: ["id": .string(id)], outcome: outcome)),
            &turn)
        for (incident, attempt) in attempts {
            requestUndo(of: attempt, in: incident, reason: "asked for by \(actor)", &turn)
        }
        turn.directives.append(.answer(outcome, granted: !attempts.isEmpty))
    }
}
