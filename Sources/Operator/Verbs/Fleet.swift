import Protocol
import Runtime
import Settings

extension Program {
    /// The verbs that show how the fleet is.
    static var fleetVerbs: [Verb] {
        [
            Verb(
                "status", "say how the fleet and its coordinator are",
                details: "Also says when an edit of the configuration was refused, and why."
            ) { context in
                try await show(context, "status") {
                    Fleet.status($0, at: SteadyClock.wallTime(), $1)
                }
            },
            Verb(
                "nodes", "list nodes and their agents",
                flags: [
                    Flag("here", "only this node; fails unless its agents are online"),
                    Flag(
                        "agent", value: "TYPE",
                        "only agents of this type, such as thermal_sentinel"),
                ], run: nodes),
            Verb(
                "incidents", "list what is wrong, and what is being done about it",
                flags: [Flag("all", short: "a", "also those that are over")]
            ) { context in
                try await show(
                    context, "incidents", ["all": .bool(context.invocation.has("all"))]
                ) { Fleet.incidents($0, $1) }
            },
            Verb(
                "alerts", "list the last alerts, and what each of them did",
                flags: [Flag("limit", short: "n", value: "N", "how many; default: 20")]
            ) { context in
                let limit = try context.invocation.integer("limit", in: 1...1000, default: 20)
                return try await show(context, "alerts", ["limit": .integer(Int64(limit))]) {
                    Fleet.alerts($0, $1)
                }
            },
            Verb(
                "metrics", "print the coordinator's counters and gauges, as Prometheus reads them",
                details:
                    "With `skos up` those of the agents are among them. Agents that run by "
                    + "themselves count in their own process, and say what matters in heartbeats."
            ) { context in
                try await show(context, "metrics") { answer, _ in
                    answer.text("text").split(separator: "\n").map { Text.safe(String($0)) + "\n" }
                        .joined()
                }
            },
        ]
    }

    /// Asks the coordinator, and shows its answer: as it came, or as a text for people.
    static func show(
        _ context: Context, _ verb: String, _ parameters: JSON.Object = JSON.Object(),
        _ text: (JSON.Object, Style) -> String
    ) async throws -> ExitCode {
        let link = try await context.connect()
        defer { link.close() }
        let answer = try await link.ask(verb, parameters)
        if context.isJSON {
            context.print(.object(answer))
        } else {
            context.out.write(text(answer, context.out.style))
        }
        return .done
    }

    @Sendable
    private static func nodes(_ context: Context) async throws -> ExitCode {
        let link = try await context.connect()
        defer { link.close() }
        var answer = try await link.ask("nodes")
        var code = ExitCode.done
        let everything = answer
        let type = context.invocation.value("agent")
        var here: String?
        if let type { answer = only(type, of: answer) }
        if context.invocation.has("here") {
            let node = try context.config().nodeName
            here = node
            answer = [
                "nodes": .array(
                    answer.list("nodes").filter { $0.text("node") == node }.map { .object($0) })
            ]
            let agents = answer.list("nodes").flatMap { $0.list("agents") }
            let isWell = !agents.isEmpty && agents.allSatisfy { $0.text("status") == "online" }
            if !isWell { code = .failed }
        }
        guard !context.isJSON else {
            context.print(.object(answer))
            return code
        }
        guard !answer.list("nodes").isEmpty else {
            context.out.write(
                Text.safe(Fleet.absence(of: type, on: here, in: everything)) + "\n")
            return code
        }
        // How long ago something was is told by the clock that saw it.
        let now = try await link.ask("status").time("time") ?? SteadyClock.wallTime()
        context.out.write(Fleet.nodes(answer, at: now, context.out.style))
        return code
    }

    /// The nodes that have agents of a type, with these alone.
    private static func only(_ agentType: String, of answer: JSON.Object) -> JSON.Object {
        let nodes = answer.list("nodes").compactMap { node -> JSON? in
            let agents = node.list("agents").filter { $0.text("agent_type") == agentType }
            guard !agents.isEmpty else { return nil }
            var node = node
            node["agents"] = .array(agents.map(JSON.object))
            return .object(node)
        }
        return ["nodes": .array(nodes)]
    }
}

/// The coordinator's answers as texts for people.
enum Fleet {
    // MARK: Status

    /// More than this between two clocks is worth a line.
    private static let notableSkew: Duration = .seconds(2)

    static func status(_ answer: JSON.Object, at now: Timestamp, _ style: Style) -> String {
        var listing = Listing()
        let time = answer.time("time")
        let uptime = time.flatMap { time in
            answer.time("started").map { ", up \(Text.short(time - $0))" }
        }
        listing.add(
            "coordinator",
            "\(answer.text("coordinator")) \(answer.text("version"))\(uptime ?? ""), "
                + "epoch \(answer.integer("epoch"))")
        if let time, case let skew = time - now, abs(skew.inSeconds) > notableSkew.inSeconds {
            let word = skew > .zero ? "ahead of" : "behind"
            listing.more(
                "its clock is \(Text.short(skew > .zero ? skew : .zero - skew)) \(word) this one",
                .yellow)
        }
        let nats = answer.object("nats")
        listing.add("nats", "\(nats.text("url")), server \(nats.text("server_version"))")
        addConfig(answer.object("config"), to: &listing)
        let audit = answer.object("audit")
        listing.add(
            "audit",
            "\(Text.count(audit.integer("sequence"), "record")), "
                + "head \(audit.text("hash").prefix(12))…")
        let agents = answer.object("agents")
        listing.add(
            "agents",
            counts(agents, ["online", "late", "offline"])
                + " on \(Text.count(answer.integer("nodes"), "node"))",
            agents.integer("offline") > 0 ? .red : agents.integer("late") > 0 ? .yellow : nil)
        let obstructed = answer.integer("obstructed_agents")
        if obstructed > 0 {
            listing.more("\(obstructed) cannot act; `skos nodes` says why", .red)
        }
        addNamesakes(answer.object("ambiguous_nodes"), to: &listing)
        if let names = names(answer.object("unheard_nodes")) {
            listing.add("missing", "\(names): in config.yaml, and not heard yet", .yellow)
        }
        addIncidents(answer.object("incidents"), answer.object("drills"), to: &listing)
        let breakers = answer.integer("open_breakers")
        listing.add(
            "breakers", breakers == 0 ? "all closed" : "\(breakers) open",
            breakers == 0 ? nil : .red)
        if answer.flag("dry_run") {
            listing.add(
                "mode", "dry run: agents only report what they would do", .yellow)
        }
        if answer.integer("dropped_heartbeats") > 0 {
            listing.add(
                "load", "\(answer.integer("dropped_heartbeats")) heartbeats dropped", .yellow)
        }
        return listing.text(style)
    }

    private static func addNamesakes(_ ambiguous: JSON.Object, to listing: inout Listing) {
        guard let names = names(ambiguous) else { return }
        listing.add(
            "names",
            "two machines call themselves \(names): nothing is done there; give each its own "
                + "NODE_NAME", .red)
    }

    /// The first names of a list, and how many more there are; `nil` when there are none.
    private static func names(_ list: JSON.Object) -> String? {
        let names = list.strings("first")
        guard !names.isEmpty else { return nil }
        let others = list.integer("count") - names.count
        return names.joined(separator: ", ") + (others > 0 ? " and \(others) more" : "")
    }

    /// Drills count among the incidents, and are told apart from them: nothing is wrong there.
    private static func addIncidents(
        _ all: JSON.Object, _ drills: JSON.Object, to listing: inout Listing
    ) {
        var real = all
        for (phase, _) in drills.members {
            real[phase] = .integer(Int64(all.integer(phase) - drills.integer(phase)))
        }
        let open = counts(real, real.members.map(\.name))
        let tried = counts(drills, drills.members.map(\.name))
        listing.add(
            "incidents",
            (open.isEmpty ? "none" : open) + (tried.isEmpty ? "" : "; of drills: \(tried)"),
            open.isEmpty ? .green : real.integer("escalated") > 0 ? .red : .yellow)
    }

    private static func addConfig(_ config: JSON.Object, to listing: inout Listing) {
        let file = config.text("file")
        listing.add(
            "config",
            "\(file.isEmpty ? "defaults" : file), fingerprint \(config.text("fingerprint"))")
        let refused = config.text("refused")
        guard !refused.isEmpty else { return }
        listing.more("the last edit was refused, the one before it is in force:", .red)
        for line in refused.split(separator: "\n") { listing.more("  \(line)", .red) }
    }

    /// `3 online, 1 late`, without those there are none of.
    private static func counts(_ counts: JSON.Object, _ names: [String]) -> String {
        let present = names.filter { counts.integer($0) > 0 || $0 == "online" }
        return present.map { "\(counts.integer($0)) \($0)" }.joined(separator: ", ")
    }

    // MARK: Lists

    static func nodes(_ answer: JSON.Object, at now: Timestamp, _ style: Style) -> String {
        var table = Table(["NODE", "AGENT", "STATUS", "SEEN", "CPU", "GPU", "VERSION"])
        for node in answer.list("nodes") {
            for agent in node.list("agents") {
                let seen = agent.time("last_seen").map { Text.short(max(.zero, now - $0)) + " ago" }
                table.add([
                    .init(node.text("node")), .init(agent.text("agent_id")),
                    status(of: agent, isAmbiguous: node["ambiguous"] != nil),
                    .init(seen ?? ""),
                    .init(celsius(agent["cpu_temp"])), .init(celsius(agent["gpu_temp"])),
                    .init(agent.object("metadata").text("version")),
                ])
            }
        }
        let notes = answer.list("nodes").flatMap { node -> [String] in
            let obstacles = node.list("agents").filter { !$0.text("obstacle").isEmpty }.map {
                "\($0.text("agent_id")) cannot act: \($0.text("obstacle"))"
            }
            return [node.text("ambiguous")].filter { !$0.isEmpty } + obstacles
        }
        return table.text(style)
            + notes.map { style.paint(Text.safe($0), .red) + "\n" }.joined()
    }

    /// An agent's status, and what speaks against it.
    private static func status(of agent: JSON.Object, isAmbiguous: Bool) -> Table.Cell {
        let status = agent.text("status")
        let isObstructed = !agent.text("obstacle").isEmpty
        guard status != "offline", isAmbiguous || isObstructed else { return Mood.cell(status) }
        let troubles = [isAmbiguous ? "ambiguous" : "", isObstructed ? "cannot act" : ""]
        return Table.Cell(
            ([status] + troubles.filter { !$0.isEmpty }).joined(separator: ", "), .red)
    }

    /// That an agent that was looked for is not there, who is, and what to do about it.
    static func absence(
        of type: String?, on node: String?, in answer: JSON.Object
    ) -> String {
        let nodes = answer.list("nodes")
        guard !nodes.isEmpty else {
            return "no agent has been heard; start some with `skos agent thermal storage mesh "
                + "loop`, or `skos up`"
        }
        var text = "no agent " + (type.map { "of type \(Text.quoted($0)) " } ?? "")
        text += node.map { "of node \(Text.quoted($0)) " } ?? ""
        text += "has been heard"
        let there = nodes.filter { node == nil || $0.text("node") == node }
        guard there.isEmpty else {
            let types = Set(there.flatMap { $0.list("agents") }.map { $0.text("agent_type") })
            return text + "; heard " + (node == nil ? "" : "there ")
                + (types.count == 1 ? "is " : "are ") + types.sorted().joined(separator: ", ")
        }
        let names = nodes.map { $0.text("node") }.sorted()
        let others = names.count - listedNames
        return text + "; heard " + (names.count == 1 ? "is " : "are ")
            + names.prefix(listedNames).joined(separator: ", ")
            + (others > 0 ? " and \(others) more" : "")
    }

    /// Names that a sentence lists; more are counted.
    private static let listedNames = 5

    private static func celsius(_ value: JSON?) -> String {
        value?.double.map { Text.number($0) + " °C" } ?? ""
    }

    static func incidents(_ answer: JSON.Object, _ style: Style) -> String {
        var table = Table(["INCIDENT", "SEVERITY", "PHASE", "OPENED", "LAST ACTION", "MESSAGE"])
        for incident in answer.list("incidents") {
            let last = incident.list("attempts").last
            let action = last.map(Self.attempt) ?? ""
            let isDrill = incident.flag("drill")
            let phase = incident.text("phase")
            table.add([
                .init(incident.text("incident")), Mood.cell(incident.text("severity")),
                .init(phase + (isDrill ? " (drill)" : ""), isDrill ? nil : Mood.colour(phase)),
                .init(incident.timeText("opened")), .init(action),
                .init(incident.text("message")),
            ])
        }
        return table.isEmpty ? "no incidents\n" : table.text(style)
    }

    /// `cleanup_temp succeeded`; of a dry run it says that nothing was done.
    private static func attempt(_ attempt: JSON.Object) -> String {
        let (action, status) = (attempt.text("action"), attempt.text("status"))
        guard attempt.flag("dry_run") else { return "\(action) \(status)" }
        return status == "succeeded"
            ? "\(action) would be done (dry run)" : "\(action) \(status) (dry run)"
    }

    static func alerts(_ answer: JSON.Object, _ style: Style) -> String {
        var table = Table(["TIME", "NODE", "TYPE", "SEVERITY", "EFFECT", "MESSAGE"])
        for entry in answer.list("alerts") {
            let alert = entry.object("alert")
            let reason = entry.text("reason")
            table.add([
                .init(alert.timeText("timestamp")), .init(alert.text("node")),
                .init(Text.symptom(alert.text("type"), alert.text("resource"))),
                Mood.cell(alert.text("severity")),
                .init(entry.text("effect").words + (alert.flag("drill") ? " (drill)" : "")),
                .init(reason.isEmpty ? alert.text("message") : reason),
            ])
        }
        return table.isEmpty ? "no alerts\n" : table.text(style)
    }

    static func breakers(_ answer: JSON.Object, _ style: Style) -> String {
        var table = Table(["BREAKER", "STATE", "FAILURES", "EXECUTIONS", "UNTIL", "REASON"])
        for breaker in answer.list("breakers") {
            table.add([
                .init(breaker.text("breaker")), Mood.cell(breaker.text("state")),
                .init("\(breaker.integer("failures"))"), .init("\(breaker.integer("executions"))"),
                .init(breaker.timeText("until")), .init(breaker.text("reason")),
            ])
        }
        return table.isEmpty ? "no breaker has anything to remember\n" : table.text(style)
    }

    static func policies(_ answer: JSON.Object, _ style: Style) -> String {
        var table = Table([
            "POLICY", "COOLDOWN", "ATTEMPTS", "DEADLINE", "VERIFY", "CLEAR", "LEASE", "UNDO",
            "ACTIONS",
        ])
        for policy in answer.list("policies") {
            table.add([
                .init(policy.text("policy")), .init(policy.secondsText("cooldown")),
                .init("\(policy.integer("max_attempts"))"), .init(policy.secondsText("deadline")),
                .init(policy.secondsText("verify")), .init(policy.secondsText("stay_clear")),
                .init(policy.secondsText("lease")), .init(policy.flag("undo") ? "yes" : "no"),
                .init(policy.strings("ladder").joined(separator: " → ")),
            ])
        }
        return table.isEmpty
            ? "no policies: alerts are recorded and nothing is done\n" : table.text(style)
    }
}

extension String {
    /// A name such as `out_of_order` as words.
    var words: String { String(map { $0 == "_" ? " " : $0 }) }
}
