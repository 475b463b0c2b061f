import Protocol

extension Immunity {
    /// Goes down the ladder from the incident's rung until something is dispatched, must wait, or a
    /// human must be asked. Each step is recorded with every guard's word.
    mutating func decide(_ key: IncidentKey, _ turn: inout Turn) {
        while let incident = state.incidents[key], incident.phase == .deciding {
            guard
                let policy = policies.policy(type: key.type, severity: incident.policySeverity)
            else {
                return escalate(incident, "the policy was taken out of config.yaml", &turn)
            }
            guard incident.rung < policy.ladder.count else {
                let obstacle = nodes.ambiguity(of: key.node).map { ": \($0)" } ?? ""
                return escalate(
                    incident, "nothing on the ladder of \(policy.name) helped\(obstacle)", &turn)
            }
            let rung = policy.ladder[incident.rung]
            guard rung.action != ActionTable.alertHuman else {
                return escalate(incident, "\(policy.name) asks for a human", &turn)
            }
            settle(breakerKey(rung, incident), &turn)
            var decision = judge(rung, of: policy, for: incident, at: turn.time)
            if decision.verdict == .escalate {
                return escalate(incident, decision.reason, after: decision, &turn)
            }
            if decision.verdict == .dispatch {
                decision.command = command(rung, policy, incident, at: turn.time)
            }
            record(.decision(decision), &turn)
            if let command = decision.command { dispatched(command, about: key, &turn) }
            if decision.verdict == .wait { return }
        }
    }

    private func breakerKey(_ rung: Rung, _ incident: Incident) -> BreakerKey {
        BreakerKey(
            node: incident.key.node, action: rung.action, resource: incident.key.resource,
            isDryRun: policies.dryRun || incident.isDrill)
    }

    // MARK: Guards

    /// A guard's word against an action.
    private struct Objection {
        var verdict: Decision.Verdict
        var reason: String
        var until: Timestamp?
    }

    private static let guards = [
        "stale", "ambiguous_node", "breaker", "cooldown", "attempts", "dispatch",
    ]

    /// Asks every guard, in their fixed order; the first that stops decides.
    private func judge(
        _ rung: Rung, of policy: Policy, for incident: Incident, at now: Timestamp
    ) -> Decision {
        var decision = Decision(
            incident: incident.id, node: incident.key.node, policy: policy.name,
            rung: incident.rung, action: rung.action, verdict: .dispatch,
            reason: "all guards passed", guards: [], cause: incident.alertID)
        decision.guards.reserveCapacity(Self.guards.count)
        for name in Self.guards {
            guard let objection = objection(of: name, to: rung, of: policy, incident, at: now)
            else {
                decision.guards.append(.init(name: name, passed: true, reason: "passed"))
                continue
            }
            decision.guards.append(.init(name: name, passed: false, reason: objection.reason))
            decision.verdict = objection.verdict
            decision.reason =
                objection.verdict == .skip
                ? "skipped(\(objection.reason))" : "\(name): \(objection.reason)"
            decision.until = objection.until
            break
        }
        return decision
    }

    private func objection(
        of name: String, to rung: Rung, of policy: Policy, _ incident: Incident,
        at now: Timestamp
    ) -> Objection? {
        switch name {
        case "stale": return staleCheck(incident, at: now)
        case "ambiguous_node":
            return nodes.ambiguity(of: incident.key.node).map {
                Objection(verdict: .skip, reason: "ambiguous_node: \($0)")
            }
        case "breaker":
            return breakerCheck(rung, of: policy, incident, at: now)
        case "cooldown":
            return cooldownCheck(state.breakers[breakerKey(rung, incident)], policy, at: now)
        case "attempts": return attemptsCheck(rung, policy, incident)
        case "dispatch":
            return missingExecutor(of: rung.action, on: incident.key.node, at: now)
                .map { Objection(verdict: .skip, reason: $0) }
        default: preconditionFailure("no such guard: \(name)")
        }
    }

    /// Why nobody on a node can do an action, or take it back, at the moment.
    func missingExecutor(of action: String, on node: String, at now: Timestamp) -> String? {
        nodes.missingExecutor(of: action, on: node, at: now, timeout: policies.heartbeatTimeout)
    }

    private func staleCheck(_ incident: Incident, at now: Timestamp) -> Objection? {
        let until = now + max(policies.staleAfter, .seconds(1))
        if now - incident.assertedAt > policies.staleAfter {
            return Objection(
                verdict: .wait,
                reason: "the symptom was last reported at \(incident.assertedAt)", until: until)
        }
        if incident.severity < incident.policySeverity {
            return Objection(
                verdict: .wait, reason: "the symptom has eased to \(incident.severity.rawValue)",
                until: until)
        }
        return nil
    }

    private func breakerCheck(
        _ rung: Rung, of policy: Policy, _ incident: Incident, at now: Timestamp
    ) -> Objection? {
        guard let breaker = state.breakers[breakerKey(rung, incident)],
            let reason = breaker.refusal(at: now)
        else { return nil }
        // The failures of a rung may be what has opened its breaker. When it has had all its attempts, also
        // for a milder severity, it is over with or without the breaker, and the ladder goes on, as after
        // any other failure: the next action has a breaker of its own.
        let made = incident.attempts.count {
            $0.command.actionType == rung.action && !$0.isUntried
        }
        if made >= policy.maxAttempts, incident.attempts.count < State.attemptLimit {
            return Objection(
                verdict: .skip,
                reason: "\(made) of \(policy.maxAttempts) attempts made; breaker \(reason)")
        }
        guard breaker.state(at: now) == .halfOpen else {
            return Objection(verdict: .escalate, reason: reason)
        }
        return Objection(verdict: .wait, reason: reason, until: now + Self.trialInterval)
    }

    private func cooldownCheck(
        _ breaker: Breaker?, _ policy: Policy, at now: Timestamp
    ) -> Objection? {
        guard let last = breaker?.lastExecution, now < last + policy.cooldown else { return nil }
        return Objection(
            verdict: .wait,
            reason: "last attempt at \(last), again after \(policy.cooldown.short)",
            until: last + policy.cooldown)
    }

    private func attemptsCheck(
        _ rung: Rung, _ policy: Policy, _ incident: Incident
    ) -> Objection? {
        guard incident.attempts.count < State.attemptLimit else {
            return Objection(
                verdict: .escalate,
                reason: "\(incident.attempts.count) attempts made in this incident")
        }
        let busy = incident.attemptCount(of: incident.rung, action: rung.action, untried: true)
        guard busy < Self.busyLimit else {
            return Objection(verdict: .skip, reason: "its agent had no time for it \(busy) times")
        }
        if let lost = incident.attempts.last(where: { $0.isForeign(to: rung.action) }) {
            return Objection(
                verdict: .skip,
                reason: "somebody else has changed what \(lost.command.actionType) had set")
        }
        let count = incident.attemptCount(of: incident.rung, action: rung.action)
        guard count >= policy.maxAttempts else { return nil }
        return Objection(
            verdict: .skip, reason: "\(count) of \(policy.maxAttempts) attempts made")
    }

    // MARK: Dispatch

    private func command(
        _ rung: Rung, _ policy: Policy, _ incident: Incident, at now: Timestamp
    ) -> Command {
        let key = incident.key
        let stamp = state.nextStamp(node: key.node, at: now)
        var command = Command(
            actionID: "\(key.node):\(key.type):\(rung.action):\(stamp)", actionType: rung.action,
            node: key.node, parameters: rung.parameters)
        if !key.resource.isEmpty, command.parameters["resource"] == nil {
            command.parameters["resource"] = .string(key.resource)
        }
        command.timestamp = now.inMilliseconds
        command.deadline = (now + policy.deadline).inMilliseconds
        // Recorded with the command, so that a repeat, a renewal and the undo go to the same agent.
        command.agentType =
            ActionTable.kind(of: rung.action)?.agentType
            ?? nodes.executor(of: rung.action, on: key.node)
        command.epoch = epoch
        // What a message can say; else the record of it could not be read back.
        command.lease =
            policy.undo
            ? min(max(policy.lease, .zero), .seconds(Limits.durationSeconds)) : nil
        command.incident = incident.id
        command.dryRun = policies.dryRun || incident.isDrill
        return command
    }

    private mutating func dispatched(
        _ command: Command, about key: IncidentKey, _ turn: inout Turn
    ) {
        turn.directives.append(.send(command))
        nextSend[command.actionID] = turn.time + resendInterval(of: command)
        settle(BreakerKey(command, about: key), &turn)
    }
}
