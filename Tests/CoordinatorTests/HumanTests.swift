import Bus
import Coordinator
import Glibc
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport
import Testing

/// A webhook that takes everything, one connection after the other.
private final class Webhook: Sendable {
    let port: UInt16
    private let listener: Int32
    private let bodies = Mutex<[String]>([])

    init() throws {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, size) = (listener, length)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, size) == 0 && listen(listener, 16) == 0
                    && getsockname(listener, pointer, &length) == 0
            }
        }
        guard isBound else { throw LabFailure(description: "no port") }
        port = UInt16(bigEndian: address.sin_port)
        let thread = WorkerThread(name: "webhook")
        Task(executorPreference: thread) { [weak self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0, let self else { return thread.stop() }
                self.serve(connection)
            }
        }
    }

    deinit { end() }

    func end() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    var url: String { "http://127.0.0.1:\(port)/hook" }

    /// The events that were posted.
    var events: [JSON.Object] {
        bodies.withLock { $0 }.compactMap { try? JSON.parse(Array($0.utf8)).object }
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 4096)
        // The body is one JSON object.
        while !text.hasSuffix("}") {
            let got = read(connection, &chunk, chunk.count)
            guard got > 0 else { return }
            text += String(decoding: chunk[..<got], as: UTF8.self)
        }
        if let end = text.firstRange(of: "\r\n\r\n") {
            bodies.withLock { $0.append(String(text[end.upperBound...])) }
        }
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        _ = reply.withCString { send(connection, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
    }
}

/// What needs a human reaches one.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct HumanTests {
    private func local(_ url: String) -> Config.Local {
        var local = Config.Local()
        local.alertHuman.url = url
        return local
    }

    @Test(arguments: NATSServer.binaries)
    func anEscalationIsPostedOnceAndSaidOnNATS(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let webhook = try Webhook()
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
            let webhook = try Webhook()
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
            let webhook = try Webhook()
            webhook.end()
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
            let webhook = try Webhook()
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
