import Antibody
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport

/// A node with a lamp, its agent, and somebody who listens to all that is said about it.
final class Fleet: Sendable {
    let server: NATSServer
    let directory = TemporaryDirectory()
    let node = "nova"
    let lamp: Lamp
    let ear: Connection
    private let heard: Subscription
    private let kept = Mutex<[(subject: String, object: JSON.Object)]>([])
    private let starts = Mutex<Set<String>>([])
    private let running = Mutex<(host: AgentHost, task: Task<Void, any Error>)?>(nil)

    /// A server, and a listener that is there before any agent.
    init(probe: String? = nil, server: NATSServer? = nil) async throws {
        if let server { self.server = server } else { self.server = try await NATSServer.start() }
        lamp = Lamp(knob: directory.path + "/knob", probe: probe)
        ear = try await Connection.patient(self.server.url, name: "ear")
        heard = try ear.subscribe("skos.>", capacity: 10_000, overflow: .block)
        try await heard.ready(timeout: .seconds(60))
    }

    deinit { ear.close() }

    var config: Config {
        var config = Config()
        config.nodeName = node
        config.stateDirectory = directory.path + "/state"
        config.heartbeatInterval = .milliseconds(50)
        config.monitorInterval = .milliseconds(20)
        return config
    }

    /// The next message of a kind that matches, as JSON. What else was heard meanwhile is kept, but for
    /// heartbeats, of which there is always a new one.
    func next(
        _ kind: String, where matches: (JSON.Object) -> Bool = { _ in true }
    ) async -> JSON.Object {
        let subject = "skos.\(kind).\(node)"
        let kept = kept.withLock { kept -> JSON.Object? in
            let index = kept.firstIndex { $0.subject == subject && matches($0.object) }
            return index.map { kept.remove(at: $0).object }
        }
        if let kept { return kept }
        while let message = await heard.next() {
            guard let object = try? JSON.parse(message.payload).object else { continue }
            if message.subject == subject, matches(object) { return object }
            if !message.subject.hasPrefix("skos.heartbeat.") {
                self.kept.withLock { $0.append((message.subject, object)) }
            }
        }
        return [:]
    }

    /// The next result of an action with a status.
    func result(_ id: String, _ status: CommandResult.Status) async -> JSON.Object {
        await next("result") {
            $0["action_id"]?.string == id && $0["status"]?.string == status.rawValue
        }
    }

    func createAlertStream() async throws {
        var stream = StreamConfig(name: Subjects.alertStream, subjects: [Subjects.alerts])
        stream.duplicateWindow = .seconds(120)
        _ = try await ear.jetStream.ensureStream(stream)
    }

    func host(
        configs: AsyncStream<Config>? = nil, _ change: (inout AgentHost.Options) -> Void = { _ in }
    ) -> AgentHost {
        var connection = Connection.Options(urls: [server.url], name: "agents")
        connection.reconnectWait = .milliseconds(20)
        connection.reconnectJitter = .zero
        var options = AgentHost.Options()
        // Disks are slow on a busy machine.
        options.stopLimit = .seconds(60)
        options.farewellLimit = .seconds(60)
        change(&options)
        return AgentHost(
            [lamp], config: config, configs: configs, connection: connection, options: options,
            log: Logger("test", sink: LogSink(descriptor: -1)), metrics: Metrics())
    }

    /// Starts the agent and waits until it takes commands.
    func start(_ host: AgentHost? = nil) async throws {
        let host = host ?? self.host()
        try await host.start()
        let task = Task { try await host.run() }
        running.withLock { $0 = (host, task) }
        await nextStart()
    }

    /// Waits until an agent is heard that has not been heard before: it takes commands by then.
    func nextStart() async {
        let beat = await next("heartbeat") { !known($0) }
        starts.withLock { _ = $0.insert(Self.startID(of: beat)) }
    }

    private static func startID(of heartbeat: JSON.Object) -> String {
        heartbeat["metadata"]?.object?["start_id"]?.string ?? ""
    }

    private func known(_ heartbeat: JSON.Object) -> Bool {
        starts.withLock { $0.contains(Self.startID(of: heartbeat)) }
    }

    func stop() async throws {
        let current = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let current else { return }
        await current.host.shutdown()
        try await current.task.value
    }

    func send(_ command: Command) throws {
        try ear.publish(Subjects.command(node), JSON.object(command.object).encoded)
    }

    /// A command by hand, that is, without epoch.
    func send(
        _ id: String, _ verb: String = "dim_50", _ operation: Command.Operation = .execute,
        lease: Duration? = nil, change: (inout Command) -> Void = { _ in }
    ) throws {
        var command = Command(actionID: id, actionType: verb, node: node, operation: operation)
        command.lease = lease
        change(&command)
        try send(command)
    }
}
