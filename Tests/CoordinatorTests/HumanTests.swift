import Bus
import Coordinator
import Protocol
import Runtime
import Settings
import TestSupport
import Testing

extension HTTPServer {
    /// The events that were posted.
    fileprivate var events: [JSON.Object] {
        requests.compactMap { try? JSON.parse(Array($0.body.utf8)).object }
    }
}

/// What needs a human reaches one.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct HumanTests {
    private func local(_ url: String) -> Config.Local {
        var local = Config.Local()
        local.alertHuman.url = url
        return local
    }

    @Test(arguments: NATSServer.binaries)
    func anEscalationIsPostedOnceAndSaidOnNATS(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let webhook = try HTTPServer(.status(200))
            _ = try await lab.coordinator(
                Lab.policies(ladder: ["alert_human"]), local: local(webhook.url))
            try lab.alert(HealingTests.critical)
            #expect(await eventually { !webhook.events.isEmpty })
            #expect(await eventually { !lab.tape.notes("skos.event.human_alerted").isEmpty })
            let event = try #require(webhook.events.first)
            #expect(event["node"] == "nova")
            #expect(event["reason"] == "thermal/critical asks for a human")
            let told = lab.tape.notes("skos.event.human_alerted")[0].json
            #expect(told["incident"] == event["incident"])
            #expect(told["tries"] == 1)
            for _ in 0..<10 { try lab.alert(HealingTests.critical) }
            try lab.alert(HealingTests.critical, node: "lyra")
            #expect(await eventually { webhook.events.count == 2 })
            #expect(webhook.events.map { $0["node"]?.string } == ["nova", "lyra"])
            try await lab.verifiedAudit()
        }
    }

    @Test(arguments: NATSServer.binaries)
    func aDrillSaysSoAndADryRunToo(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let webhook = try HTTPServer(.status(200))
            _ = try await lab.coordinator(
                Lab.policies(ladder: ["alert_human"]) { $0.dryRun = true },
                local: local(webhook.url))
            try lab.alert(#"{"type":"thermal","severity":"critical","drill":true}"#)
            #expect(await eventually { !webhook.events.isEmpty })
            let title = webhook.events[0]["title"]?.string ?? ""
            #expect(title.hasPrefix("[drill] [dry run] SKOS: nova"))
        }
    }

    @Test(arguments: NATSServer.binaries)
    func aWebhookThatIsNotThereHoldsNothingUp(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let webhook = try HTTPServer(.status(200))
            webhook.close()
            let agent = try await Agent(lab.connection)
            let (changes, edit) = AsyncStream.makeStream(of: ConfigWatcher.Change.self)
            var policies = Lab.policies(ladder: ["alert_human"])
            policies.policies += [
                Policy(type: "heat", severity: .critical, ladder: [Rung(action: "throttle_10")])
            ]
            _ = try await lab.coordinator(
                policies, local: local(webhook.url), changes: changes)
            for index in 0..<50 { try lab.alert(HealingTests.critical, node: "n\(index)") }
            try lab.alert(#"{"type":"heat","severity":"critical"}"#)
            #expect(await eventually { agent.executions.count == 1 })
            // An edit counts at once for those that wait; here nobody is to be told any more.
            var config = Config()
            config.nodeName = "lab"
            config.policySet = policies
            edit.yield(.applied(LoadedConfig(config: config)))
            #expect(
                await eventually {
                    lab.tape.notes("skos.event.human_alert_failed").count == 50
                })
            let failed = lab.tape.notes("skos.event.human_alert_failed")[0].json
            #expect(failed["reason"]?.string?.isEmpty == false)
        }
    }

    @Test(arguments: NATSServer.binaries)
    func whatTheLastCoordinatorMayNotHaveToldIsToldAgain(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let policies = Lab.policies(ladder: ["alert_human"])
            let first = try await lab.coordinator(policies)
            try lab.alert(HealingTests.critical)
            #expect(await eventually { !lab.tape.notes("skos.event.escalation").isEmpty })
            await first.abandon()
            let webhook = try HTTPServer(.status(200))
            let (changes, edit) = AsyncStream.makeStream(of: ConfigWatcher.Change.self)
            _ = try await lab.coordinator(
                policies, local: local("http://127.0.0.1:1/"), changes: changes)
            #expect(lab.tape.notes("skos.event.human_alert").isEmpty, "it waits a while")
            // An edit makes what waits due.
            var config = Config()
            config.nodeName = "lab"
            config.policySet = policies
            config.local = local(webhook.url)
            edit.yield(.applied(LoadedConfig(config: config)))
            #expect(await eventually { !webhook.events.isEmpty })
            #expect(webhook.events[0]["repeated"] == true)
            #expect(webhook.events[0]["title"]?.string?.hasPrefix("[repeated] ") == true)
            #expect(await eventually { !lab.tape.notes("skos.event.human_alerted").isEmpty })
            #expect(lab.tape.notes("skos.event.escalation").count == 1)
        }
    }
}
