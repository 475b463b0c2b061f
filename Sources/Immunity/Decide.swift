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
                return escalate(incident, "nothing on the ladder of \(policy.name) helped", &turn)
            }
            let rung = policy.ladder[incident.rung]
            guard rung.action != ActionTable.alertHuman else {
                return escalate(incident, "\(policy.name) asks for a human", &turn)
            }
            var decision = judge(rung, of: policy, for: incident, at: turn.now)
            if decision.verdict == .escalate {
                return escalate(incident, decision.reason, after: decision, &turn)
            }
            if decision.verdict == .dispatch {
                decision.command = command(rung, policy, incident, at: turn.now)
            }
            record(.decision(decision), &turn)
            if let command = decision.command { dispatched(command, about: key, &turn) }
            if decision.verdict == .wait { return due(at: decision.until) }
        }
    }

    /// Asks every guard, in their fixed order; the first that stops decides.
    private func judge(
        _ rung: Rung, of policy: Policy, for incident: Incident, at now: Timestamp
    ) -> Decision {
        var decision = Decision(
            incident: incident.id, node: incident.key.node, policy: policy.name,
            rung: incident.rung, action: rung.action, verdict: .dispatch,
            reason: "all guards passed", guards: [], cause: incident.alertID)
        let key = BreakerKey(
            node: incident.key.node, action: rung.action, resource: incident.key.resource)
        let breaker = state.breakers[key] ?? Breaker()
        let checks: [(name: String, check: () -> (Decision.Verdict, String, Timestamp?)?)] = [
            ("stale", { self.staleCheck(incident, at: now) }),
            ("breaker", { self.breakerCheck(breaker, at: now) }),
            ("cooldown", { self.cooldownCheck(breaker, policy, incident, at: now) }),
            ("attempts", { self.attemptsCheck(policy, incident) }),
            (
                "dispatch",
                {
                    self.nodes.missingExecutor(of: rung.action, on: incident.key.node)
                        .map { (.skip, $0, nil) }
                }
            ),
        ]
        for (name, check) in checks {
            guard let (verdict, reason, until) = check() else {
                decision.guards.append(
                    Decision.Guard(name: name, passed: true, reason: "passed"))
                continue
            }
            decision.guards.append(Decision.Guard(name: name, passed: false, reason: reason))
            decision.verdict = verdict
            decision.reason = verdict == .skip ? "skipped(\(reason))" : "\(name): \(reason)"
            decision.until = until
            break
        }
        return decision
    }

    private typealias Objection = (Decision.Verdict, String, Timestamp?)

    private func staleCheck(_ incident: Incident, at now: Timestamp) -> Objection? {
        guard now - incident.assertedAt > policies.staleAfter else { return nil }
        let reason = "the symptom was last reported at \(incident.assertedAt)"
        return (.wait, reason, now + policies.staleAfter)
    }

    private func breakerCheck(_ breaker: Breaker, at now: Timestamp) -> Objection? {
        guard let reason = breaker.refusal(at: now) else { return nil }
        guard breaker.state(at: now) == .halfOpen else { return (.escalate, reason, nil) }
        return (.wait, reason, now + Self.resultGrace)
    }

    private func cooldownCheck(
        _ breaker: Breaker, _ policy: Policy, _ incident: Incident, at now: Timestamp
    ) -> Objection? {
        guard let last = breaker.lastExecution, now < last + policy.cooldown else { return nil }
        let until = last + policy.cooldown
        return (.wait, "last attempt at \(last), again after \(policy.cooldown.short)", until)
    }

    private func attemptsCheck(_ policy: Policy, _ incident: Incident) -> Objection? {
        let count = incident.attemptCount(of: incident.rung)
        guard count >= policy.maxAttempts else { return nil }
        return (.skip, "\(count) of \(policy.maxAttempts) attempts made", nil)
    }

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
        command.agentType = ActionTable.kind(of: rung.action)?.agentType
        command.epoch = epoch
        command.lease = policy.undo ? policy.lease : nil
        command.incident = incident.id
        command.dryRun = policies.dryRun || incident.isDrill
        return command
    }

    private mutating func dispatched(
        _ command: Command, about key: IncidentKey, _ turn: inout Turn
    ) {
        turn.directives.append(.send(command))
        nextSend[command.actionID] = turn.now + Self.resendInterval
        due(at: turn.now + Self.resendInterval)
        let breaker = BreakerKey(
            node: key.node, action: command.actionType, resource: key.resource)
        openBreakerIfNeeded(breaker, &turn)
    }

    // MARK: Breakers

    /// After a failed attempt: a failed trial opens the breaker again, too many failures open it.
    mutating func checkBreaker(
        of attempt: Attempt, about key: IncidentKey, _ turn: inout Turn
    ) {
        let key = BreakerKey(
            node: key.node, action: attempt.command.actionType, resource: key.resource)
        if let breaker = state.breakers[key], breaker.trial == attempt.command.actionID {
            return open(key, "the trial \(attempt.command.actionID) failed", &turn)
        }
        openBreakerIfNeeded(key, &turn)
    }

    private mutating func openBreakerIfNeeded(_ key: BreakerKey, _ turn: inout Turn) {
        guard
            let reason = state.breakers[key]?.openingReason(
                at: turn.now, policy: policies.breaker)
        else { return }
        open(key, reason, &turn)
    }

    private mutating func open(_ key: BreakerKey, _ reason: String, _ turn: inout Turn) {
        let until = turn.now + policies.breaker.openFor
        record(
            .breaker(BreakerEvent(key: key, change: .opened, reason: reason, until: until)), &turn)
        publish("breaker_opened", key, reason, &turn)
    }

    /// After a verified recovery: a trial that helped closes its breaker.
    mutating func closeBreakers(after incident: Incident, _ turn: inout Turn) {
        for attempt in incident.attempts {
            let key = BreakerKey(
                node: incident.key.node, action: attempt.command.actionType,
                resource: incident.key.resource)
            guard state.breakers[key]?.trial == attempt.command.actionID else { continue }
            let reason = "the trial \(attempt.command.actionID) helped"
            record(
                .breaker(BreakerEvent(key: key, change: .closed, reason: reason, until: nil)),
                &turn)
            publish("breaker_closed", key, reason, &turn)
        }
    }

    private func publish(
        _ type: String, _ key: BreakerKey, _ reason: String, _ turn: inout Turn
    ) {
        turn.directives.append(
            .publish(
                type: type,
                [
                    "breaker": .string(key.text), "node": .string(key.node),
                    "reason": .string(reason), "timestamp": .string(turn.now.description),
                ]))
    }
}
