import Bus
import Glibc
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10)))
struct OrderedPublisherTests {
    @Test(arguments: Setup.all)
    func outcomesComeInOrder(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s.*"]))
            let outcomes = Collector<PubAckResult>()
            let publisher = try js.orderedPublisher { outcomes.add($0) }
            for n in 0..<2000 as Range<UInt64> {
                // Every seventh goes where no stream is; its refusal must not overtake.
                let subject = n % 7 == 3 ? "nowhere" : "s.a"
                try publisher.publish(subject, [1], messageID: "m\(n)", token: n)
            }
            #expect(await eventually { outcomes.count == 2000 })
            #expect(outcomes.all.map(\.token) == Array(0..<2000))
            var sequence: UInt64 = 0
            for outcome in outcomes.all {
                switch outcome.result {
                case .success(let ack):
                    sequence += 1
                    #expect(ack == PubAck(sequence: sequence))
                    #expect(outcome.token % 7 != 3)
                case .failure(let error):
                    #expect(error.code == .noResponders)
                    #expect(outcome.token % 7 == 3)
                }
            }
            #expect(publisher.pending == 0)
        }
    }

    @Test(arguments: Setup.all)
    func fenceStopsAStaleWriter(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let outcomes = Collector<PubAckResult>()
            let publisher = try js.orderedPublisher { outcomes.add($0) }
            // How many were sent until the pipeline noticed.
            func send(_ range: Range<UInt64>) throws -> Int {
                for n in range {
                    do throws(BusError) {
                        try publisher.publish(
                            "s", [], messageID: "m\(n)", expectedLastSequence: n, token: n)
                    } catch {
                        #expect(error.code == .fenced)
                        return Int(n - range.lowerBound)
                    }
                }
                return range.count
            }
            #expect(try send(0..<10) == 10)
            #expect(await eventually { outcomes.count == 10 })
            _ = try await js.publish("s", [9], messageID: "other", expectedLastSequence: 10)
            let sent = 10 + (try send(10..<20))
            #expect(sent > 10)
            #expect(await eventually { outcomes.count == sent })
            #expect(outcomes.all.map(\.token) == Array(0..<UInt64(sent)))
            for outcome in outcomes.all[..<10] {
                #expect(throws: Never.self) { try outcome.result.get() }
            }
            // The eleventh message is the other writer's. The sequence alone would let the second
            // of the rest pass.
            for outcome in outcomes.all[10...] {
                let error = #expect(throws: BusError.self) { try outcome.result.get() }
                #expect(error?.isWrongSequence == true)
            }
            #expect(try await js.streamInfo("S").lastSequence == 11)
            #expect(try send(11..<12) == 0)
            publisher.resetFence()
            #expect(try send(11..<14) == 3)
            #expect(await eventually { outcomes.count == sent + 3 })
            #expect(try await js.streamInfo("S").lastSequence == 14)
        }
    }

    @Test(arguments: Setup.all)
    func repetitionsAreDuplicates(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let outcomes = Collector<PubAckResult>()
            let publisher = try js.orderedPublisher { outcomes.add($0) }
            for n in 0..<2 as Range<UInt64> {
                try publisher.publish("s", [], messageID: "same", token: n)
            }
            #expect(await eventually { outcomes.count == 2 })
            #expect(try outcomes.all[0].result.get() == PubAck(sequence: 1))
            #expect(try outcomes.all[1].result.get() == PubAck(sequence: 1, duplicate: true))
        }
    }

    @Test(arguments: Setup.all)
    func whatIsNotAckedFails(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let outcomes = Collector<PubAckResult>()
            var limits = OrderedPublisher.Limits()
            limits.ackTimeout = .seconds(3)
            limits.window = 8
            let publisher = try js.orderedPublisher(limits: limits) { outcomes.add($0) }
            server.freeze()
            for n in 0..<8 as Range<UInt64> { try publisher.publish("s", [], token: n) }
            let full = await busError { try publisher.publish("s", [], token: 8) }
            #expect(full?.code == .bufferFull)
            #expect(await eventually { outcomes.count == 8 })
            for outcome in outcomes.all {
                let error = #expect(throws: BusError.self) { try outcome.result.get() }
                #expect(error?.code == .timeout)
            }
            // Late acks are nobody's: the next outcome is that of the next message.
            server.signal(SIGCONT)
            #expect(await eventually { try await js.streamInfo("S").lastSequence == 8 })
            try publisher.publish("s", [], token: 9)
            #expect(await eventually { outcomes.count == 9 })
            #expect(outcomes.all.last?.token == 9)
            #expect(try outcomes.all.last?.result.get().sequence == 9)
        }
    }

    @Test(arguments: Setup.all)
    func whatIsRefusedHereHasNoOutcome(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let outcomes = Collector<PubAckResult>()
            let publisher = try js.orderedPublisher { outcomes.add($0) }
            try publisher.publish("s", [], token: 1)
            let large = [UInt8](repeating: 0, count: connection.maxPayload + 1)
            #expect(
                await busError { try publisher.publish("s", large, token: 2) }?.code
                    == .payloadTooLarge)
            #expect(
                await busError { try publisher.publish("s\r\n", [], token: 3) }?.code
                    == .invalidArgument)
            try publisher.publish("s", [], token: 4)
            #expect(await eventually { outcomes.count == 2 })
            #expect(outcomes.all.map(\.token) == [1, 4])
        }
    }
}
