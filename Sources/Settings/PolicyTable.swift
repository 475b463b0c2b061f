package import Protocol

/// One row of `skos policy show`.
package struct PolicyRow: Sendable, Equatable {
    package var type: String
    package var severity: String
    /// The actions in their order: `throttle_50 → redistribute`.
    package var actions: String
    package var cooldown: String
    package var maxAttempts: String
    package var deadline: String
    package var verify: String
    package var stayClear: String
    package var lease: String
    package var undo: String
    /// An earlier row matches the same alerts, so that this one is never used.
    package var isShadowed: Bool

    /// The headings of `cells`.
    package static let headings = [
        "TYPE", "SEVERITY", "ACTIONS", "COOLDOWN", "ATTEMPTS", "DEADLINE", "VERIFY", "STAY CLEAR",
        "LEASE", "UNDO", "USED",
    ]

    /// The row as texts, in the order of `headings`.
    package var cells: [String] {
        [
            type, severity, actions, cooldown, maxAttempts, deadline, verify, stayClear, lease,
            undo,
            isShadowed ? "no, an earlier row matches" : "yes",
        ]
    }
}

/// The compiled policies in the order in which they are tried, for `skos policy show`.
package func policyTable(_ set: PolicySet) -> [PolicyRow] {
    var seen: Set<String> = []
    return set.policies.map { policy in
        let actions = policy.ladder.map { rung in
            rung.parameters.isEmpty
                ? rung.action : "\(rung.action) \(JSON.object(rung.parameters).text)"
        }
        return PolicyRow(
            type: policy.type, severity: policy.severity.rawValue,
            actions: actions.joined(separator: " → "), cooldown: durationText(policy.cooldown),
            maxAttempts: String(policy.maxAttempts), deadline: durationText(policy.deadline),
            verify: durationText(policy.verify), stayClear: durationText(policy.stayClear),
            lease: durationText(policy.lease), undo: policy.undo ? "yes" : "no",
            isShadowed: !seen.insert(policy.name).inserted)
    }
}
