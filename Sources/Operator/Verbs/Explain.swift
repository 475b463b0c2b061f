import Protocol

extension Program {
    static var explainVerb: Verb {
        Verb(
            "explain", "tell why something was done, or why nothing was",
            details: "Reads the records of the audit back, in order: time, who, what, why, every "
                + "guard's word, and the result. Nothing is told that is not on record.",
            parameters: [
                Parameter(
                    "ID", .one, "an incident, an alert's id, an action_id, a breaker, or a node")
            ],
            examples: ["skos explain nova", "skos explain nova:thermal:cpu:1795252027"],
            run: explain)
    }

    /// How long a story is waited for.
    private static let patience: Duration = .seconds(60)

    @Sendable
    private static func explain(_ context: Context) async throws -> ExitCode {
        let id = context.invocation.arguments[0]
        var link = try await context.connect()
        defer { link.close() }
        // The whole audit is read for it, and a long one takes a while.
        if context.invocation.value("timeout") == nil { link.timeout = patience }
        let answer = try await link.ask("explain", ["id": .string(id)])
        let isEmpty = answer.list("records").isEmpty
        if context.isJSON {
            context.print(.object(answer))
            return isEmpty ? .failed : .done
        }
        guard isEmpty else {
            context.out.write(StoryTeller(answer).text(context.out.style))
            return .done
        }
        // "Why did it do nothing?" has an answer, too: nothing was reported.
        let node = try await link.ask("nodes").list("nodes").first { $0.text("node") == id }
        guard let node else {
            throw Failure(
                .failed,
                "nothing on record mentions \(Text.quoted(id)); `skos incidents --all`, `skos alerts` "
                    + "and `skos nodes` list what can be explained")
        }
        context.out.write(
            "\(Text.safe(id)): nothing is on record, so nothing was done: no alert came.\n")
        let table = Fleet.nodes(
            ["nodes": [.object(node)]],
            at: try await link.ask("status").time("time") ?? .init(seconds: 0),
            context.out.style)
        context.out.write(table)
        return .done
    }
}
