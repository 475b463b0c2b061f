import Protocol

/// What others do beside the coordinator: commands by hand, and nodes that are not in the configuration.
extension Immunity {
    /// How many results and nodes of others are remembered, lest they are recorded again and again.
    static let strangerLimit = 4096

    /// Records what became of an action that no incident has asked for, once: a command by hand changes a
    /// node, too.
    mutating func recordForeign(_ result: CommandResult, _ turn: inout Turn) {
        guard policies.nodes?.contains(result.node) ?? true else {
            let subject = Subjects.result(result.node)
            return refuse(result.node, subject, excerpt: result.actionID, &turn)
        }
        // One that names an incident was a coordinator's, and is in the audit.
        guard result.incident == nil, result.status != .accepted else { return }
        if foreignResults.count >= Self.strangerLimit { foreignResults = [] }
        let name = "\(result.node) \(result.actionID) \(result.status.rawValue)"
        guard foreignResults.insert(name).inserted else { return }
        record(.result(ResultEvent(result: result, incident: "", timedOut: false)), &turn)
    }

    /// Says once that a node is not in the configuration, and so is not looked after.
    mutating func refuse(
        _ node: String, _ subject: String, excerpt: String, _ turn: inout Turn
    ) {
        guard strangers.count < Self.strangerLimit, strangers.insert(node).inserted else { return }
        reject(
            Rejection(
                subject: subject, node: node, field: "node", reason: Self.unknownNode(node),
                excerpt: excerpt), &turn)
    }

    /// Records what an agent has rejected, such as a command that cannot be read. Every agent of the node
    /// has heard the same message, so it is recorded once.
    mutating func record(rejectedByAgent rejection: Rejection, _ turn: inout Turn) {
        guard policies.nodes?.contains(rejection.node) ?? true else { return }
        if let last = agentRejection, last.rejection == rejection,
            turn.time - last.time < Self.sameRejection, turn.time >= last.time
        {
            return
        }
        agentRejection = (rejection, turn.time)
        record(.rejected(rejection.shortened), &turn)
    }

    /// How long after one rejection another that says the same is of another agent.
    static let sameRejection: Duration = .seconds(2)

    static func unknownNode(_ node: String) -> String {
        "unknown node \"\(node)\": add it under nodes:"
    }
}
