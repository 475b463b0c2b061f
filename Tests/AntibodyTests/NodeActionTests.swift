import Antibody
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import TestSupport
import Testing

/// A second agent beside the lamp, with nothing to do.
private struct Idler: AntibodyModule {
    let name = "idler"
    let agentType = "idle_watcher"

    func verbs() -> [any Verb] { [] }
    func sample(at now: Timestamp) async -> Sample { Sample() }
    func apply(_ config: Config) {}
}

@Suite("shutdown_non_essential, through NATS", .serialized, .timeLimit(.minutes(10)))
struct NodeActionTests {
    private static let action = "shutdown_non_essential"

    private func host(
        _ fleet: Fleet, _ config: Config, configs: AsyncStream<Config>? = nil
    ) -> AgentHost {
        var options = AgentHost.Options()
        // Programs take their time on a busy machine.
        options.stopLimit = .seconds(60)
        options.farewellLimit = .seconds(60)
        options.shutdownTimes = patientTimes
        return AgentHost(
            [fleet.lamp, Idler()], config: config, configs: configs,
            connection: .init(urls: [fleet.server.url], name: "agents"), options: options,
            log: Logger("test", sink: LogSink(descriptor: -1)), metrics: Metrics())
    }

    private func offers(_ beat: JSON.Object) -> Bool {
        let verbs = beat["metadata"]?.object?["verbs"]?.array ?? []
        return verbs.contains(.string(Self.action))
    }

    @Test("one agent of a process offers it, executes it once, and takes it back")
    func wholeWay() async throws {
        let workshop = Workshop()
        let service = try workshop.service("indexer")
        try NodeControl().start(service, limit: .seconds(20))
        defer { workshop.close("indexer") }
        let fleet = try await Fleet()
        var config = fleet.config
        config.local.nonEssential = [service]
        try await fleet.start(host(fleet, config))
        let lamp = await fleet.next("heartbeat") { $0["agent_type"] == "lamp_keeper" }
        #expect(offers(lamp))
        let idler = await fleet.next("heartbeat") { $0["agent_type"] == "idle_watcher" }
        #expect(!offers(idler))
        // By hand, to whoever knows it.
        try fleet.send("a", Self.action)
        let done = await fleet.result("a", .done)
        #expect(done["outcome"] == "succeeded")
        #expect(done["agent_id"] == "lamp-keeper-nova")
        #expect(workshop.read("indexer.log") == "started\nstopped\n")
        try fleet.send("a", Self.action, .undo)
        _ = await fleet.result("a", .undone)
        #expect(workshop.read("indexer.log") == "started\nstopped\nstarted\n")
        try await fleet.stop()
    }

    @Test("a dry run stops nothing; a stop of the agent starts everything again")
    func dryRunAndStop() async throws {
        let workshop = Workshop()
        let service = try workshop.service("indexer")
        try NodeControl().start(service, limit: .seconds(20))
        defer { workshop.close("indexer") }
        let fleet = try await Fleet()
        var config = fleet.config
        config.local.nonEssential = [service]
        try await fleet.start(host(fleet, config))
        try fleet.send("dry", Self.action) { $0.dryRun = true }
        let dry = await fleet.result("dry", .done)
        #expect(dry["effect"]?.object?["stop"] == ["hook indexer"])
        #expect(workshop.read("indexer.log") == "started\n")
        try fleet.send("a", Self.action)
        _ = await fleet.result("a", .done)
        try await fleet.stop()
        #expect(await fleet.result("a", .undone)["reason"] == "the agent stops")
        #expect(workshop.read("indexer.log") == "started\nstopped\nstarted\n")
    }

    @Test("offered while the node's own file lists something, by a live edit, too")
    func liveEdit() async throws {
        let fleet = try await Fleet()
        let (configs, edit) = AsyncStream.makeStream(of: Config.self)
        try await fleet.start(host(fleet, fleet.config, configs: configs))
        let before = await fleet.next("heartbeat") { $0["agent_type"] == "lamp_keeper" }
        #expect(!offers(before))
        try fleet.send("early", Self.action) { $0.agentType = "lamp_keeper" }
        let refused = await fleet.result("early", .refused)
        #expect(refused["reason"]?.string?.contains("is not a verb of") == true)
        var config = fleet.config
        config.local.nonEssential = [
            .hook(name: "h", stop: ["/bin/true"], start: ["/bin/true"], check: nil)
        ]
        edit.yield(config)
        _ = await fleet.next("heartbeat") { offers($0) }
        try fleet.send("a", Self.action)
        #expect(await fleet.result("a", .done)["outcome"] == "succeeded")
        // What is in force is taken back although nothing is listed any more.
        edit.yield(fleet.config)
        _ = await fleet.next("heartbeat") { $0["agent_type"] == "lamp_keeper" && !offers($0) }
        try fleet.send("a", Self.action, .undo)
        _ = await fleet.result("a", .undone)
        try await fleet.stop()
    }
}
