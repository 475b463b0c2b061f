import Bus
import Coordinator
import Protocol
import Settings
import TestSupport
import Testing

/// Edits of the configuration while it runs.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct ConfigurationTests {
    private static func loaded(
        _ lab: Lab, _ ladder: [String], fingerprint: String
    ) -> LoadedConfig {
        var config = Config()
        config.nats.urls = [lab.server.url]
        config.nodeName = "lab"
        config.policySet = Lab.policies(ladder: ladder)
        return LoadedConfig(config: config, file: "config.yaml", fingerprint: fingerprint)
    }

    @Test(arguments: NATSServer.binaries)
    func editApplies(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let (changes, edit) = AsyncStream.makeStream(of: ConfigWatcher.Change.self)
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(
                Lab.policies(ladder: ["throttle_10"]), changes: changes)
            try lab.alert(HealingTests.critical, node: "before")
            #expect(await eventually { agent.executions.count == 1 })
            edit.yield(.applied(Self.loaded(lab, ["throttle_50"], fingerprint: "second")))
            #expect(await lab.records("config", 1))
            try lab.alert(HealingTests.critical, node: "after")
            #expect(await eventually { agent.executions.count == 2 })
            let actions = lab.tape.distinctCommands().compactMap { $0["action_type"]?.string }
            #expect(actions == ["throttle_10", "throttle_50"])
            let config = try await lab.ask("status")["config"]?.object
            #expect(config?["fingerprint"]?.string == "second")
            #expect(config?["refused"] == nil)
            let record = try #require(try await lab.verifiedAudit().kind("config").first)
            #expect(record["change"]?.string == "applied")
            #expect(record["config"]?.string == "second")
        }
    }

    /// The old one stays in force, and everybody who asks hears of the mistake, also after a new term.
    @Test(arguments: NATSServer.binaries)
    func refusedEditChangesNothing(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let (changes, edit) = AsyncStream.makeStream(of: ConfigWatcher.Change.self)
            let agent = try await Agent(lab.connection)
            _ = try await lab.coordinator(
                Lab.policies(ladder: ["throttle_10"]), changes: changes)
            // More than a record's field holds.
            let issues = (1...200).map {
                ConfigError.Issue(
                    file: "config.yaml", line: $0, column: 5,
                    message: "70 is not above warning (75), which is more than enough to say")
            }
            edit.yield(.refused(ConfigError(issues: issues)))
            #expect(await lab.records("config", 1))
            let refused = try await lab.ask("status")["config"]?.object?["refused"]?.string ?? ""
            #expect(refused.contains("config.yaml:1:5: 70 is not above warning"))
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(lab.tape.commands().first?["action_type"]?.string == "throttle_10")

            // The record of the refusal can be read back.
            try await lab.server.restart()
            #expect(
                await eventually {
                    try await lab.term(timeout: .milliseconds(500)) > 1
                })
            let still = try await lab.ask("status")["config"]?.object?["refused"]?.string
            #expect(still == refused)
            let record = try #require(try await lab.verifiedAudit().kind("config").first)
            #expect(record["change"]?.string == "refused")

            edit.yield(.applied(Self.loaded(lab, ["throttle_50"], fingerprint: "third")))
            #expect(
                await eventually {
                    try await lab.ask("status")["config"]?.object?["refused"] == nil
                })
        }
    }

    /// An edit while there is no term is in force in the next.
    @Test(arguments: NATSServer.binaries)
    func editBetweenTermsCounts(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let (changes, edit) = AsyncStream.makeStream(of: ConfigWatcher.Change.self)
            _ = try await lab.coordinator(
                Lab.policies(ladder: ["throttle_10"]), changes: changes)
            lab.server.kill()
            edit.yield(.applied(Self.loaded(lab, ["throttle_50"], fingerprint: "second")))
            try await lab.server.launch()
            let agent = try await Agent(lab.connection)
            #expect(
                await eventually {
                    try await lab.ask("status", timeout: .milliseconds(500))["config"]?.object?[
                        "fingerprint"]?.string == "second"
                })
            try lab.alert(HealingTests.critical)
            #expect(await eventually { agent.executions.count == 1 })
            #expect(lab.tape.commands().first?["action_type"]?.string == "throttle_50")
        }
    }
}
