import Immunity
import Protocol

/// A fleet of a few nodes, their agents, a network that loses, doubles and delays, and a coordinator
/// that is killed between any two records: everything from one seed.
struct Simulation {
    /// A rule that was broken.
    struct Violation: Error, CustomStringConvertible {
        var description: String
    }

    struct Mail {
        enum Content {
            case command(Command)
            case result(CommandResult)
            case alert(Alert, sequence: UInt64)
            case heartbeat(Heartbeat)
        }
        var at: Timestamp
        var content: Content
    }

    struct Symptom {
        var key: IncidentKey
        /// What the sensor says.
        var severity = Severity.ok
        /// What the agent has said last, and when.
        var said = Severity.ok
        var saidAt = Timestamp(seconds: 0)
    }

    let seed: UInt64
    var dice: Dice
    var now = Timestamp(seconds: 1_700_000_000)
    var core: Immunity
    /// What the audit stream would rebuild.
    var durable = State()
    var rules: Invariants
    var agents: [String: SimulatedAgent] = [:]
    var symptoms: [Symptom] = []
    var mail: [Mail] = []
    /// The alert stream: what the coordinator has not acked comes again.
    var unacked: [(alert: Alert, sequence: UInt64)] = []
    var streamSequence: UInt64 = 0
    var alertCount = 0
    var heartbeatCount = 0
    /// How far the coordinator's clock is ahead.
    var offset: Duration = .zero
    /// Whether the network loses, doubles and delays, and things die.
    var isCalm = false
    var restarts = 0
    /// Every record, as the stream would keep it.
    var log: [[UInt8]] = []

    init(seed: UInt64) {
        self.seed = seed
        dice = Dice(seed: seed)
        let policies = Self.policies(&dice)
        core = Immunity(policies: policies, epoch: 1)
        rules = Invariants(policies: policies)
        for name in ["athena", "lyra", "nova"] {
            let skew: Duration = dice.chance(1, of: 4) ? .seconds(dice.roll(-60...200)) : .zero
            agents[name] = SimulatedAgent(node: name, skew: skew)
            for resource in ["cpu", "gpu"] {
                for type in ["disk", "thermal"] {
                    symptoms.append(
                        Symptom(
                            key: IncidentKey(
                                node: name, type: type, resource: resource,
                                isDrill: type == "disk" && resource == "gpu")))
                }
            }
        }
    }

    /// A configuration such as an operator may write, short-lived so that much happens.
    static func policies(_ dice: inout Dice) -> PolicySet {
        let actions = ["throttle_10", "throttle_50", "redistribute", "alert_human", "failover"]
        var policies: [Policy] = []
        for type in ["disk", "thermal"] {
            for severity in [Severity.warning, .critical, .emergency] {
                guard dice.chance(9, of: 10) else { continue }
                let ladder = (0..<dice.roll(1...4)).map { _ in Rung(action: dice.pick(actions)) }
                policies.append(
                    Policy(
                        type: type, severity: severity, ladder: ladder,
                        cooldown: .seconds(dice.roll(0...40)), maxAttempts: dice.roll(1...3),
                        deadline: .seconds(dice.roll(5...30)), verify: .seconds(dice.roll(0...60)),
                        stayClear: .seconds(dice.roll(0...20)),
                        lease: .seconds(dice.roll(10...120)), undo: dice.chance(5, of: 6)))
            }
        }
        return PolicySet(
            policies: policies,
            breaker: BreakerPolicy(
                failureThreshold: dice.roll(1...4), executionThreshold: dice.roll(2...8),
                window: .seconds(dice.roll(60...600)), openFor: .seconds(dice.roll(10...120))),
            staleAfter: .seconds(dice.roll(60...300)), expireAfter: .seconds(dice.roll(90...240)),
            dryRun: dice.chance(1, of: 12))
    }

    // MARK: A run

    mutating func run(steps: Int) throws {
        for _ in 0..<steps {
            now = now + .milliseconds(dice.roll(0...3000))
            try step()
        }
        try heal()
    }

    private mutating func step() throws {
        switch dice.roll(1...100) {
        case 1...12: changeSymptom()
        case 13...15: sendForeignAlert()
        case 16...17: try repeatOldMessage()
        case 18: try reconfigure()
        case 19: try askOperator()
        case 20: restart()
        case 21: try take(.rejected(rejection()))
        default: break
        }
        speak()
        expireLeases()
        try deliver()
        if dice.chance(2, of: 3) { try take(.tick) }
        if dice.chance(1, of: 20) { try rules.checkSnapshot(durable) }
    }

    /// The network works, the symptoms clear: everything must come to rest.
    private mutating func heal() throws {
        isCalm = true
        for index in symptoms.indices { symptoms[index].severity = .ok }
        offset = .zero
        for second in 0..<2500 {
            // Faster in the end, for what is kept for long.
            now = now + .seconds(second < 2000 ? 1 : 20)
            speak()
            expireLeases()
            try deliver()
            try take(.tick)
        }
        // Only what has no lease, on a node that never answers, is pursued for longer.
        now = now + Immunity.undoPatience
        try take(.tick)
        try rules.checkRest(core, agents)
        try rules.checkSnapshot(durable)
    }

    // MARK: The coordinator

    /// Gives the core an input and does what it says, up to a kill that may come between any two
    /// records.
    mutating func take(_ input: Immunity.Input) throws {
        let now = now + offset
        rules.willTake(input, at: now, core.state)
        let directives = core.handle(input, at: now)
        let records = directives.count { if case .append = $0 { true } else { false } }
        let isKilled = !isCalm && dice.chance(1, of: 60)
        var left = isKilled ? dice.roll(0...records) : .max
        for directive in directives {
            if case .append(let event) = directive {
                if left == 0 { break }
                left -= 1
                try append(event)
                continue
            }
            if isKilled, left == 0 { break }
            try perform(directive)
        }
        if isKilled {
            restartCoordinator()
        } else {
            guard durable == core.state else {
                throw Violation(description: "memory and audit differ after \(input)")
            }
            try rules.didTake(input, core, at: now)
            if case .alert(_, let sequence) = input {
                unacked.removeAll { $0.sequence == sequence }
            }
        }
    }

    private mutating func append(_ event: Event) throws {
        let now = now + offset
        let record = Record(time: now, actor: event.actor ?? "coordinator", event: event)
        let bytes = JSON.object(record.object).encoded
        let again = try bytes.withUnsafeBytes { try Record(decoding: $0) }
        guard again == record else {
            throw Violation(
                description: "a record reads back otherwise: \(JSON.object(record.object).text)")
        }
        log.append(bytes)
        try rules.willApply(again.event, durable, at: now)
        durable.apply(again.event, at: again.time)
    }

    private mutating func perform(_ directive: Immunity.Directive) throws {
        guard case .send(let command) = directive else { return }
        try rules.willSend(command, durable, at: now + offset)
        if command.operation == .execute, core.nodes.ambiguity(of: command.node) != nil {
            throw Violation(description: "\(command.actionID) is sent to two machines")
        }
        let bytes = JSON.object(command.object).encoded
        let sent = try bytes.withUnsafeBytes { try Command(decoding: $0, node: command.node) }
        post(.command(sent))
    }

    private mutating func restartCoordinator() {
        restarts += 1
        core = Immunity(state: durable, policies: core.policies, epoch: core.epoch + 1)
        rules.didRestart(durable)
        // The stream delivers again what was not acked, in whatever order with what is new.
        mail.removeAll { if case .alert = $0.content { true } else { false } }
        for entry in unacked {
            post(.alert(entry.alert, sequence: entry.sequence), isReliable: true)
        }
    }

    /// Another coordinator takes over, or the same again; its clock may be another.
    private mutating func restart() {
        if dice.chance(1, of: 4) { offset = dice.pick([.zero, .seconds(-3600), .seconds(3600)]) }
        restartCoordinator()
    }

    private mutating func reconfigure() throws {
        let policies = Self.policies(&dice)
        rules.learn(policies)
        try take(.configured(policies, fingerprint: "f\(dice.roll(0...9))"))
    }

    private mutating func askOperator() throws {
        let incidents = (Array(core.state.incidents.values) + core.state.closed).sorted {
            $0.id < $1.id
        }
        switch dice.roll(1...4) {
        case 1: try take(.resetBreaker(nil, actor: "op"))
        case 2:
            let keys = core.state.breakers.keys.sorted()
            if let key = keys.first { try take(.resetBreaker(key, actor: "op")) }
        case 3 where !incidents.isEmpty: try take(.undo(id: dice.pick(incidents).id, actor: "op"))
        case 4:
            let ids = incidents.flatMap(\.attempts).map(\.command.actionID)
            if !ids.isEmpty { try take(.undo(id: dice.pick(ids), actor: "op")) }
        default: break
        }
    }

    private func rejection() -> Rejection {
        Rejection(subject: "skos.alert.x", node: "x", field: "", reason: "bad", excerpt: "…")
    }
}
