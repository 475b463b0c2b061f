/// What is known of an action verb wherever it is executed.
package struct ActionKind: Sendable, Equatable {
    /// The `agent_type` that executes it; `nil`: no agent of this version does.
    package var agentType: String?
    /// Whether executing it disturbs the work of the node.
    package var isDisruptive: Bool

    package init(agentType: String?, isDisruptive: Bool) {
        self.agentType = agentType
        self.isDisruptive = isDisruptive
    }
}

/// The table of action verbs that policies may name. Agents may offer more, by saying so in the
/// `verbs` of their heartbeats.
package enum ActionTable {
    /// The verb with which a policy asks for a human; the coordinator itself carries it out.
    package static let alertHuman = "alert_human"

    /// Looks a verb up; `nil` when it is not in the table.
    package static func kind(of action: String) -> ActionKind? {
        if throttlePercent(action) != nil {
            return ActionKind(agentType: "thermal_sentinel", isDisruptive: false)
        }
        guard others.contains(action) else { return nil }
        let owner = owners.first { $0.actions.contains(action) }
        return ActionKind(
            agentType: owner?.agentType, isDisruptive: disruptive.contains(action))
    }

    /// By how many percent `throttle_N` may slow a node down: more would leave it next to nothing.
    package static let throttlePercents = 1...90

    /// The percentage of a `throttle_N` verb.
    package static func throttlePercent(_ action: String) -> Int? {
        guard action.hasPrefix("throttle_"), let percent = Int(action.dropFirst(9)),
            throttlePercents.contains(percent), action == "throttle_\(percent)"
        else { return nil }
        return percent
    }

    /// Whether an agent that lists these verbs offers an action. Of `throttle_N` agents list those that are
    /// usual, and offer all.
    package static func isOffered(_ action: String, among verbs: some Sequence<String>) -> Bool {
        let isThrottle = throttlePercent(action) != nil
        return verbs.contains { $0 == action || (isThrottle && throttlePercent($0) != nil) }
    }

    /// Every verb by name, for messages and completion; `throttle_N` stands for its family.
    package static var names: [String] { (others + ["throttle_10", "throttle_50"]).sorted() }

    /// Who executes what. An action of nobody here is executed by whichever agent offers it.
    private static let owners: [(agentType: String, actions: [String])] = [
        (
            "storage_watcher",
            ["cleanup_temp", "cleanup_logs", "archive_old_data", "emergency_cleanup"]
        ),
        (
            "mesh_healer",
            [
                "ping_peer", "resolve_endpoint", "restart_wireguard", "regenerate_config",
                "failover_route",
            ]
        ),
        ("loop_breaker", ["circuit_break", "reset_chain"]),
    ]
    private static let others =
        owners.flatMap(\.actions)
        + ["redistribute", "failover", "shutdown_non_essential", alertHuman]
    private static let disruptive: Set<String> = [
        "failover", "shutdown_non_essential", "emergency_cleanup", "restart_wireguard",
    ]
}
