import Antibody
import Bus
import Protocol
import Runtime
import TestSupport
import Testing

/// What waits to be sent, against a real server; the test plays the stream and the coordinator.
@Suite("Senders", .serialized, .timeLimit(.minutes(10)))
struct SenderTests {
    private let quiet = Logger("test", sink: LogSink(descriptor: -1))

    private func report(_ severity: Severity, _ number: Int) -> AlertKeeper.Report {
        let key = AlertKeeper.Key(type: "light", resource: "bulb")
        var alert = Alert(type: "light", severity: severity, node: "nova", resource: "bulb")
        alert.id = "a\(number)"
        alert.agentID = "lamp-keeper-nova"
        return AlertKeeper.Report(key: key, alert: alert, isChange: true)
    }

    @Test("an alert that is replaced while its answer is awaited is followed by the newer one")
    func replacedUnderWay() async throws {
        let server = try await NATSServer.start()
        let connection = try await Connection.patient(server.url)
        let stream = try await Connection.patient(server.url)
        let heard = try stream.subscribe("skos.alert.nova", capacity: 16, overflow: .block)
        try await heard.ready(timeout: .seconds(60))
        let link = BusLink()
        let metrics = Metrics()
        let sender = AlertSender(link: link, log: quiet, metrics: metrics)
        // Three states before there is a connection: only the last is sent.
        for (number, severity) in [Severity.warning, .critical, .emergency].enumerated() {
            sender.put(report(severity, number))
        }
        link.use(connection)
        let running = Task { await sender.run() }
        let first = try #require(await heard.next())
        #expect(first.header("Nats-Msg-Id") == "a2")
        sender.put(report(.ok, 3))
        try first.respond(Array(#"{"stream":"S","seq":1}"#.utf8))
        let second = try #require(await heard.next())
        #expect(second.header("Nats-Msg-Id") == "a3")
        #expect(try JSON.parse(second.payload).object?["severity"] == "ok")
        try second.respond(Array(#"{"stream":"S","seq":2}"#.utf8))
        while !sender.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
        #expect(metrics.snapshot()["skos_agent_alerts_total"] == 2)
        #expect(metrics.snapshot()["skos_agent_alerts_replaced_total"] == 3)
        running.cancel()
        await running.value
    }

    @Test("results wait for a connection, in order; past the limit the oldest are lost and counted")
    func results() async throws {
        let server = try await NATSServer.start()
        let connection = try await Connection.patient(server.url)
        let heard = try connection.subscribe("skos.result.nova", capacity: 4096, overflow: .block)
        let link = BusLink()
        let sender = ResultSender(link: link, log: quiet, metrics: Metrics())
        for number in 0..<(ResultSender.limit + 10) { sender.put(result("a\(number)", .accepted)) }
        #expect(sender.dropped == 10)
        // One that is longer than the wire allows loses what is long, not what counts.
        var long = result("long", .done, .succeeded)
        long.effect = ["text": .string(String(repeating: "x", count: Limits.messageBytes))]
        sender.put(long)
        link.use(connection)
        let running = Task { await sender.run() }
        // What a slow NATS has not taken in time is said again.
        var seen: Set<String> = []
        func next() async throws -> JSON.Object? {
            while true {
                let message = try #require(await heard.next())
                let object = try JSON.parse(message.payload).object
                if seen.insert(object?["action_id"]?.string ?? "").inserted { return object }
            }
        }
        for number in 11..<(ResultSender.limit + 10) {
            #expect(try await next()?["action_id"] == .string("a\(number)"))
        }
        let object = try await next()
        #expect(object?["outcome"] == "succeeded")
        #expect(object?["effect"] == ["truncated": true])
        while !sender.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
        running.cancel()
        await running.value
    }
}
