import Immunity
import Protocol
import Settings

/// The state as the API shows it.
enum Views {
    static func status(_ view: Engine.View) -> JSON.Object {
        let state = view.immunity.state
        let nodes = view.immunity.nodes
        var agents: [String: Int64] = ["online": 0, "late": 0, "offline": 0]
        var obstructed: Int64 = 0
        for node in nodes.nodes.values {
            for agent in node.agents.values {
                agents[agent.status.rawValue, default: 0] += 1
                if agent.obstacle != nil { obstructed += 1 }
            }
        }
        let ambiguous = nodes.nodes.filter { $0.value.ambiguousAgent != nil }.keys.sorted()
        let named = view.immunity.policies.nodes ?? []
        let unheard = named.filter { nodes.nodes[$0] == nil }.sorted()
        var phases: [String: Int64] = [:]
        var drills: [String: Int64] = [:]
        for incident in state.incidents.values {
            phases[incident.phase.rawValue, default: 0] += 1
            if incident.isDrill { drills[incident.phase.rawValue, default: 0] += 1 }
        }
        return [
            "epoch": .integer(view.immunity.epoch),
            "audit": ["sequence": .integer(Int64(view.sequence)), "hash": .string(view.hash)],
            "nodes": .integer(Int64(view.immunity.nodes.nodes.count)),
            "agents": .object(counts(agents)),
            // How many of those that are not offline something keeps from acting.
            "obstructed_agents": .integer(obstructed),
            // By whose names several machines go, and which are named in the configuration and have not been
            // heard since the coordinator was started: how many, and the first of them.
            "ambiguous_nodes": first(of: ambiguous), "unheard_nodes": first(of: unheard),
            // All of them, and which of these are drills.
            "incidents": .object(counts(phases)), "drills": .object(counts(drills)),
            "open_breakers": .integer(
                Int64(state.breakers.values.count { $0.openUntil != nil })),
            "dry_run": .bool(view.immunity.policies.dryRun),
        ]
    }

    /// Nodes that one answer names; the others are counted.
    private static let namedNodes = 8

    private static func first(of names: [String]) -> JSON {
        [
            "count": .integer(Int64(names.count)),
            "first": .array(names.prefix(namedNodes).map(JSON.string)),
        ]
    }

    private static func counts(_ counts: [String: Int64]) -> JSON.Object {
        JSON.Object(
            uniqueMembers: counts.sorted { $0.key < $1.key }.map {
                (name: $0.key, value: .integer($0.value))
            })
    }

    static func nodes(_ nodes: Nodes, _ page: Page) -> JSON.Object {
        page.object("nodes", nodes.nodes, cursor: { $0.key }) { name, node in
            let agents = node.agents.sorted { $0.key < $1.key }.map { _, agent -> JSON in
                var object = agent.heartbeat.object
                object["status"] = .string(agent.status.rawValue)
                object["last_seen"] = .string(agent.lastSeen.inMilliseconds.description)
                object["obstacle"] = agent.obstacle.map(JSON.string)
                return .object(object)
            }
            var object: JSON.Object = ["node": .string(name), "agents": .array(agents)]
            object["ambiguous"] = nodes.ambiguity(of: name).map(JSON.string)
            return object
        }
    }

    static func incidents(_ state: State, all: Bool, _ page: Page) -> JSON.Object {
        let chosen = Array(state.incidents.values) + (all ? state.closed : [])
        // In the order they were opened: times of this century have 19 digits.
        return page.object(
            "incidents", chosen, cursor: { "\($0.openedAt.nanoseconds) \($0.id)" },
            { incident($0) })
    }

    private static func incident(_ incident: Incident) -> JSON.Object {
        var object: JSON.Object = [
            "incident": .string(incident.id), "node": .string(incident.key.node),
            "type": .string(incident.key.type), "phase": .string(incident.phase.rawValue),
            "severity": .string(incident.severity.rawValue),
            "policy": .string("\(incident.key.type)/\(incident.policySeverity.rawValue)"),
            "opened": .string(incident.openedAt.inMilliseconds.description),
            "last_reported": .string(incident.assertedAt.inMilliseconds.description),
            "alerts": .integer(Int64(incident.alertCount)),
            "message": .string(incident.message),
            "attempts": .array(incident.attempts.map { .object(attempt($0)) }),
        ]
        object["resource"] =
            incident.key.resource.isEmpty ? nil : .string(incident.key.resource)
        object["drill"] = incident.isDrill ? true : nil
        object["until"] = incident.until.map { .string($0.inMilliseconds.description) }
        object["closed"] = incident.closedAt.map { .string($0.inMilliseconds.description) }
        return object
    }

    private static func attempt(_ attempt: Attempt) -> JSON.Object {
        var object: JSON.Object = [
            "action_id": .string(attempt.command.actionID),
            "action": .string(attempt.command.actionType),
            "status": .string(attempt.status.rawValue), "in_force": .bool(attempt.isInForce),
        ]
        object["dry_run"] = attempt.command.dryRun ? true : nil
        object["reason"] = attempt.reason.map(JSON.string)
        object["finished"] = attempt.finishedAt.map { .string($0.inMilliseconds.description) }
        object["undone"] = attempt.undoneAt.map { .string($0.inMilliseconds.description) }
        return object
    }

    /// The last alerts, newest last, as many as fit into `budget` bytes.
    static func alerts(_ alerts: ArraySlice<AlertEvent>, budget: Int) -> JSON.Object {
        var entries: [JSON] = []
        var bytes = 0
        for event in alerts.reversed() {
            var object: JSON.Object = [
                "alert": .object(event.alert.object), "effect": .string(event.effect.rawValue),
            ]
            object["incident"] = event.incident.map(JSON.string)
            object["reason"] = event.reason.map(JSON.string)
            let entry = JSON.object(object)
            bytes += entry.encoded.count + 1
            guard bytes <= budget else { break }
            entries.append(entry)
        }
        return ["alerts": .array(entries.reversed())]
    }

    static func breakers(
        _ breakers: [BreakerKey: Breaker], at now: Timestamp, _ page: Page
    ) -> JSON.Object {
        page.object("breakers", breakers, cursor: { $0.key.text }) { key, breaker in
            var object: JSON.Object = [
                "breaker": .string(key.text), "node": .string(key.node),
                "action": .string(key.action),
                "state": .string(breaker.state(at: now).rawValue),
                "failures": .integer(Int64(breaker.failures.count)),
                "executions": .integer(Int64(breaker.executions.count)),
            ]
            object["resource"] = key.resource.isEmpty ? nil : .string(key.resource)
            object["until"] = breaker.openUntil.map { .string($0.inMilliseconds.description) }
            object["reason"] = breaker.reason.map(JSON.string)
            return object
        }
    }

    static func policies(_ set: PolicySet) -> JSON.Object {
        let list = set.policies.map { policy -> JSON in
            [
                "policy": .string(policy.name), "type": .string(policy.type),
                "severity": .string(policy.severity.rawValue),
                "ladder": .array(policy.ladder.map { .string($0.action) }),
                "cooldown": JSON(seconds: policy.cooldown),
                "max_attempts": .integer(Int64(policy.maxAttempts)),
                "deadline": JSON(seconds: policy.deadline),
                "verify": JSON(seconds: policy.verify),
                "stay_clear": JSON(seconds: policy.stayClear),
                "lease": JSON(seconds: policy.lease), "undo": .bool(policy.undo),
            ]
        }
        return ["policies": .array(list)]
    }
}
