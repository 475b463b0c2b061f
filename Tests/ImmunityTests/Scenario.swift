import Immunity
import Protocol
import Testing

/// A core, its clock, and the audit that its records would rebuild it from. What it does is told in
/// short words, such as `alert opened`, `dispatch throttle_50`, `send execute throttle_50`.
struct Scenario {
    var core: Immunity
    var now = Timestamp(seconds: 1_700_000_000)
    private(set) var durable = State()
    private(set) var sequence: UInt64 = 0
    private(set) var commands: [Command] = []
    private(set) var records: [Record] = []

    static let node = "nova"
    static let key = IncidentKey(node: node, type: "thermal", resource: "cpu")

    init(_ policies: PolicySet = Scenario.policies()) {
        core = Immunity(policies: policies, epoch: 7)
    }

    /// A policy of one rung or more with round numbers: cooldown 60, deadline 30, verify 60, clear 10,
    /// lease 120 s, 3 attempts.
    static func policy(_ severity: Severity, _ ladder: String...) -> Policy {
        Policy(
            type: "thermal", severity: severity, ladder: ladder.map { Rung(action: $0) },
            cooldown: .seconds(60), maxAttempts: 3, deadline: .seconds(30), verify: .seconds(60),
            stayClear: .seconds(10), lease: .seconds(120), undo: true)
    }

    static func policies(
        _ policies: Policy..., breaker: BreakerPolicy = BreakerPolicy()
    ) -> PolicySet {
        PolicySet(
            policies: policies.isEmpty
                ? [policy(.critical, "throttle_50", "throttle_10")] : policies,
            breaker: breaker)
    }

    // MARK: Inputs

    mutating func take(
        _ input: Immunity.Input, sourceLocation: SourceLocation = #_sourceLocation
    ) -> [String] {
        let directives = core.handle(input, at: now)
        for case .append(let event) in directives { record(event, sourceLocation) }
        #expect(durable == core.state, sourceLocation: sourceLocation)
        for case .send(let command) in directives { commands.append(command) }
        return directives.map(Self.brief)
    }

    private mutating func record(_ event: Event, _ sourceLocation: SourceLocation) {
        let record = Record(time: now, actor: event.actor ?? "coordinator", event: event)
        let again = JSON.object(record.object).encoded.withUnsafeBytes {
            try? Record(decoding: $0)
        }
        #expect(again == record, sourceLocation: sourceLocation)
        records.append(record)
        durable.apply(event, at: now)
    }

    mutating func wait(_ seconds: Double, sourceLocation: SourceLocation = #_sourceLocation)
        -> [String]
    {
        now = now + .nanoseconds(Int64(seconds * 1e9))
        return take(.tick, sourceLocation: sourceLocation)
    }

    /// Lets time pass in ticks of a second, and tells everything that was done.
    mutating func live(_ seconds: Int) -> [String] { (0..<seconds).flatMap { _ in wait(1) } }

    mutating func alert(
        _ severity: Severity, resource: String = "cpu", drill: Bool = false, age: Double = 0,
        node: String = Scenario.node, type: String = "thermal", id: String? = nil
    ) -> [String] {
        sequence += 1
        return take(
            .alert(
                make(
                    severity, resource: resource, drill: drill, age: age, node: node, type: type,
                    id: id),
                sequence: sequence))
    }

    func make(
        _ severity: Severity, resource: String = "cpu", drill: Bool = false, age: Double = 0,
        node: String = Scenario.node, type: String = "thermal", id: String? = nil
    ) -> Alert {
        var alert = Alert(type: type, severity: severity, node: node, resource: resource)
        alert.id = id ?? "alert-\(sequence)"
        alert.drill = drill
        alert.timestamp = now - .nanoseconds(Int64(age * 1e9))
        return alert
    }

    /// The agent's answer to the last command sent, or to the one given.
    mutating func answer(
        _ status: CommandResult.Status, _ outcome: CommandResult.Outcome? = nil,
        to command: Command? = nil, undo: Bool = true
    ) -> [String] {
        guard let command = command ?? commands.last else { return ["nothing was sent"] }
        var result = CommandResult(
            actionID: command.actionID, actionType: command.actionType, node: command.node,
            status: status, outcome: outcome)
        if undo, outcome == .succeeded { result.undo = ["governor": "x"] }
        return take(.result(result))
    }

    mutating func succeed(_ command: Command? = nil) -> [String] {
        answer(.done, .succeeded, to: command)
    }

    mutating func heartbeat(
        _ type: String, node: String = Scenario.node, verbs: [String]? = nil, active: JSON? = nil
    ) {
        var metadata = JSON.Object()
        metadata["active"] = active
        metadata["verbs"] = verbs.map { .array($0.map(JSON.string)) }
        _ = take(
            .heartbeat(
                Heartbeat(
                    agentID: "\(type)-\(node)", agentType: type, node: node, metadata: metadata)))
    }

    /// The coordinator is killed and starts again from its records.
    mutating func restart() {
        core = Immunity(state: durable, policies: core.policies, epoch: core.epoch + 1)
    }

    // MARK: What came of it

    var incident: Incident? { core.state.incidents[Self.key] }

    func breaker(_ action: String) -> Breaker.State? {
        core.state.breakers[BreakerKey(node: Self.node, action: action, resource: "cpu")]?
            .state(at: now)
    }

    func reasons(_ brief: String) -> [String] {
        records.filter { Self.brief(.append($0.event)) == brief }.compactMap {
            $0.object["reason"]?.string
        }
    }

    private static func brief(_ directive: Immunity.Directive) -> String {
        switch directive {
        case .append(.alert(let event)): "alert \(event.effect.rawValue)"
        case .append(.decision(let decision)):
            decision.action.isEmpty
                ? decision.verdict.rawValue : "\(decision.verdict.rawValue) \(decision.action)"
        case .append(.result(let event)):
            event.timedOut
                ? "timeout \(event.result.status.rawValue)"
                : "result \(event.result.outcome?.rawValue ?? event.result.status.rawValue)"
        case .append(.incident(let event)): "incident \(event.change.rawValue)"
        case .append(.breaker(let event)): "breaker \(event.change.rawValue)"
        case .append(let event): event.kind
        case .send(let command): "send \(command.operation.rawValue) \(command.actionType)"
        case .publish(let type, _): "publish \(type)"
        case .reject(let rejection): "reject \(rejection.field)"
        case .answer(_, let granted): granted ? "granted" : "denied"
        }
    }
}

extension [String] {
    /// Without what is only told to others.
    var records: [String] { filter { !$0.hasPrefix("publish") } }
}
