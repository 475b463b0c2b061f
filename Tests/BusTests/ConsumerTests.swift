import Protocol
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct ConsumerTests {
    private func fill(_ count: Int, _ connection: Connection) async throws -> JetStream {
        let js = connection.jetStream
        _ = try await js.ensureStream(.init(name: "S", subjects: ["s.*"]))
        let outcomes = Collector<PubAckResult>()
        let publisher = try js.orderedPublisher { outcomes.add($0) }
        for n in 0..<count {
            while publisher.pending >= 2048 { try await Task.sleep(for: .milliseconds(1)) }
            try publisher.publish("s.\(n % 10)", Array("\(n)".utf8), token: UInt64(n))
        }
        #expect(await eventually { outcomes.count == count })
        return js
    }

    @Test(arguments: Setup.all)
    func pushConsumerDeliversAgainWhatWasNotAcked(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let js = try await fill(10, connection)
            var config = ConsumerConfig.push(stream: "S", durable: "D")
            config.ackWait = .milliseconds(300)
            let first = Collector<BusMessage.Metadata>()
            let delivery = try await js.pushConsumer("S", config) { message in
                guard let metadata = message.metadata else { return }
                // Odd ones stay without an answer, as if the process had died over them.
                if metadata.streamSequence.isMultiple(of: 2) { try? message.ack() }
                if metadata.delivered == 1 { first.add(metadata) }
            }
            #expect(await eventually { first.count == 10 })
            #expect(first.all.map(\.streamSequence) == Array(1...10))
            #expect(first.all.map(\.pending) == Array((0...9).reversed()))
            #expect(first.all.allSatisfy { $0.stream == "S" && $0.consumer == "D" })
            delivery.cancel()
            connection.close()

            let other = try await Connection.connect(setup.options(server))
            defer { other.close() }
            let again = Collector<BusMessage.Metadata>()
            let second = try await other.jetStream.pushConsumer("S", config) { message in
                guard let metadata = message.metadata else { return }
                try? message.ack()
                again.add(metadata)
            }
            #expect(await eventually { Set(again.all.map(\.streamSequence)).count == 5 })
            #expect(Set(again.all.map(\.streamSequence)) == [1, 3, 5, 7, 9])
            #expect(again.all.allSatisfy { $0.delivered >= 2 })
            #expect(
                await eventually {
                    try await other.jetStream.consumerInfo("S", "D").ackPending == 0
                })
            second.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func pushConsumerSurvivesAKilledServer(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let js = try await fill(10, connection)
            var config = ConsumerConfig.push(stream: "S", durable: "D")
            config.ackWait = .seconds(1)
            let seen = Collector<UInt64>()
            let delivery = try await js.pushConsumer("S", config) { message in
                try? message.ack()
                seen.add(message.metadata?.streamSequence ?? 0)
            }
            #expect(await eventually { seen.count == 10 })
            try await server.restart()
            #expect(await eventually { connection.isConnected })
            _ = try await js.publish("s.x", [])
            #expect(await eventually { seen.all.contains(11) })
            delivery.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func answers(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = try await fill(4, connection)
            let config = ConsumerConfig.push(stream: "S", durable: "D")
            let messages = try await js.subscribe("S", config, capacity: 4)
            // In turn: ack; nak at once; nak with delay; term.
            var deliveries: [UInt64: Int] = [:]
            while let message = await messages.next() {
                let metadata = try #require(message.metadata)
                deliveries[metadata.streamSequence, default: 0] += 1
                switch (metadata.streamSequence, metadata.delivered) {
                case (2, 1): try message.nak()
                case (3, 1): try message.nak(delay: .milliseconds(20))
                case (4, _): try message.term()
                default:
                    try message.inProgress()
                    try message.ack()
                }
                if deliveries[2] == 2, deliveries[3] == 2 { break }
            }
            #expect(
                await eventually { try await js.consumerInfo("S", "D").ackFloor == 4 })
            #expect(deliveries == [1: 1, 2: 2, 3: 2, 4: 1])
        }
    }

    @Test(arguments: Setup.all)
    func consumersAreCheckedAndChanged(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = try await fill(1, connection)
            var config = ConsumerConfig.push(stream: "S", durable: "D")
            config.start = .new
            let created = try await js.ensureConsumer("S", config)
            #expect(created.deliverSubject == "deliver.S.D")
            config.maxAckPending = 77
            config.ackWait = .seconds(7)
            _ = try await js.ensureConsumer("S", config)
            let changed = try await js.consumerInfo("S", "D")
            #expect(changed.config["max_ack_pending"] == 77)
            #expect(changed.config["ack_wait"] == 7_000_000_000)
            #expect(changed.config["deliver_policy"] == "new")
            var pull = config
            pull.deliverSubject = nil
            #expect(await busError { _ = try await js.ensureConsumer("S", pull) } != nil)
            let missing = await busError { _ = try await js.consumerInfo("S", "X") }
            #expect(missing?.jetStreamCode == JetStreamCode.consumerNotFound)
            try await js.deleteConsumer("S", "D")
            #expect(await busError { _ = try await js.consumerInfo("S", "D") } != nil)
        }
    }

    @Test(arguments: Setup.all)
    func readRange(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = try await fill(20_000, connection)
            var expected = 99
            for try await message in try js.readRange("S", 100...19_900) {
                #expect(
                    message.withPayload { String(decoding: $0, as: UTF8.self) } == "\(expected)")
                expected += 1
            }
            #expect(expected == 19_900)
            var one: [UInt64?] = []
            for try await message in try js.readRange("S", 20_000...20_000, batch: 1) {
                one.append(message.metadata?.streamSequence)
            }
            #expect(one == [20_000])
            let nowhere = await busError {
                for try await _ in try js.readRange("X", 1...2) {}
            }
            #expect(nowhere?.jetStreamCode == JetStreamCode.streamNotFound)
            // The consumers were not left behind.
            #expect(await eventually { try await js.streamInfo("S").consumers == 0 })
        }
    }

    @Test(arguments: Setup.all)
    func readRangeAcrossAKilledServer(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let js = try await fill(5000, connection)
            var sequences: [UInt64] = []
            for try await message in try js.readRange("S", 1...5000, batch: 100) {
                sequences.append(message.metadata?.streamSequence ?? 0)
                if sequences.count == 2000 {
                    try await server.restart()
                    #expect(await eventually { connection.isConnected })
                }
            }
            #expect(sequences == Array(1...5000))
        }
    }

    @Test(arguments: Setup.all)
    func readRangeIsCancelled(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = try await fill(5, connection)
            let read = Collector<UInt64>()
            let task = Task {
                // The sixth never comes.
                for try await message in try js.readRange("S", 1...6) {
                    read.add(message.metadata?.streamSequence ?? 0)
                }
            }
            #expect(await eventually { read.count == 5 })
            task.cancel()
            try await task.value
        }
    }

    private static func metadata(of reply: String) -> BusMessage.Metadata? {
        Array(reply.utf8).withUnsafeBytes { BusMessage.Metadata(reply: $0) }
    }

    @Test func acksOfNewServers() {
        // ADR-15: domain and account hash before the stream, a token after the rest.
        let old = "$JS.ACK.S.C.1.7.5.1700000000000000000.3"
        let new = "$JS.ACK._.ACCHASH.S.C.1.7.5.1700000000000000000.3.rnd"
        for reply in [old, new] {
            let metadata = Self.metadata(of: reply)
            #expect(metadata?.streamSequence == 7)
            #expect(metadata?.consumerSequence == 5)
            #expect(metadata?.pending == 3)
            #expect(metadata?.stream == "S")
        }
        for reply in ["", "_INBOX.1", "$JS.ACK.S.C.1.7.5.x.3", "$JS.ACK.S.C.1.7.5.1.2.3"] {
            #expect(Self.metadata(of: reply) == nil)
        }
    }
}
