import Protocol

/// What operators ask for.
extension Immunity {
    /// How many names an answer lists.
    static let listed = 20

    mutating func resetBreaker(_ key: BreakerKey?, _ actor: String, _ turn: inout Turn) {
        let actor = actor.shortened(to: Limits.identifierBytes)
        let open = state.breakers.filter { $0.value.openUntil != nil }.keys.sorted()
        let chosen = key.map { key in open.filter(key.covers) } ?? open
        let outcome =
            chosen.isEmpty
            ? "no open breaker\(key.map { " \($0.text)" } ?? "")"
            : "reset \(Self.list(chosen.map(\.text)))"
        operation(
            "breaker_reset", actor, ["breaker": .string(key?.text ?? "all")], outcome, &turn)
        for key in chosen {
            record(
                .breaker(
                    BreakerEvent(
                        key: key, change: .reset, reason: "reset by \(actor)", until: nil)),
                &turn)
        }
        turn.directives.append(.answer(outcome, granted: key == nil || !chosen.isEmpty))
    }

    /// Takes back what an incident or one action changed. An incident that is not over is left to humans
    /// from then on, lest what was undone is done again. An action that no incident has asked for is asked of
    /// the agents that have it in force, once: who sees that nothing came of it can ask again.
    mutating func undo(_ id: String, _ actor: String, _ turn: inout Turn) {
        let id = id.shortened(to: Limits.identifierBytes)
        let actor = actor.shortened(to: Limits.identifierBytes)
        let incident = state.incident(id: id) ?? state.incident(ofAction: id)
        let attempts = (incident?.attemptsInForce ?? []).filter {
            incident?.id == id || $0.command.actionID == id
        }
        let byHand = incident == nil ? undoByHand(of: id, at: turn.time) : nil
        let outcome =
            attempts.isEmpty
            ? byHand?.outcome ?? "nothing in force under \(id)"
            : "undoing \(Self.list(attempts.map(\.command.actionID)))"
                + deafness(to: attempts, at: turn.time)
        operation("undo", actor, ["id": .string(id)], outcome, &turn)
        let commands = byHand?.commands ?? []
        turn.directives += commands.map(Directive.send)
        if let incident, !attempts.isEmpty {
            for attempt in attempts.reversed() {
                requestUndo(of: attempt, in: incident, reason: "asked for by \(actor)", &turn)
            }
            if let open = state.incidents[incident.key], open.id == incident.id {
                escalate(open, "\(actor) has undone it: left to humans from here on", &turn)
            }
        }
        let isGranted = !attempts.isEmpty || !commands.isEmpty
        turn.directives.append(.answer(outcome, granted: isGranted))
    }

    /// What an operator has to know when nobody hears an undo: it is sent again, and may still come to nothing.
    private func deafness(to attempts: [Attempt], at now: Timestamp) -> String {
        let reasons = attempts.compactMap { attempt in
            missingExecutor(of: attempt.command.actionType, on: attempt.command.node, at: now)
        }
        guard let first = reasons.first else { return "" }
        let others = Set(reasons).count - 1
        return "; nobody hears it yet: \(first)\(others > 0 ? ", and \(others) more" : "")"
    }

    private mutating func operation(
        _ verb: String, _ actor: String, _ parameters: JSON.Object, _ outcome: String,
        _ turn: inout Turn
    ) {
        record(
            .operation(
                OperatorEvent(
                    verb: verb, actor: actor, parameters: parameters, outcome: outcome)),
            &turn)
    }

    static func list(_ names: [String]) -> String {
        let rest = names.count - listed
        return names.prefix(listed).joined(separator: ", ")
            + (rest > 0 ? " and \(rest) more" : "")
    }
}
