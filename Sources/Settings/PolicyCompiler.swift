import Protocol

extension Compiler {
    /// Compiles all sections that name actions to one list: `policies:` first, then the sections' own.
    mutating func policySet(_ root: Values) -> PolicySet {
        var set = PolicySet()
        set.policies =
            written(root) + policies(bySeverity: root.section("thermal"), type: "thermal")
            + policies(bySeverity: root.section("storage"), type: "storage")
            + policies(byType: root.section("mesh"), types: Schema.meshTypes)
            + policies(byType: root.section("loop"), types: Schema.loopTypes)
        set.breaker = breaker(root.section("breaker"))
        let alerts = root.section("alerts")
        set.staleAfter = alerts?.duration("stale_after") ?? set.staleAfter
        set.expireAfter = alerts?.duration("expire_after") ?? set.expireAfter
        set.heartbeatTimeout = root.duration("heartbeat_timeout") ?? set.heartbeatTimeout
        set.dryRun = root.flag("dry_run") ?? set.dryRun
        return set
    }

    /// The policies of `policies:`, one for each type and severity that an entry matches.
    private mutating func written(_ root: Values) -> [Policy] {
        var policies: [Policy] = []
        var owners: [String: String] = [:]
        for entry in root.list("policies") ?? [] {
            guard case .section(let values) = entry.value, let match = values.section("match")
            else { continue }
            let types = match.texts("type") ?? []
            let severities = match.texts("severity")?.compactMap(Severity.init) ?? []
            let ladder = ladder(values.list("actions") ?? [])
            for type in types {
                for severity in severities {
                    var policy = Policy(type: type, severity: severity, ladder: ladder)
                    apply(values, to: &policy)
                    if let owner = owners[policy.name] {
                        issues.add(
                            entry.origin, entry.path,
                            "\(policy.name) is already matched by \(owner), so this would never be used"
                        )
                    } else {
                        owners[policy.name] = entry.path
                        policies.append(policy)
                    }
                }
            }
        }
        return policies
    }

    /// The policies of a section whose actions are named by severity.
    private mutating func policies(bySeverity section: Values?, type: String) -> [Policy] {
        guard let section, let actions = section.section("actions") else { return [] }
        return Severity.allCases.flatMap { severity in
            policies(actions[severity.rawValue], of: section, type: type, severities: [severity])
        }
    }

    /// The policies of a section whose actions are named by alert type, and hold for every severity.
    private mutating func policies(byType section: Values?, types: [String]) -> [Policy] {
        guard let section, let actions = section.section("actions") else { return [] }
        let severities = Severity.allCases.filter { $0 != .ok }
        return types.flatMap { type in
            policies(actions[type], of: section, type: type, severities: severities)
        }
    }

    private mutating func policies(
        _ setting: Setting?, of section: Values, type: String, severities: [Severity]
    ) -> [Policy] {
        guard let setting else { return [] }
        var policy = Policy(type: type, severity: .ok, ladder: [])
        apply(section, to: &policy)
        // Of `loop:` it is the cool-down of broken chains.
        if Schema.loopTypes.contains(type) { policy.cooldown = Schema.plainPolicy.cooldown }
        switch setting.value {
        case .section(let own):
            policy.ladder = ladder(own.list("actions") ?? [])
            apply(own, to: &policy)
        case .list(let actions): policy.ladder = ladder(actions)
        default: break
        }
        return severities.map { severity in
            var policy = policy
            policy.severity = severity
            return policy
        }
    }

    private mutating func ladder(_ settings: [Setting]) -> [Rung] {
        var rungs: [Rung] = []
        for setting in settings {
            switch setting.value {
            case .text(let action): rungs.append(Rung(action: action))
            case .section(let values):
                guard let action = values.text("action") else { continue }
                rungs.append(
                    Rung(action: action, parameters: values.json("parameters") ?? JSON.Object()))
            default: continue
            }
            if let rung = rungs.last { warnIfUnknown(rung.action, setting) }
        }
        return rungs
    }

    /// Takes over those knobs of a ladder that are set.
    private func apply(_ values: Values, to policy: inout Policy) {
        policy.cooldown = values.duration("cooldown") ?? policy.cooldown
        policy.maxAttempts = values.integer("max_attempts") ?? policy.maxAttempts
        policy.deadline = values.duration("deadline") ?? policy.deadline
        policy.verify = values.duration("verify") ?? policy.verify
        policy.stayClear = values.duration("stay_clear") ?? policy.stayClear
        policy.lease = values.duration("lease") ?? policy.lease
        policy.undo = values.flag("undo") ?? policy.undo
    }

    private mutating func breaker(_ section: Values?) -> BreakerPolicy {
        var breaker = BreakerPolicy()
        guard let section else { return breaker }
        breaker.failureThreshold = section.integer("failure_threshold") ?? breaker.failureThreshold
        breaker.executionThreshold =
            section.integer("execution_threshold") ?? breaker.executionThreshold
        breaker.window = section.duration("window") ?? breaker.window
        breaker.openFor = section.duration("open_for") ?? breaker.openFor
        let (failures, executions) = (section["failure_threshold"], section["execution_threshold"])
        if let failures, let executions, breaker.failureThreshold > breaker.executionThreshold {
            let (fewer, more) = (breaker.executionThreshold, breaker.failureThreshold)
            if executions.origin.isGiven {
                issues.add(
                    executions.origin, executions.path,
                    "\(fewer) is below failure_threshold (\(more)\(source(failures))), "
                        + "which could never be reached")
            } else {
                issues.add(
                    failures.origin, failures.path,
                    "\(more) is above execution_threshold (\(fewer)\(source(executions))), "
                        + "so it could never be reached")
            }
        }
        return breaker
    }
}
