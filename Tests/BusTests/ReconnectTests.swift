import Bus
import Foundation
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10)))
struct ReconnectTests {
    @Test(arguments: Setup.all)
    func killedServerComesBack(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            var events = connection.events().makeAsyncIterator()
            #expect(await events.next() == .connected(url: server.url))
            let heard = Collector<String>()
            let delivery = try connection.subscribe("a.*") { heard.add($0.subject) }
            try connection.publish("a.before", [])
            #expect(await eventually { heard.count == 1 })

            server.kill()
            guard case .disconnected = await events.next() else {
                Issue.record("no disconnection was reported")
                return
            }
            #expect(!connection.isConnected)
            try connection.publish("a.meanwhile", [])
            try await server.launch()
            #expect(await events.next() == .reconnected(url: server.url))
            #expect(connection.isConnected)
            try connection.publish("a.after", [])
            #expect(await eventually { heard.count == 3 })
            #expect(heard.all == ["a.before", "a.meanwhile", "a.after"])
            delivery.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func nothingAckedIsLost(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let outcomes = Collector<PubAckResult>()
            var limits = OrderedPublisher.Limits()
            limits.window = 256
            limits.ackTimeout = .seconds(3)
            let publisher = try js.orderedPublisher(limits: limits) { outcomes.add($0) }
            var sent: UInt64 = 0
            func send(until count: UInt64) async throws {
                while sent < count {
                    do throws(BusError) {
                        try publisher.publish("s", Array("\(sent)".utf8), token: sent)
                        sent += 1
                    } catch {
                        try await Task.sleep(for: .milliseconds(1))
                    }
                }
            }
            try await send(until: 5000)
            server.kill()
            try await server.launch()
            try await send(until: 8000)
            #expect(await eventually { outcomes.count == 8000 })
            #expect(outcomes.all.map(\.token) == Array(0..<8000))
            let acked = outcomes.all.compactMap { outcome in
                (try? outcome.result.get()).map { (outcome.token, $0.sequence) }
            }
            #expect(acked.count > 4000)
            let last = try await js.streamInfo("S").lastSequence
            var stored: [UInt64: String] = [:]
            for try await message in try js.readRange("S", 1...last) {
                stored[message.metadata?.streamSequence ?? 0] = String(
                    decoding: message.payload, as: UTF8.self)
            }
            let missing = acked.filter { stored[$0.1] != "\($0.0)" }
            #expect(missing.isEmpty)
        }
    }

    @Test(arguments: Setup.all)
    func fullBufferWhileDisconnected(setup: Setup) async throws {
        let server = try await NATSServer.start(binary: setup.binary)
        var options = setup.options(server)
        options.bufferWhileDisconnected = 1
        let connection = try await Connection.connect(options)
        server.kill()
        #expect(await eventually { !connection.isConnected })
        try connection.publish("a", [1])
        #expect(await busError { try connection.publish("a", [2]) }?.code == .bufferFull)
        connection.close()
        #expect(await busError { try connection.publish("a", []) }?.code == .closed)
        #expect(await busError { _ = try connection.subscribe("a") { _ in } }?.code == .closed)
    }

    @Test(arguments: Setup.all)
    func closingIsReported(setup: Setup) async throws {
        let server = try await NATSServer.start(binary: setup.binary)
        let connection = try await Connection.connect(setup.options(server))
        let early = connection.events()
        let messages = try connection.subscribe("a", capacity: 1, overflow: .block)
        connection.close()
        connection.close()
        var seen: [ConnectionEvent] = []
        for await event in early { seen.append(event) }
        #expect(seen.first == .connected(url: server.url))
        #expect(seen.last == .closed(reason: ""))
        #expect(await messages.next() == nil)
        #expect(connection.isClosed)
        var late: [ConnectionEvent] = []
        for await event in connection.events() { late.append(event) }
        #expect(late == [.closed(reason: "")])
    }

    /// What an expired credential looks like: the server no longer takes the user.
    @Test(arguments: Setup.all)
    func refusedCredentialsCloseForGood(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary, config: "authorization { user: u, password: old }")
        var options = setup.options(server)
        options.user = "u"
        options.password = "old"
        options.reconnectWait = .milliseconds(10)
        let connection = try await Connection.connect(options)
        let events = connection.events()
        try server.rewriteConfig { $0.replacing("password: old", with: "password: new") }
        try await server.restart()
        var last: ConnectionEvent?
        for await event in events { last = event }
        guard case .closed(let reason) = last else {
            Issue.record("ended with \(String(describing: last))")
            return
        }
        #expect(reason.lowercased().contains("authorization"))
    }

    @Test(arguments: Setup.all)
    func permissionsAreReported(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary,
            config: """
                authorization { users: [ { user: u, password: p,
                  permissions: { publish: ["ok.>"], subscribe: [">"] } } ] }
                """)
        var options = setup.options(server)
        options.user = "u"
        options.password = "p"
        let connection = try await Connection.connect(options)
        defer { connection.close() }
        var events = connection.events().makeAsyncIterator()
        _ = await events.next()
        try connection.publish("bad.a", [])
        guard case .error(let text) = await events.next() else {
            Issue.record("no error was reported")
            return
        }
        #expect(text.contains("bad.a"))
        #expect(connection.isConnected)
    }

    @Test(arguments: Setup.all)
    func lameDuckIsReported(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary,
            config: "lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"")
        let connection = try await Connection.connect(setup.options(server))
        defer { connection.close() }
        var events = connection.events().makeAsyncIterator()
        _ = await events.next()
        server.signal(SIGUSR2)
        #expect(await events.next() == .lameDuck)
    }

    @Test(arguments: Setup.all)
    func frozenServer(setup: Setup) async throws {
        let server = try await NATSServer.start(binary: setup.binary)
        var options = setup.options(server)
        options.pingInterval = .milliseconds(200)
        options.maxPingsOut = 2
        options.writeDeadline = .milliseconds(200)
        let connection = try await Connection.connect(options)
        defer { connection.close() }
        var events = connection.events().makeAsyncIterator()
        _ = await events.next()
        server.freeze()
        let error = await busError { try await connection.flush(timeout: .milliseconds(50)) }
        // On a busy machine the silence may have been noticed first.
        #expect(error?.code == .timeout || error?.code == .notConnected)
        guard case .disconnected = await events.next() else {
            Issue.record("no disconnection was reported")
            return
        }
        server.signal(SIGCONT)
        #expect(await events.next() == .reconnected(url: server.url))
    }
}
