import Protocol

extension Compiler {
    /// Compiles all sections that name actions to one list: `policies:` first, then the sections' own.
    mutating func policySet(_ root: Values) -> PolicySet {
        var set = PolicySet()
        set.policies = written(root) + thermalPolicies(root.section("thermal"))
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

    private mutating func thermalPolicies(_ section: Values?) -> [Policy] {
        guard let section, let actions = section.section("actions") else { return [] }
        var policies: [Policy] = []
        for severity in Severity.allCases {
            guard let setting = actions[severity.rawValue] else { continue }
            var policy = Policy(type: "thermal", severity: severity, ladder: [])
            apply(section, to: &policy)
            if case .section(let own) = setting.value {
                policy.ladder = ladder(own.list("actions") ?? [])
                apply(own, to: &policy)
            } else {
                policy.ladder = ladder(actions.list(severity.rawValue) ?? [])
            }
            policies.append(policy)
        }
        return policies
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
