import Bus
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10)))
struct RequestTests {
    @Test(arguments: Setup.all)
    func manyAtOnce(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let echo = try connection.subscribe("echo") { message in
                try? message.respond(message.payload, headers: [("Kind", "echo")])
            }
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for n in 0..<200 {
                    group.addTask {
                        let sent = Array("\(n)".utf8)
                        let answer = try await connection.request(
                            "echo", sent, timeout: .seconds(60))
                        return answer.payload == sent && answer.header("Kind") == "echo"
                    }
                }
                for try await same in group { #expect(same) }
            }
            echo.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func nobodyAnswers(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let silent = try connection.subscribe("silent") { _ in }
            let late = await busError {
                _ = try await connection.request("silent", [], timeout: .milliseconds(30))
            }
            #expect(late?.code == .timeout)
            #expect(late?.message.contains("silent") == true)
            // No time at all is over before anybody can wait for it.
            for _ in 0..<200 {
                let never = await busError {
                    _ = try await connection.request("silent", [], timeout: .zero)
                }
                #expect(never?.code == .timeout)
            }
            let nobody = await busError {
                _ = try await connection.request("nobody", [], timeout: .seconds(30))
            }
            #expect(nobody?.code == .noResponders)
            silent.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func cancelled(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let asked = Collector<Int>()
            let silent = try connection.subscribe("silent") { asked.add($0.count) }
            let waiting = Task {
                await busError {
                    _ = try await connection.request("silent", [], timeout: .seconds(60))
                }
            }
            #expect(await eventually { asked.count == 1 })
            waiting.cancel()
            #expect(await waiting.value?.code == .cancelled)
            let already = Task {
                while !Task.isCancelled { await Task.yield() }
                return await busError {
                    _ = try await connection.request("silent", [], timeout: .seconds(60))
                }
            }
            already.cancel()
            #expect(await already.value?.code == .cancelled)
            #expect(asked.count == 1)
            silent.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func closingEndsWhatWaits(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let asked = Collector<Int>()
            let silent = try connection.subscribe("silent") { asked.add($0.count) }
            let waiting = Task {
                await busError {
                    _ = try await connection.request("silent", [], timeout: .seconds(60))
                }
            }
            #expect(await eventually { asked.count == 1 })
            connection.close()
            #expect(await waiting.value?.code == .closed)
            silent.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func ownInboxPrefix(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary,
            config: """
                authorization { users: [ { user: u, password: p,
                  permissions: { publish: [">"], subscribe: ["_INBOX_nova.>", "echo"] } } ] }
                """)
        var options = setup.options(server)
        options.user = "u"
        options.password = "p"
        options.inboxPrefix = "_INBOX_nova"
        let connection = try await Connection.connect(options)
        defer { connection.close() }
        let echo = try connection.subscribe("echo") { try? $0.respond($0.payload) }
        #expect(try await connection.request("echo", [1], timeout: .seconds(60)).payload == [1])
        let js = connection.jetStream
        _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
        #expect(try await js.publish("s", [1]).sequence == 1)
        var read = 0
        for try await _ in try js.readRange("S", 1...1) { read += 1 }
        #expect(read == 1)
        echo.cancel()
    }
}
