import Immunity
import Protocol

/// What must hold whatever happens, checked after every step.
struct Invariants {
    typealias Violation = Simulation.Violation

    /// The mildest limits of all configurations that were in force.
    private var maxAttempts = 0
    private var leastCooldown: Duration = .seconds(Int64.max)
    /// Every action that was ever decided on.
    private var dispatched: Set<String> = []
    private var escalated: Set<String> = []
    private var lastDispatch: [BreakerKey: Timestamp] = [:]
    /// The newest report of each symptom that reached the core: its time and severity.
    private var newest: [IncidentKey: (time: Timestamp, severity: Severity)] = [:]
    /// Symptoms about which the senders' times tell nothing.
    private var unclear: Set<IncidentKey> = []
    private(set) var alerts: [(alert: Alert, sequence: UInt64)] = []
    private(set) var counts: [String: Int] = [:]

    init(policies: PolicySet) { learn(policies) }

    mutating func learn(_ policies: PolicySet) {
        for policy in policies.policies {
            maxAttempts = max(maxAttempts, policy.maxAttempts)
            leastCooldown = min(leastCooldown, policy.cooldown)
        }
    }

    private func fail(_ text: String) -> Violation { Violation(description: text) }

    // MARK: Inputs

    mutating func willTake(_ input: Immunity.Input, at now: Timestamp, _ state: State) {
        guard case .alert(let alert, let sequence) = input else { return }
        alerts.append((alert, sequence))
        if alerts.count > 50 { alerts.removeFirst() }
        let key = IncidentKey(alert)
        guard let time = alert.timestamp, time <= now else {
            unclear.insert(key)
            return
        }
        guard now - time <= .seconds(60) else { return }
        if let known = newest[key] {
            if time == known.time, alert.severity != known.severity { unclear.insert(key) }
            if time <= known.time { return }
        }
        newest[key] = (time, alert.severity)
    }

    /// An `ok` that changed nothing is not recorded, so a restart forgets it.
    mutating func didRestart(_ state: State) {
        for (key, report) in newest where report.severity == .ok {
            if state.incidents[key] == nil { newest[key] = nil }
        }
        for key in newest.keys where state.incidents[key]?.phase == .clearing {
            newest[key] = nil
        }
    }

    // MARK: Records

    mutating func willApply(_ event: Event, _ state: State, at now: Timestamp) throws {
        counts[event.kind, default: 0] += 1
        switch event {
        case .decision(let decision):
            counts["decision/\(decision.verdict.rawValue)", default: 0] += 1
            if decision.verdict == .dispatch { try checkDispatch(decision, state, at: now) }
        case .incident(let event):
            counts["incident/\(event.change.rawValue)", default: 0] += 1
            if event.change == .escalated, !escalated.insert(event.incident).inserted {
                throw fail("\(event.incident) is escalated twice")
            }
        case .breaker(let event): counts["breaker/\(event.change.rawValue)", default: 0] += 1
        case .alert(let event): counts["alert/\(event.effect.rawValue)", default: 0] += 1
        case .result(let event):
            let kind = event.timedOut ? "timeout" : event.result.status.rawValue
            counts["result/\(kind)", default: 0] += 1
            // What was not tried has no cooldown.
            if event.result.isBusy, let incident = state.incident(ofAction: event.result.actionID) {
                for key in lastDispatch.keys
                where key.node == incident.key.node && key.resource == incident.key.resource {
                    lastDispatch[key] = nil
                }
            }
        // The times before are by another clock.
        case .clock: lastDispatch = [:]
        default: break
        }
    }

    private mutating func checkDispatch(
        _ decision: Decision, _ state: State, at now: Timestamp
    ) throws {
        guard let command = decision.command else { throw fail("a dispatch without command") }
        guard dispatched.insert(command.actionID).inserted else {
            throw fail("\(command.actionID) is decided on twice")
        }
        guard let incident = state.incident(id: decision.incident), !incident.isClosed else {
            throw fail("\(command.actionID) is for no open incident")
        }
        let key = incident.key
        guard incident.severity >= incident.policySeverity, incident.phase != .clearing else {
            throw fail("\(command.actionID) acts on a symptom that is \(incident.severity)")
        }
        if newest[key]?.severity == .ok, !unclear.contains(key) {
            throw fail("\(command.actionID) acts on \(key), which is well")
        }
        guard command.dryRun || !key.isDrill else { throw fail("a drill acts: \(command)") }
        let same = incident.attempts.count {
            $0.rung == decision.rung && $0.command.actionType == command.actionType
                && $0.policySeverity == incident.policySeverity && !$0.isUntried
        }
        guard same < maxAttempts, incident.attempts.count < State.attemptLimit else {
            throw fail("\(command.actionID) is attempt \(same + 1) of \(maxAttempts)")
        }
        let breaker = BreakerKey(
            node: key.node, action: command.actionType, resource: key.resource,
            isDryRun: command.dryRun)
        if let last = lastDispatch[breaker], now - last < leastCooldown {
            throw fail("\(command.actionID) comes \(now - last) after the last attempt")
        }
        lastDispatch[breaker] = now
        if let known = state.breakers[breaker], known.state(at: now) == .open {
            throw fail("\(command.actionID) passes an open breaker")
        }
    }

    // MARK: Commands

    func willSend(_ command: Command, _ state: State, at now: Timestamp) throws {
        guard dispatched.contains(command.actionID) else {
            throw fail("\(command.actionID) is sent without a durable decision")
        }
        guard let incident = state.incident(ofAction: command.actionID),
            let attempt = incident.attempts.last(where: {
                $0.command.actionID == command.actionID
            })
        else { throw fail("\(command.actionID) is sent but not known") }
        switch command.operation {
        case .execute:
            guard !incident.isClosed, incident.phase != .clearing else {
                throw fail("\(command.actionID) is sent although \(incident.phase)")
            }
            guard let deadline = command.deadline, now <= deadline + .milliseconds(1) else {
                throw fail("\(command.actionID) is sent after its deadline")
            }
        case .renew:
            guard !incident.isClosed, attempt.isInForce else {
                throw fail("\(command.actionID) is renewed although \(incident.phase)")
            }
        case .undo:
            guard attempt.undoRequestedAt != nil, command.deadline == nil else {
                throw fail("\(command.actionID) is undone without a durable decision")
            }
        }
    }

    // MARK: States

    func didTake(_ input: Immunity.Input, _ core: Immunity, at now: Timestamp) throws {
        // Whatever its breakers say, an incident that is over has asked for all its undos.
        guard case .tick = input else { return }
        for incident in core.state.undoing.values {
            for attempt in incident.attemptsInForce
            where attempt.command.lease != nil && attempt.undoRequestedAt == nil {
                throw fail("\(attempt.command.actionID) is not taken back")
            }
        }
        for incident in core.state.incidents.values {
            if incident.phase == .deciding, incident.until == nil {
                throw fail("\(incident.id) is left undecided")
            }
        }
        if let next = core.nextTick, next <= now { throw fail("a tick left work") }
    }

    func checkSnapshot(_ state: State) throws {
        let text = JSON.object(state.snapshot).encoded
        guard case .object(let object) = try JSON.parse(text) else {
            throw fail("a snapshot is no object")
        }
        guard try State(snapshot: object) == state else { throw fail("a snapshot differs") }
    }

    /// When all is well and the network works, nothing may be left.
    func checkRest(_ core: Immunity, _ agents: [String: SimulatedAgent]) throws {
        guard core.state.incidents.isEmpty else {
            throw fail("open: \(core.state.incidents.values.map { "\($0.id) \($0.phase)" })")
        }
        guard core.state.undoing.isEmpty else {
            throw fail("undoing: \(core.state.undoing.keys.sorted())")
        }
        guard core.state.openCounts.isEmpty, core.state.keyOfIncident.isEmpty else {
            throw fail("the indexes are not empty")
        }
        if let next = core.nextTick { throw fail("something is due at \(next)") }
        for agent in agents.values {
            for action in agent.inForce where action.isLeased {
                throw fail("\(action.id) is still in force")
            }
            for (id, count) in agent.executions where count != 1 {
                throw fail("\(id) was executed \(count) times")
            }
        }
    }
}
