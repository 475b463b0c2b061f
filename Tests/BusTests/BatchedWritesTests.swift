import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct BatchedWritesTests {
    private static let setups = NATSServer.binaries.map { Setup(binary: $0, writes: .batched) }

    @Test(arguments: setups)
    func aBatchLeavesTogether(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let other = try await Connection.connect(setup.options(server))
            defer { other.close() }
            let heard = Collector<[UInt8]>()
            let delivery = try other.subscribe("a") { heard.add($0.payload) }
            try await delivery.ready(timeout: .seconds(60))
            let loop = try #require(connection.loop)
            let before = loop.writeCount.load(ordering: .relaxed)
            try connection.withBatchedWrites {
                for n in 0..<100 as Range<UInt8> { try connection.publish("a", [n]) }
                try connection.withBatchedWrites { try connection.publish("a", [100]) }
            }
            // One, and whatever cnats has to say by itself meanwhile.
            #expect(loop.writeCount.load(ordering: .relaxed) - before <= 4)
            #expect(await eventually { heard.count == 101 })
            #expect(heard.all == (0...100 as ClosedRange<UInt8>).map { [$0] })
            try connection.publish("a", [101])
            #expect(await eventually { heard.count == 102 })
            delivery.cancel()
        }
    }

    @Test(arguments: setups)
    func aBatchThatFailsSendsWhatItHad(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let heard = Collector<String>()
            let delivery = try connection.subscribe("a") { heard.add($0.subject) }
            let error = await busError {
                try connection.withBatchedWrites {
                    try connection.publish("a", [])
                    try connection.publish("not good", [])
                }
            }
            #expect(error?.code == .invalidArgument)
            #expect(await eventually { heard.count == 1 })
            delivery.cancel()
        }
    }

    /// What a handler publishes is held back only while another call of it is certain.
    @Test(arguments: Setup.all)
    func whatHandlersPublishAlwaysLeaves(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let echoes = Collector<[UInt8]>()
            let echo = try connection.subscribe("echo") { echoes.add($0.payload) }
            let relay = try connection.subscribe("in") { message in
                try? connection.publish("echo", message.payload)
            }
            for count in [1, 2, 63, 64, 65, 1000] {
                let before = echoes.count
                for _ in 0..<count { try connection.publish("in", [1]) }
                #expect(await eventually { echoes.count == before + count })
            }
            // A subscription that ends over its backlog must not take the echoes along.
            let before = echoes.count
            let handled = Collector<Int>()
            let slot = Collector<Delivery>()
            let ending = try connection.subscribe("last") { message in
                try? connection.publish("echo", message.payload)
                handled.add(1)
                if handled.count == 10 { for delivery in slot.all { delivery.cancel() } }
            }
            slot.add(ending)
            try connection.withBatchedWrites {
                for _ in 0..<50 { try connection.publish("last", [2]) }
            }
            #expect(await eventually { handled.count >= 10 })
            #expect(await eventually { echoes.count == before + handled.count })
            echo.cancel()
            relay.cancel()
        }
    }

    @Test(arguments: setups)
    func whatAFrozenServerDoesNotTakeIsBounded(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let heard = Collector<Int>()
            let delivery = try connection.subscribe("a") { heard.add($0.count) }
            try await delivery.ready(timeout: .seconds(60))
            server.freeze()
            let payload = [UInt8](repeating: 7, count: 64 * 1024)
            var sent = 0
            var refusal: BusError?
            while refusal == nil, sent < 1000 {
                do throws(BusError) {
                    try connection.publish("a", payload)
                    sent += 1
                } catch {
                    refusal = error
                }
            }
            #expect(refusal?.code == .bufferFull)
            server.signal(SIGCONT)
            #expect(await eventually { heard.count == sent })
            try connection.publish("a", [])
            #expect(await eventually { heard.count == sent + 1 })
            delivery.cancel()
        }
    }

    /// Many threads on one connection, whose writes meet in one buffer.
    @Test(arguments: setups)
    func manyThreads(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let heard = Collector<[UInt8]>()
            let delivery = try connection.subscribe("a.*") { heard.add($0.payload) }
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<8 as Range<UInt8> {
                    group.addTask {
                        for n in 0..<500 {
                            try? connection.publish(
                                "a.\(task)", [task, UInt8(n / 256), UInt8(n % 256)])
                        }
                    }
                }
            }
            #expect(await eventually { heard.count == 4000 })
            for task in 0..<8 as Range<UInt8> {
                let own = heard.all.filter { $0[0] == task }.map { Int($0[1]) * 256 + Int($0[2]) }
                #expect(own == Array(0..<500))
            }
            delivery.cancel()
        }
    }
}
