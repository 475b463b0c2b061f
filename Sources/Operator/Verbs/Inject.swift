import Bus
import Glibc
import Protocol

extension Program {
    static var injectVerb: Verb {
        Verb(
            "inject", "raise an alert by hand, to see what happens",
            details:
                "Publishes to skos.alert.NODE the same JSON that an agent, or any client of NATS, "
                + "would. It is acted upon like any other alert: with --dry-run, agents only report "
                + "what they would do. A drill and a real incident are two: what was raised with "
                + "--dry-run is cleared with --dry-run.",
            parameters: [Parameter("NODE", .one, "the node that the alert is about")],
            flags: [
                Flag("type", value: "TYPE", "the kind of symptom, such as thermal (required)"),
                Flag(
                    "severity", value: "SEVERITY", choices: Severity.allCases.map(\.rawValue),
                    "how bad it is; ok says that it has cleared (required)"),
                Flag("resource", value: "NAME", "what it is about, such as cpu"),
                Flag(
                    "value", value: "NUMBER",
                    "the measured value; in °C for thermal, in % for storage"),
                Flag("message", value: "TEXT", "one sentence for people"),
                Flag("dry-run", "a drill: nothing may touch hardware"),
                Flag("wait", "follow the audit until it is clear what came of it"),
            ],
            examples: [
                "skos inject nova --type storage --severity warning --value 85 --dry-run --wait",
                "skos inject nova --type storage --severity ok --dry-run",
            ], run: inject)
    }

    @Sendable
    private static func inject(_ context: Context) async throws -> ExitCode {
        let alert = try alert(context)
        let link = try await context.connect()
        defer { link.close() }
        // What follows from it is looked for behind this place.
        let isFollowed = context.invocation.has("wait")
        let place = isFollowed ? try await AuditStream(link).info.lastSequence : 0
        let subject = Subjects.alert(alert.node)
        let ack: PubAck
        do {
            ack = try await link.connection.jetStream.publish(
                subject, alert.encoded, messageID: alert.id,
                timeout: link.timeout)
        } catch  where error.code == .noResponders {
            throw Failure(
                .unreachable,
                "no stream takes \(subject) at \(link.url): no coordinator has run there yet; start "
                    + "one with `skos coordinator` or `skos up`")
        } catch { throw link.failure(error, "publishing to \(subject)") }
        if !context.isJSON {
            context.out.line(
                "alert \(alert.id ?? "") is stored as number \(ack.sequence) of "
                    + "\(Subjects.alertStream)")
        }
        await warnOfAbsence(of: alert.node, context, link)
        guard isFollowed else {
            if context.isJSON {
                context.print([
                    "alert": .object(alert.object), "stream": .string(Subjects.alertStream),
                    "sequence": .integer(Int64(clamping: ack.sequence)),
                ])
            } else if alert.severity == .ok {
                await tellOfOthers(alert, context, link)
            }
            return .done
        }
        return try await Pursuit(alert, context).follow(link, after: place)
    }

    /// Says at once when nobody is there who could act, as after a slip in the node's name. It is stored, so
    /// no answer here is no failure.
    private static func warnOfAbsence(
        of node: String, _ context: Context, _ link: Link
    ) async {
        guard let nodes = try? await link.ask("nodes"),
            !nodes.list("nodes").contains(where: { $0.text("node") == node })
        else { return }
        context.note(Fleet.absence(of: nil, on: node, in: nodes) + "; nobody there can act")
    }

    /// Says so when the incident that is open about the same is one that this `ok` does not end: only a
    /// drill ends a drill, and nothing else.
    private static func tellOfOthers(_ alert: Alert, _ context: Context, _ link: Link) async {
        // It is stored, so no answer here is no failure.
        guard let incidents = try? await link.ask("incidents").list("incidents") else { return }
        let same = incidents.filter { incident in
            incident.text("node") == alert.node && incident.text("type") == alert.type
                && incident.text("resource") == alert.resource
        }
        guard let other = same.first(where: { $0.flag("drill") != alert.drill }),
            !same.contains(where: { $0.flag("drill") == alert.drill })
        else { return }
        let hint =
            alert.drill
            ? "is no drill: only an ok without --dry-run ends it"
            : "is a drill: only an ok with --dry-run ends it"
        context.out.line(Text.safe("\(other.text("incident")) stays open, for it \(hint)"))
    }

    /// The alert that the command line describes.
    ///
    /// - Throws: `UsageError` for what a coordinator would reject.
    private static func alert(_ context: Context) throws(UsageError) -> Alert {
        let invocation = context.invocation
        func wrong(_ message: String) -> UsageError {
            UsageError("inject: \(message)", verb: invocation.verb.path)
        }
        let node = invocation.arguments[0]
        guard let type = invocation.value("type") else {
            throw wrong("--type is missing: the kind of symptom, such as thermal")
        }
        guard let severity = invocation.value("severity").flatMap(Severity.init) else {
            throw wrong("--severity is missing: warning, critical, emergency or ok")
        }
        for name in [node, type] where !Name.isValid(name) {
            throw wrong("\(Text.quoted(name)) is not a name: 1 to 63 of a-z, 0-9, _ and -")
        }
        var alert = Alert(
            type: type, severity: severity, node: node,
            resource: invocation.value("resource") ?? "")
        alert.id = "inject-" + String(UInt64.random(in: .min ... .max), radix: 16)
        alert.agentID = "operator"
        alert.message = invocation.value("message")
        alert.drill = invocation.has("dry-run")
        if let text = invocation.value("value") {
            guard let value = Double(text), value.isFinite else {
                throw wrong("--value: \(Text.quoted(text)) is not a number")
            }
            alert.value = value
            alert.unit = ["thermal": "celsius", "storage": "percent"][type]
        }
        // By the rules of whoever will read it.
        do throws(MessageError) { _ = try Alert(Fields(alert.object), node: node) } catch {
            throw wrong("\(error)")
        }
        return alert
    }
}
