import Bus
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
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
                            "echo", sent, timeout: .seconds(10))
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
}
