import Immunity
import Protocol

/// Alerts, results, commands, and what happens to them on the way.
extension Simulation {
    mutating func post(_ content: Mail.Content, isReliable: Bool = false) {
        if isCalm { return mail.append(Mail(at: now, content: content)) }
        if !isReliable, dice.chance(1, of: 8) { return }
        let copies = dice.chance(1, of: 10) ? 2 : 1
        for _ in 0..<copies {
            let delay = dice.chance(1, of: 10) ? dice.roll(0...60_000) : dice.roll(0...500)
            mail.append(Mail(at: now + .milliseconds(delay), content: content))
        }
    }

    /// Hands out what has arrived, in an order of its own.
    mutating func deliver() throws {
        var arrived = mail.filter { $0.at <= now }
        mail.removeAll { $0.at <= now }
        if !isCalm { arrived.shuffle(using: &dice) }
        for letter in arrived {
            switch letter.content {
            case .command(let command):
                guard var agent = agents[command.node] else { continue }
                let answers = agent.receive(command, at: now, &dice)
                agents[command.node] = agent
                for answer in answers { post(.result(answer)) }
            case .result(let result): try take(.result(result))
            case .alert(let alert, let sequence): try take(.alert(alert, sequence: sequence))
            case .heartbeat(let heartbeat): try take(.heartbeat(heartbeat))
            }
        }
    }

    mutating func expireLeases() {
        for name in agents.keys.sorted() {
            for result in agents[name]?.expireLeases(at: now) ?? [] { post(.result(result)) }
        }
    }

    // MARK: Symptoms

    mutating func changeSymptom() {
        let index = dice.roll(0...symptoms.count - 1)
        symptoms[index].severity = dice.pick([.ok, .ok, .warning, .critical, .critical, .emergency])
    }

    /// Agents report changes at once, repeat what lasts, and send heartbeats.
    mutating func speak() {
        for index in symptoms.indices {
            let symptom = symptoms[index]
            let isChange = symptom.severity != symptom.said
            let isRepeat = symptom.said > .ok && now - symptom.saidAt >= .seconds(30)
            guard isChange || isRepeat else { continue }
            symptoms[index].said = symptom.severity
            symptoms[index].saidAt = now
            publish(alert(about: symptom.key, symptom.severity))
        }
        for name in agents.keys.sorted() where dice.chance(1, of: 5) {
            // Some agents say what they can do, some do not.
            var metadata: JSON.Object =
                name == "nova" ? ["verbs": ["throttle_10", "throttle_50", "redistribute"]] : [:]
            // In some fleets two machines go by one name.
            heartbeatCount += 1
            let machine = seed % 4 == 0 && name == "athena" ? heartbeatCount % 2 : 0
            metadata["start_id"] = .string("start-\(machine)")
            metadata["sequence"] = .integer(Int64(heartbeatCount))
            post(
                .heartbeat(
                    Heartbeat(
                        agentID: "agent-\(name)", agentType: "thermal_sentinel", node: name,
                        metadata: metadata)))
        }
    }

    private mutating func alert(about key: IncidentKey, _ severity: Severity) -> Alert {
        alertCount += 1
        var alert = Alert(
            type: key.type, severity: severity, node: key.node, resource: key.resource)
        alert.drill = key.isDrill
        alert.id = "alert-\(alertCount)"
        alert.agentID = "agent-\(key.node)"
        alert.message = "\(key.type) is \(severity.rawValue)"
        alert.value = Double(dice.roll(0...1000)) / 10
        alert.timestamp = (now + (agents[key.node]?.skew ?? .zero)).inMilliseconds
        if !key.resource.isEmpty { alert.details = ["sensor": "s"] }
        alert.extra = ["n": .integer(Int64(alertCount))]
        return alert
    }

    /// Puts an alert into the stream; a publisher that got no ack does it twice.
    private mutating func publish(_ alert: Alert) {
        let copies = !isCalm && dice.chance(1, of: 12) ? 2 : 1
        for _ in 0..<copies {
            streamSequence += 1
            unacked.append((alert, streamSequence))
            post(.alert(alert, sequence: streamSequence), isReliable: true)
        }
    }

    /// An alert that no agent stands behind: by hand, ancient, from the future, from nowhere.
    mutating func sendForeignAlert() {
        let key = IncidentKey(
            node: dice.pick(["nova", "lyra", "unknown"]), type: dice.pick(["thermal", "hand"]),
            resource: dice.pick(["", "hand"]))
        var alert = alert(about: key, dice.pick(Severity.allCases))
        switch dice.roll(1...5) {
        case 1: alert.timestamp = now - .seconds(dice.roll(0...4000))
        case 2: alert.timestamp = now + .seconds(dice.roll(0...4000))
        case 3: alert.timestamp = nil
        case 4: alert.timestamp = Timestamp(nanoseconds: dice.pick([.min, .max, 0]))
        default: break
        }
        publish(alert)
    }

    /// Something that was delivered long ago comes once more.
    mutating func repeatOldMessage() throws {
        guard streamSequence > 0, dice.chance(1, of: 2) else {
            let id = "nova:thermal:throttle_50:\(dice.roll(0...9))"
            return try take(
                .result(
                    CommandResult(
                        actionID: id, actionType: "throttle_50", node: "nova", status: .done,
                        outcome: .succeeded)))
        }
        guard let known = rules.alerts.last else { return }
        try take(.alert(known.alert, sequence: known.sequence))
    }
}
