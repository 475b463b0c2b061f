import Antibody
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport

@testable import LoopBreaker

/// Nodes with a loop agent each, on one server, and somebody who talks and listens.
final class Fleet: Sendable {
    let server: NATSServer
    let directory = TemporaryDirectory()
    let voice: Connection
    private let heard: Subscription
    private let running = Mutex<[String: (host: AgentHost, task: Task<Void, any Error>)]>([:])
    private let kept = Mutex<[(subject: String, object: JSON.Object)]>([])

    init(jetStream: Bool = true) async throws {
        server = try await NATSServer.start(jetStream: jetStream)
        voice = try await Connection.patient(server.url, name: "voice")
        heard = try voice.subscribe("skos.>", capacity: 50_000, overflow: .block)
        try await heard.ready(timeout: .seconds(60))
        guard jetStream else { return }
        var alerts = StreamConfig(name: Subjects.alertStream, subjects: [Subjects.alerts])
        alerts.duplicateWindow = .seconds(120)
        _ = try await voice.jetStream.ensureStream(alerts)
    }

    deinit { voice.close() }

    func config(
        _ node: String = "nova", _ change: (inout Config) -> Void = { _ in }
    ) -> Config {
        var config = Config()
        config.nodeName = node
        config.stateDirectory = directory.path + "/" + node
        config.heartbeatInterval = .milliseconds(100)
        config.monitorInterval = .milliseconds(100)
        config.loop.cooldown = .seconds(60)
        change(&config)
        return config
    }

    /// Starts an agent and waits until it listens and shares what is broken.
    func start(
        _ config: Config, configs: AsyncStream<Config>? = nil, isShared: Bool = true
    ) async throws {
        var connection = Connection.Options(urls: [server.url], name: "loop-\(config.nodeName)")
        connection.reconnectWait = .milliseconds(20)
        connection.reconnectJitter = .zero
        var options = AgentHost.Options()
        // Disks are slow on a busy machine.
        options.stopLimit = .seconds(60)
        options.farewellLimit = .seconds(60)
        let host = AgentHost(
            [LoopModule(config: config)], config: config, configs: configs,
            connection: connection, options: options,
            log: Logger("test", sink: LogSink(descriptor: -1)),
            metrics: Metrics())
        try await host.start()
        let task = Task { try await host.run() }
        running.withLock { $0[config.nodeName] = (host, task) }
        _ = await next("heartbeat", config.nodeName) { beat in
            let metadata = beat["metadata"]?.object
            return metadata?["watched"]?.array?.isEmpty == false
                && metadata?["shared"]?.bool == isShared && metadata?["stopping"] == nil
        }
    }

    func stop(_ node: String = "nova") async throws {
        let current = running.withLock { $0.removeValue(forKey: node) }
        guard let current else { return }
        await current.host.shutdown()
        try await current.task.value
        // What it has said until now is no sign of its next life.
        _ = await next("heartbeat", node) { $0["metadata"]?.object?["stopping"] != nil }
    }

    /// The next message of a kind about something that matches; heartbeats that do not are gone.
    func next(
        _ kind: String, _ name: String = "nova",
        where matches: (JSON.Object) -> Bool = { _ in true }
    ) async -> JSON.Object {
        let subject = "skos.\(kind).\(name)"
        let known = kept.withLock { kept -> JSON.Object? in
            let index = kept.firstIndex { $0.subject == subject && matches($0.object) }
            return index.map { kept.remove(at: $0).object }
        }
        if let known { return known }
        while let message = await heard.next() {
            guard let object = try? JSON.parse(message.payload).object else { continue }
            if message.subject == subject, matches(object) { return object }
            if !message.subject.hasPrefix("skos.heartbeat.") {
                kept.withLock { $0.append((message.subject, object)) }
            }
        }
        return [:]
    }

    /// Asks whether a message may be sent.
    func check(_ request: JSON) async throws -> JSON.Object {
        let answer = try await voice.request(
            "skos.chain.check", request.encoded, timeout: .seconds(60))
        return try JSON.parse(answer.payload).object ?? [:]
    }

    /// Sends a message of a chain.
    func say(
        _ chain: String, _ from: String, _ to: String, depth: Int? = nil, text: String? = nil,
        subject: String = "synthesis.talk"
    ) throws {
        var object: JSON.Object = [
            "chain_id": .string(chain), "from": .string(from), "to": .string(to),
        ]
        object["depth"] = depth.map { .integer(Int64($0)) }
        object["text"] = text.map(JSON.string)
        try voice.publish(subject, JSON.object(object).encoded)
    }

    func command(_ id: String, _ verb: String, _ parameters: JSON.Object) throws {
        var command = Command(
            actionID: id, actionType: verb, node: "nova", parameters: parameters)
        command.timestamp = SteadyClock.wallTime()
        try voice.publish("skos.command.nova", JSON.object(command.object).encoded)
    }

    func result(_ id: String) async -> JSON.Object {
        await next("result") { $0["action_id"]?.string == id && $0["status"] != "accepted" }
    }
}

/// A directory that goes with the value.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        path = NSTemporaryDirectory() + "skos-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
