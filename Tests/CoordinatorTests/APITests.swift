import Bus
import Coordinator
import Protocol
import TestSupport
import Testing

/// `skos.api.<verb>`: what operators can ask for, and what they are told when it cannot be done.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct APITests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        var verb: String
        var parameters: String
        var code: String
        var says: String

        var testDescription: String { "\(verb) \(parameters.prefix(40))" }
    }

    static let mistakes: [Mistake] = [
        Mistake(verb: "dance", parameters: "", code: "bad_request", says: "unknown verb"),
        Mistake(verb: "status", parameters: "{", code: "bad_request", says: "not valid JSON"),
        Mistake(verb: "status", parameters: "[]", code: "bad_request", says: "JSON object"),
        Mistake(
            verb: "status", parameters: String(repeating: " ", count: 70_000), code: "bad_request",
            says: "65536 allowed"),
        Mistake(verb: "incidents", parameters: #"{"all":1}"#, code: "bad_request", says: "all"),
        Mistake(verb: "alerts", parameters: #"{"limit":"x"}"#, code: "bad_request", says: "limit"),
        Mistake(verb: "nodes", parameters: #"{"limit":0}"#, code: "bad_request", says: "limit"),
        Mistake(verb: "nodes", parameters: #"{"after":7}"#, code: "bad_request", says: "after"),
        Mistake(verb: "explain", parameters: "", code: "bad_request", says: "id: is missing"),
        Mistake(verb: "undo", parameters: "{}", code: "bad_request", says: "id: is missing"),
        Mistake(
            verb: "undo", parameters: #"{"id":"nobody"}"#, code: "not_found",
            says: "nothing in force under nobody"),
        Mistake(
            verb: "breaker_reset", parameters: #"{"breaker":"x"}"#, code: "bad_request",
            says: "node:action"),
        Mistake(
            verb: "breaker_reset", parameters: #"{"breaker":"nova:throttle_50"}"#,
            code: "not_found", says: "no open breaker nova:throttle_50"),
    ]

    @Test(arguments: NATSServer.binaries)
    func mistakesAreNamed(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await lab.coordinator()
            for mistake in Self.mistakes {
                let answer = try await lab.ask(mistake.verb, mistake.parameters)
                let error = try #require(answer["error"]?.object, "\(mistake.testDescription)")
                #expect(error["code"]?.string == mistake.code, "\(mistake.testDescription)")
                let message = error["message"]?.string ?? ""
                #expect(message.contains(mistake.says), "\(mistake.testDescription): \(message)")
            }
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func stateIsShown(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            let heartbeat =
                #"{"agent_id":"thermal-nova","agent_type":"thermal_sentinel","#
                + #""node":"nova","cpu_temp":65.5,"metadata":{}}"#
            try lab.connection.publish("skos.heartbeat.nova", Array(heartbeat.utf8))
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(await lab.records("result", 1))

            // Heartbeats come on a connection of their own.
            #expect(await eventually { try await lab.ask("status")["nodes"]?.integer == 1 })
            let status = try await lab.ask("status")
            #expect(status["agents"]?.object?["online"]?.integer == 1)
            #expect(status["incidents"]?.object?["verifying"]?.integer == 1)
            #expect(status["coordinator"]?.string == "coordinator-lab")
            #expect(status["nats"]?.object?["url"]?.string == lab.server.url)
            let nodes = try await lab.ask("nodes")["nodes"]?.array
            let shown = nodes?.first?.object?["agents"]?.array?.first?.object
            #expect(shown?["status"]?.string == "online")
            #expect(shown?["cpu_temp"]?.double == 65.5)
            let incident = try #require(
                try await lab.ask("incidents")["incidents"]?.array?.first?.object)
            #expect(incident["phase"]?.string == "verifying")
            #expect(incident["attempts"]?.array?.count == 1)
            let alerts = try await lab.ask("alerts", #"{"limit":5}"#)["alerts"]?.array
            #expect(alerts?.first?.object?["effect"]?.string == "opened")
            let policies = try await lab.ask("policy")["policies"]?.array
            #expect(policies?.first?.object?["policy"]?.string == "thermal/critical")
            let text = try await lab.ask("metrics")["text"]?.string ?? ""
            // One, or more if an answer took too long.
            #expect(text.contains("\nskos_commands_sent_total "))
            #expect(!text.contains("\nskos_commands_sent_total 0\n"))

            try lab.alert(HealingTests.clear)
            #expect(await eventually { agent.undone.count == 1 })
            #expect(try await lab.ask("incidents")["incidents"]?.array?.isEmpty == true)
            let all = try await lab.ask("incidents", #"{"all":true}"#)["incidents"]?.array
            #expect(all?.first?.object?["phase"]?.string == "resolved")
        }
    }

    /// Nodes that the configuration names are missed when they are not heard.
    @Test(arguments: NATSServer.binaries)
    func unheardNodesAreNamed(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await lab.coordinator(Lab.policies { $0.nodes = ["lyra", "nova"] })
            let before = try await lab.ask("status")["unheard_nodes"]
            #expect(before == ["count": 2, "first": ["lyra", "nova"]])
            let heartbeat = #"{"agent_id":"a","agent_type":"t","node":"nova","metadata":{}}"#
            try lab.connection.publish("skos.heartbeat.nova", Array(heartbeat.utf8))
            #expect(
                await eventually {
                    try await lab.ask("status")["unheard_nodes"] == ["count": 1, "first": ["lyra"]]
                })
        }
    }

    @Test(arguments: NATSServer.binaries)
    func whatWasCommandedByHandIsUndone(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            let heartbeat =
                #"{"agent_id":"thermal-nova","agent_type":"thermal_sentinel","metadata":"#
                + #"{"active":[{"action_id":"by hand","action_type":"throttle_50"}]}}"#
            try lab.connection.publish("skos.heartbeat.nova", Array(heartbeat.utf8))
            #expect(
                await eventually { !lab.tape.notes("skos.event.agent_joined").isEmpty })
            let answer = try await lab.ask("undo", #"{"id":"by hand","actor":"ops"}"#)
            #expect(answer["outcome"]?.string == "undoing by hand: throttle_50 on nova")
            #expect(await eventually { agent.undone == ["by hand"] })
            #expect(await lab.records("result", 1))
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func breakerOpensIsListedAndReset(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection, .fails)
            let policies = Lab.policies(ladder: ["throttle_50"]) {
                $0.breaker.failureThreshold = 1
            }
            _ = try await lab.coordinator(policies)
            try lab.alert(HealingTests.critical)
            #expect(await lab.records("breaker", 1))
            let breaker = try await lab.ask("breakers")["breakers"]?.array?.first?.object
            #expect(breaker?["breaker"]?.string == "nova:throttle_50:cpu")
            #expect(breaker?["state"]?.string == "open")
            #expect(try await lab.ask("status")["open_breakers"]?.integer == 1)

            // While it is open nothing is sent.
            try lab.alert(HealingTests.clear)
            #expect(await eventually { lab.tape.notes("skos.event.incident_resolved").count == 1 })
            try lab.alert(HealingTests.critical)
            #expect(await eventually { lab.tape.notes("skos.event.escalation").count == 2 })
            #expect(agent.executions.count == 1)

            let reset = try await lab.ask(
                "breaker_reset", #"{"breaker":"nova:throttle_50","actor":"ops"}"#)
            #expect(reset["outcome"]?.string == "reset nova:throttle_50:cpu")
            let operation = try #require(try await lab.verifiedAudit().kind("operator").last)
            #expect(operation["actor"]?.string == "ops")
            #expect(try await lab.ask("status")["open_breakers"]?.integer == 0)
            try lab.alert(HealingTests.clear)
            #expect(await eventually { lab.tape.notes("skos.event.incident_resolved").count == 2 })
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 2 })
        }
    }

    @Test(arguments: NATSServer.binaries)
    func operatorTakesBackWhatIsInForce(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(HealingTests.critical)
            #expect(await lab.records("result", 1))
            let id = try #require(agent.executions.keys.first)
            let answer = try await lab.ask("undo", #"{"id":"\#(id)","actor":"ops"}"#)
            #expect(answer["outcome"]?.string == "undoing \(id)")
            #expect(await eventually { agent.undone == [id] })
            // It is left to humans: the symptom, still there, does not bring the action back.
            #expect(await lab.records("result", 2))
            try lab.alert(HealingTests.critical)
            let again = try await lab.ask("undo", #"{"id":"\#(id)"}"#)
            #expect(again["error"]?.object?["code"]?.string == "not_found")
            #expect(agent.executions == [id: 1])
            try await lab.verifiedAudit()
        }
    }

    /// A story is told from any of its ends, and only from what the audit holds.
    @Test(arguments: NATSServer.binaries)
    func explainTellsTheWholeStory(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator()
            try lab.alert(
                #"{"type":"thermal","severity":"critical","id":"alert-1"}"#, node: "nova")
            try lab.alert(#"{"type":"thermal","severity":"critical"}"#, node: "lyra")
            try lab.alert("what?", node: "nova")
            #expect(await lab.records("result", 2))
            #expect(await lab.records("rejected", 1))
            let action = try #require(agent.executions.keys.first { $0.hasPrefix("nova") })
            let incident = try #require(
                try await lab.audit().kind("alert").first { $0["node"]?.string == "nova" }?[
                    "incident"]?.string)
            for id in ["alert-1", action, incident] {
                let records = try await lab.ask("explain", #"{"id":"\#(id)"}"#)["records"]?.array
                let kinds = records?.compactMap { $0.object?["kind"]?.string }
                #expect(kinds == ["alert", "decision", "result"], "of \(id)")
            }
            let node = try await lab.ask("explain", #"{"id":"nova"}"#)
            let kinds = node["records"]?.array?.compactMap { $0.object?["kind"]?.string }
            #expect(kinds?.sorted() == ["alert", "decision", "rejected", "result"])
            #expect(node["truncated"]?.bool == false)
            let nothing = try await lab.ask("explain", #"{"id":"nobody"}"#)
            #expect(nothing["records"]?.array?.isEmpty == true)
        }
    }

    /// 3,000 nodes do not fit into one message: they come in pages, each once.
    @Test(arguments: NATSServer.binaries)
    func longListsComeInPages(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await lab.coordinator()
            let count = 3000
            let padding = String(repeating: "x", count: 300)
            for index in 0..<count {
                let heartbeat =
                    #"{"agent_id":"a-\#(index)","agent_type":"t","node":"n-\#(index)","#
                    + #""metadata":{"note":"\#(padding)"}}"#
                try lab.connection.publish("skos.heartbeat.n-\(index)", Array(heartbeat.utf8))
            }
            #expect(
                await eventually {
                    try await lab.ask("status")["nodes"]?.integer == Int64(count)
                })
            var names: [String] = []
            var pages = 0
            var next: String?
            repeat {
                let parameters = next.map { #"{"after":"\#($0)"}"# } ?? ""
                let page = try await lab.ask("nodes", parameters)
                names += page["nodes"]?.array?.compactMap { $0.object?["node"]?.string } ?? []
                next = page["next"]?.string
                pages += 1
            } while next != nil && pages < 100
            #expect(pages > 1)
            #expect(names.count == count)
            #expect(Set(names).count == count)
            let few = try await lab.ask("nodes", #"{"limit":2}"#)
            #expect(few["nodes"]?.array?.count == 2)
            #expect(few["next"]?.string == names[1])
        }
    }

    /// Many at once: each is answered, if only with the word that there are too many, or, on a machine
    /// that is busy with other tests, that the audit could not be read in time.
    @Test(arguments: NATSServer.binaries)
    func everyRequestIsAnswered(binary: String) async throws {
        try await Lab.run(binary) { lab in
            _ = try await lab.coordinator()
            for index in 0..<200 { try lab.alert(HealingTests.critical, node: "n-\(index)") }
            let answers = try await withThrowingTaskGroup(of: JSON.Object.self) { group in
                for index in 0..<200 {
                    let verb = ["status", "explain", "breaker_reset", "incidents"][index % 4]
                    group.addTask { try await lab.ask(verb, #"{"id":"n-1"}"#) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count == 200)
            let codes = Set(
                answers.compactMap { $0["error"]?.object?["code"]?.string })
            #expect(codes.isSubset(of: ["busy", "unavailable"]))
            try await lab.verifiedAudit()
        }
    }
}
