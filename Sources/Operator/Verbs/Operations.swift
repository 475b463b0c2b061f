import Protocol

extension Program {
    /// The verbs that ask the coordinator to do something.
    static var operationVerbs: [Verb] {
        let comment = Flag(
            "comment", short: "m", value: "TEXT", "why, for the audit")
        return [
            Verb(
                "undo", "take back what an incident or an action changed",
                details:
                    "Every change that is still in force is restored on its node. Safe to repeat.",
                parameters: [
                    Parameter(
                        "ID", .one,
                        "an incident, as `skos incidents` lists it, or an action_id, as `skos "
                            + "explain` names it")
                ],
                flags: [comment],
                examples: ["skos undo nova:thermal:throttle_50:1795252027"], run: undo),
            Verb(
                "breaker list", "show the circuit breakers, and broken chains of messages",
                details:
                    "There is one for each action on each resource of a node. It opens after too "
                    + "many failures, and after too many executions: a healing loop. Below them "
                    + "stand the chains and pairs of agents that the loop breaker holds back; "
                    + "these close by themselves.",
                run: listBreakers),
            Verb(
                "breaker reset", "close circuit breakers that have opened",
                parameters: [
                    Parameter(
                        "BREAKER", .optional,
                        "node:action or node:action:resource, as `skos breaker list` shows them")
                ],
                flags: [Flag("all", "all that are open"), comment],
                examples: ["skos breaker reset nova:throttle_50 --comment 'fan replaced'"],
                run: resetBreaker),
        ]
    }

    @Sendable
    private static func listBreakers(_ context: Context) async throws -> ExitCode {
        let link = try await context.connect()
        defer { link.close() }
        var answer = try await link.ask("breakers")
        let chains = try await BrokenChains.read(link)
        answer["chains"] = .array(chains.map(JSON.object))
        if context.isJSON {
            context.print(.object(answer))
        } else {
            let style = context.out.style
            context.out.write(Fleet.breakers(answer, style))
            if !chains.isEmpty { context.out.write("\n" + BrokenChains.text(chains, style)) }
        }
        return .done
    }

    @Sendable
    private static func undo(_ context: Context) async throws -> ExitCode {
        try await request(
            context, "undo", ["id": .string(context.invocation.arguments[0])])
    }

    @Sendable
    private static func resetBreaker(_ context: Context) async throws -> ExitCode {
        let breaker = context.invocation.arguments.first
        let isAll = context.invocation.has("all")
        guard isAll != (breaker != nil) else {
            throw UsageError(
                "breaker reset: name one breaker, or all of them with --all",
                verb: context.invocation.verb.path)
        }
        return try await request(
            context, "breaker_reset", breaker.map { ["breaker": .string($0)] } ?? JSON.Object())
    }

    /// Asks in the name of whoever types this, and shows what came of it.
    private static func request(
        _ context: Context, _ verb: String, _ parameters: JSON.Object
    ) async throws -> ExitCode {
        var parameters = parameters
        parameters["actor"] = .string(context.actor)
        let comment = context.invocation.value("comment")
        parameters["comment"] = comment.map(JSON.string)
        return try await show(context, verb, parameters) { answer, _ in
            Text.safe(answer.text("outcome")) + "\n"
        }
    }
}

extension Context {
    /// Who types this, for the audit: `alice@laptop`, with the comment when there is one.
    var actor: String {
        let user = environment["SUDO_USER"] ?? environment["USER"] ?? environment["LOGNAME"]
        let name = (user ?? "").isEmpty ? "operator" : user ?? ""
        let comment = invocation.value("comment").map { " (\($0))" } ?? ""
        return Text.cut(Text.safe("\(name)@\(Self.hostName)\(comment)"), Limits.identifierBytes)
    }
}
