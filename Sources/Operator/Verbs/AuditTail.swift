import Bus
import Protocol

extension Program {
    static var auditTailVerb: Verb {
        Verb(
            "audit tail", "show the last records of the audit",
            details: "Reads the stream itself, so it works without a coordinator, too.",
            flags: [
                Flag("follow", short: "f", "go on with new records as they come"),
                Flag("count", short: "n", value: "N", "how many; default: 20"),
                Flag("kind", value: "KIND", choices: Narrator.kinds, "only this kind"),
                Flag("node", value: "NODE", "only about this node"),
            ],
            examples: ["skos audit tail -f", "skos audit tail -n 100 --kind decision --node nova"],
            run: auditTail)
    }

    @Sendable
    private static func auditTail(_ context: Context) async throws -> ExitCode {
        let invocation = context.invocation
        let count = try invocation.integer("count", in: 0...1_000_000, default: 20)
        let kind = invocation.value("kind")
        let node = invocation.value("node")
        let link = try await context.connect()
        defer { link.close() }
        let stream = try await AuditStream(link)
        for record in try await stream.last(count, kind: kind, node: node) {
            show(record, context)
        }
        guard invocation.has("follow") else { return .done }
        try context.out.flush()
        let start = stream.info.lastSequence + 1
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await stream.read(start...UInt64.max) { message in
                    if let record = AuditRecord(message), record.matches(kind: kind, node: node) {
                        show(record, context)
                        try context.out.flush()
                    }
                    return true
                }
            }
            // With `| head`, the end of the reader shows only here while no record comes.
            group.addTask {
                while !context.out.isAbandoned { try await Task.sleep(for: .milliseconds(200)) }
            }
            try await group.next()
            group.cancelAll()
        }
        return .done
    }

    private static func show(_ record: AuditRecord, _ context: Context) {
        if context.isJSON {
            context.out.write(Text.safeJSON(JSON.object(record.object).text) + "\n")
        } else {
            context.out.write(record.line(context.out.style) + "\n")
        }
    }
}
