import Bus
import Synchronization
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)))
struct FirstSliceTests {
    @Test(arguments: NATSServer.binaries)
    func connectPublishSubscribeRequest(binary: String) async throws {
        let server = try await NATSServer.start(binary: binary)
        let connection = try await Connection.connect(.init(urls: [server.url]))
        #expect(connection.isConnected)
        #expect(connection.serverVersion?.hasPrefix("2.") == true)

        let messages = try connection.subscribe("a.*", capacity: 4, overflow: .block)
        for n in 0..<100 {
            try connection.publish("a.b", Array("\(n)".utf8), headers: [("K", "v\(n)")])
        }
        var got = 0
        for await message in messages {
            #expect(message.payload == Array("\(got)".utf8))
            #expect(message.header("K") == "v\(got)")
            got += 1
            if got == 100 { break }
        }
        let echo = try connection.subscribe("echo") { message in
            try? message.respond(message.payload)
        }
        let answer = try await connection.request("echo", [1, 2, 3], timeout: .seconds(2))
        #expect(answer.payload == [1, 2, 3])
        await #expect { try await connection.request("nobody", [], timeout: .seconds(2)) } throws: {
            ($0 as? BusError)?.code == .noResponders
        }
        echo.cancel()
        connection.close()
    }

    @Test(arguments: NATSServer.binaries)
    func jetStream(binary: String) async throws {
        let server = try await NATSServer.start(binary: binary)
        let connection = try await Connection.connect(.init(urls: [server.url]))
        let js = connection.jetStream
        var config = StreamConfig(name: "S", subjects: ["s.*"])
        config.denyDelete = true
        _ = try await js.ensureStream(config)
        _ = try await js.ensureStream(config)
        let (results, sink) = AsyncStream.makeStream(of: PubAckResult.self)
        let publisher = try js.orderedPublisher { sink.yield($0) }
        for n in 0..<1000 {
            try publisher.publish(
                "s.a", Array("\(n)".utf8), messageID: "m\(n)", expectedLastSequence: UInt64(n),
                token: UInt64(n))
        }
        var n: UInt64 = 0
        for await result in results {
            #expect(result.token == n)
            #expect(try result.result.get() == PubAck(sequence: n + 1))
            n += 1
            if n == 1000 { break }
        }
        let (received, messages) = AsyncStream.makeStream(of: UInt64.self)
        let delivery = try await js.pushConsumer("S", .push(stream: "S", durable: "D")) { message in
            messages.yield(message.metadata?.streamSequence ?? 0)
            try? message.ack()
        }
        n = 0
        for await sequence in received {
            n += 1
            #expect(sequence == n)
            if n == 1000 { break }
        }
        delivery.cancel()
        try await connection.flush(timeout: .seconds(2))
        #expect(try await js.consumerInfo("S", "D").ackFloor == 1000)
        connection.close()
    }
}
