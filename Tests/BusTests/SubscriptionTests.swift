import Foundation
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct SubscriptionTests {
    private func number(_ message: BusMessage) -> Int? {
        Int(String(decoding: message.payload, as: UTF8.self))
    }

    private func send(_ count: Int, to subject: String, _ connection: Connection) async throws {
        for n in 0..<count { try connection.publish(subject, Array("\(n)".utf8)) }
        try await connection.flush(timeout: .seconds(60))
    }

    @Test(arguments: Setup.all)
    func blockLosesNothing(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: .block)
            try await send(2000, to: "a", connection)
            var received: [Int?] = []
            for await message in messages {
                received.append(number(message))
                if received.count == 2000 { break }
            }
            #expect(received == Array(0..<2000))
            #expect(messages.dropped == 0)
        }
    }

    @Test(arguments: [Overflow.dropNewest, .dropOldest])
    func dropsAreCounted(overflow: Overflow) async throws {
        let setup = try #require(Setup.all.first)
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: overflow)
            let witness = Collector<Int>()
            let delivery = try connection.subscribe("a") { witness.add($0.count) }
            try await send(100, to: "a", connection)
            #expect(await eventually { witness.count == 100 && messages.dropped == 96 })
            var received: [Int?] = []
            for _ in 0..<4 { received.append(await messages.next().flatMap { number($0) }) }
            #expect(received == (overflow == .dropNewest ? [0, 1, 2, 3] : [96, 97, 98, 99]))
            delivery.cancel()
        }
    }

    /// A handler that does not keep up at all loses what is beyond cnats' limits, and it is told. With
    /// batched writes nothing is read meanwhile, so nothing is lost.
    @Test(arguments: Setup.all.filter { $0.writes != .batched })
    func slowConsumersAreReported(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            var events = connection.events().makeAsyncIterator()
            _ = await events.next()
            let gate = DispatchSemaphore(value: 0)
            let delivery = try connection.subscribe("a") { _ in gate.wait() }
            let sender = try await Connection.connect(setup.options(server))
            defer { sender.close() }
            let megabyte = [UInt8](repeating: 7, count: 1 << 20)
            for _ in 0..<80 {
                #expect(await eventually { (try? sender.publish("a", megabyte)) != nil })
            }
            guard case .slowConsumer("a", let dropped) = await events.next() else {
                Issue.record("no slow consumer was reported")
                return
            }
            #expect(dropped > 0)
            #expect(delivery.dropped > 0)
            #expect(connection.isConnected)
            for _ in 0..<81 { gate.signal() }
            delivery.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func cancelledWhileWaiting(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: .block)
            let began = Collector<Int>()
            let task = Task {
                began.add(1)
                return await messages.next() == nil
            }
            #expect(await eventually { began.count == 1 })
            task.cancel()
            #expect(await task.value)
            // The subscription itself lives on for the next consumer.
            try connection.publish("a", [7])
            #expect(await messages.next()?.payload == [7])
        }
    }

    @Test(arguments: Setup.all)
    func alreadyCancelledTask(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: .block)
            let task = Task {
                while !Task.isCancelled { await Task.yield() }
                return await messages.next() == nil
            }
            task.cancel()
            #expect(await task.value)
        }
    }

    @Test(arguments: Setup.all)
    func cancellingFreesABlockedDelivery(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 1, overflow: .block)
            try await send(10, to: "a", connection)
            messages.cancel()
            messages.cancel()
            #expect(await messages.next() == nil)
            try await connection.drain(timeout: .seconds(60))
            #expect(connection.isClosed)
        }
    }

    @Test(arguments: Setup.all)
    func droppingUnsubscribes(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            do {
                let messages = try connection.subscribe("a", capacity: 1, overflow: .block)
                try connection.publish("a", [1])
                #expect(await messages.next() != nil)
            }
            let error = await busError {
                _ = try await connection.request("a", [], timeout: .seconds(60))
            }
            #expect(error?.code == .noResponders)
        }
    }

    @Test(arguments: Setup.all)
    func queueMembersShare(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let first = Collector<Int>()
            let second = Collector<Int>()
            let one = try connection.subscribe("a", queue: "q") { first.add($0.count) }
            let two = try connection.subscribe("a", queue: "q") { second.add($0.count) }
            try await send(200, to: "a", connection)
            #expect(await eventually { first.count + second.count == 200 })
            #expect(first.count > 0 && second.count > 0)
            one.cancel()
            two.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func cancellingFromTheHandler(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let received = Collector<Int>()
            let slot = Collector<Delivery>()
            let delivery = try connection.subscribe("a") { message in
                received.add(message.count)
                for delivery in slot.all { delivery.cancel() }
            }
            slot.add(delivery)
            try await send(1, to: "a", connection)
            #expect(await eventually { received.count == 1 })
            let error = await busError {
                _ = try await connection.request("a", [], timeout: .seconds(60))
            }
            #expect(error?.code == .noResponders)
        }
    }

    @Test(arguments: Setup.all)
    func drainFinishesWhatHasArrived(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let received = Collector<Int>()
            let delivery = try connection.subscribe("a") { message in
                usleep(200)
                received.add(message.count)
            }
            try await send(200, to: "a", connection)
            try await connection.drain(timeout: .seconds(60))
            #expect(received.count == 200)
            #expect(connection.isClosed)
            delivery.cancel()
        }
    }

    @Test(arguments: Setup.all)
    func headers(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: .block)
            try connection.publish(
                "a", [1], headers: [("One", "1"), ("Two", "a: b"), ("Two", "ü")])
            let message = try #require(await messages.next())
            #expect(message.header("One") == "1")
            #expect(message.header("one") == nil)
            #expect(
                message.headers.map { "\($0.name)=\($0.value)" }
                    == ["One=1", "Two=a: b", "Two=ü"])
            // cnats 3.4.1 does not read what follows an empty value.
            #expect(
                await busError { try connection.publish("a", [], headers: [("A", "")]) }?.code
                    == .invalidArgument)
            #expect(message.payload == [1])
            #expect(message.metadata == nil)
            #expect(await busError { try message.ack() }?.code == .invalidArgument)
        }
    }

    @Test(arguments: Setup.all)
    func payloadsOfAllSizes(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let messages = try connection.subscribe("a", capacity: 4, overflow: .block)
            for size in [0, 1, 65_536, connection.maxPayload] {
                try connection.publish("a", [UInt8](repeating: 7, count: size))
                #expect(await messages.next()?.count == size)
            }
            let error = await busError {
                try connection.publish("a", [UInt8](repeating: 7, count: connection.maxPayload + 1))
            }
            #expect(error?.code == .payloadTooLarge)
        }
    }

    /// The state machine alone, at a speed no server reaches.
    @Test func inboxUnderRace() async {
        for capacity in [1, 3] {
            let inbox = Inbox<Int>(capacity: capacity, overflow: .block)
            let thread = Thread {
                for n in 0..<20_000 { inbox.deliver(n) }
                inbox.finish()
            }
            thread.start()
            var received: [Int] = []
            while let n = await inbox.next() { received.append(n) }
            #expect(received == Array(0..<20_000))
        }
    }

    @Test func inboxKeepsNothingForCancelledCalls() async {
        let inbox = Inbox<Int>(capacity: 4, overflow: .block)
        for n in 0..<500 {
            let waiting = Task { await inbox.next() }
            if n.isMultiple(of: 2) { await Task.yield() }
            waiting.cancel()
            let first = await waiting.value
            #expect(first == nil)
            inbox.deliver(n)
            #expect(await inbox.next() == n)
        }
    }
}
