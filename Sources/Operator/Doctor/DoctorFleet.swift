import Protocol
import Settings

/// What the coordinator knows of this node: what is wrong with it, and what could be done about it.
extension Doctor {
    /// Incidents that are listed; more are counted.
    private static let listedIncidents = 8

    /// Without a coordinator there is nothing to say; that has been said.
    static func fleet(_ link: Link, _ config: Config) async -> [Finding] {
        guard let status = try? await link.ask("status") else { return [] }
        var findings: [Finding] = []
        if let answer = try? await link.ask("incidents") {
            findings += incidents(answer, on: config.nodeName)
        }
        if let nodes = try? await link.ask("nodes") {
            findings += agents(nodes, of: config.nodeName)
            if let policy = try? await link.ask("policy"),
                let offered = offered(nodes, on: config.nodeName)
            {
                findings += ladders(policy, offered: offered, config.local)
            }
        }
        // Of the others' files only the coordinator's own counts.
        if status.text("coordinator") == "coordinator-\(config.nodeName)" {
            findings += human(config.local.alertHuman)
        }
        return findings
    }

    // MARK: What is wrong

    /// The open incidents of a node. Of drills, nothing is wrong.
    static func incidents(_ answer: JSON.Object, on node: String) -> [Finding] {
        let own = answer.list("incidents").filter { incident in
            incident.text("node") == node && !incident.flag("drill")
        }
        var findings = own.prefix(listedIncidents).map { incident in
            let symptom = Text.symptom(incident.text("type"), incident.text("resource"))
            let message = incident.text("message")
            return Finding(
                "incident", .warn,
                "\(symptom) \(incident.text("severity")), \(incident.text("phase"))"
                    + (message.isEmpty ? "" : ": \(message)"),
                remedy: Text.command("explain", incident.text("incident"))
                    + " tells what was done about it")
        }
        if own.count > listedIncidents {
            findings.append(
                Finding("incident", .warn, "and \(own.count - listedIncidents) more"))
        }
        return findings
    }

    /// What is in the way of a node's agents.
    static func agents(_ answer: JSON.Object, of name: String) -> [Finding] {
        let own = answer.list("nodes").filter { $0.text("node") == name }
        var findings = own.filter { !$0.text("ambiguous").isEmpty }.map { _ in
            Finding(
                "name", .fail, "two machines call themselves \(name): nothing is done there",
                remedy: "give each its own NODE_NAME, and start its agents again")
        }
        for agent in own.flatMap({ $0.list("agents") }) where !agent.text("obstacle").isEmpty {
            findings.append(
                Finding(
                    "agent", .fail,
                    "\(agent.text("agent_id")) cannot act: \(agent.text("obstacle"))"
                ))
        }
        return findings
    }

    // MARK: What could be done

    /// The actions that a node's agents offer; `nil`: none of them has been heard.
    private static func offered(_ answer: JSON.Object, on node: String) -> Set<String>? {
        let nodes = answer.list("nodes").filter { $0.text("node") == node }
        let agents = nodes.flatMap { $0.list("agents") }
        guard !agents.isEmpty else { return nil }
        return Set(agents.flatMap { $0.object("metadata").strings("verbs") })
    }

    /// Actions on the ladders of the coordinator's policies that this node cannot do.
    static func ladders(
        _ answer: JSON.Object, offered: Set<String>, _ local: Config.Local
    ) -> [Finding] {
        func isPossible(_ action: String) -> Bool {
            guard action != ActionTable.alertHuman else { return true }
            let isAllowed = local.allowedActions?.contains(action) ?? true
            return ActionTable.isOffered(action, among: offered) && isAllowed
                && !local.deniedActions.contains(action)
        }
        let policies = answer.list("policies").filter { !$0.strings("ladder").isEmpty }
        let named = Set(policies.flatMap { $0.strings("ladder") })
        var findings = named.filter { !isPossible($0) }.sorted().map { action in
            let (grade, reason) = obstacle(
                to: action, isOffered: ActionTable.isOffered(action, among: offered))
            return Finding("action", grade, "\(action) is not done here: \(reason)")
        }
        let idle = policies.filter { !$0.strings("ladder").contains(where: isPossible) }
        if !idle.isEmpty {
            let names = idle.map { $0.text("policy") }.joined(separator: ", ")
            findings.append(
                Finding(
                    "ladder", .warn,
                    "nothing on the ladder of \(names) can be done here: a human is asked at once",
                    remedy: "name other actions in config.yaml, or set these up"))
        }
        return findings
    }

    /// Why an action is not done on this node; a warning where the node's owner could change that.
    private static func obstacle(
        to action: String, isOffered: Bool
    ) -> (grade: Finding.Grade, reason: String) {
        if isOffered { return (.ok, "local.actions does not let it") }
        if ActionTable.throttlePercent(action) != nil {
            return (.ok, "there is nothing to throttle with")
        }
        switch action {
        case "archive_old_data":
            return (.warn, "it needs roots and to in local.archive_old_data, tar and zstd")
        case "shutdown_non_essential":
            return (.warn, "local.shutdown_non_essential lists nothing to stop")
        case "cleanup_temp", "cleanup_logs", "emergency_cleanup":
            return (.warn, "local: names no directories for it, or no storage agent runs")
        case "redistribute", "failover": return (.ok, "no agent of this version knows it")
        default: return (.warn, "no agent of this node offers it")
        }
    }

    /// Whether anybody is called.
    static func human(_ settings: Config.AlertHuman) -> [Finding] {
        guard settings.url.isEmpty else {
            return [
                Finding("human", .ok, "is told by a webhook (\(settings.format.rawValue))")
            ]
        }
        return [
            Finding(
                "human", .warn,
                "nobody is told when a human is needed: local.alert_human.url is empty",
                remedy: "name a webhook there; until then look at `skos incidents`, the log, or "
                    + "skos.event.escalation on NATS")
        ]
    }
}
