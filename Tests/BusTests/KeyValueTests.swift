import Protocol
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct KeyValueTests {
    @Test(arguments: Setup.all)
    func writeReadDelete(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            let bucket = try await js.ensureBucket(.init(bucket: "B"))
            #expect(try await js.ensureBucket(.init(bucket: "B")).bucket == "B")
            #expect(try await bucket.get("a.b") == nil)
            #expect(try await bucket.put("a.b", [1]) == 1)
            #expect(try await bucket.get("a.b")?.value == [1])
            #expect(try await bucket.put("a.b", [2]) == 2)
            #expect(try await bucket.get("a.b")?.revision == 2)
            #expect(try await bucket.put("empty", []) == 3)
            #expect(try await bucket.get("empty")?.value == [])
            #expect(try await bucket.keys() == ["a.b", "empty"])
            try await bucket.delete("a.b")
            #expect(try await bucket.get("a.b") == nil)
            #expect(try await bucket.keys() == ["empty"])
            try await bucket.purge("empty")
            #expect(try await bucket.keys() == [])
            for key in ["", "a b", "a\r\n", "a.*", ">", "$a", "a..b", "ä"] {
                let error = await busError { _ = try await bucket.put(key, []) }
                #expect(error?.code == .invalidArgument, "\(key)")
            }
        }
    }

    @Test(arguments: Setup.all)
    func compareAndSet(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let bucket = try await connection.jetStream.ensureBucket(.init(bucket: "B"))
            let first = try await bucket.create("k", [1])
            let taken = await busError { _ = try await bucket.create("k", [2]) }
            #expect(taken?.isWrongSequence == true)
            let second = try await bucket.update("k", [2], revision: first)
            let stale = await busError { _ = try await bucket.update("k", [3], revision: first) }
            #expect(stale?.isWrongSequence == true)
            #expect(try await bucket.get("k")?.value == [2])
            let staleDelete = await busError { try await bucket.delete("k", revision: first) }
            #expect(staleDelete?.isWrongSequence == true)
            try await bucket.delete("k", revision: second)
            let third = try await bucket.create("k", [4])
            #expect(third > second)
            #expect(try await bucket.get("k")?.value == [4])
        }
    }

    @Test(arguments: Setup.all)
    func onlyOneOfManyCreates(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let bucket = try await connection.jetStream.ensureBucket(.init(bucket: "B"))
            let winners = await withTaskGroup(of: Bool.self) { group in
                for n in 0..<20 as Range<UInt8> {
                    group.addTask { (try? await bucket.create("leader", [n])) != nil }
                }
                var winners = 0
                for await won in group where won { winners += 1 }
                return winners
            }
            #expect(winners == 1)
        }
    }

    @Test(arguments: Setup.all)
    func watch(setup: Setup) async throws {
        try await withServer(setup) { server, connection in
            let bucket = try await connection.jetStream.ensureBucket(.init(bucket: "B"))
            _ = try await bucket.put("a.1", [1])
            _ = try await bucket.put("b.1", [0])
            _ = try await bucket.put("a.2", [2])
            _ = try await bucket.put("a.1", [3])
            var entries = try bucket.watch("a.*").makeAsyncIterator()
            let present = [try await entries.next(), try await entries.next()]
            #expect(present.map(\.?.key) == ["a.2", "a.1"])
            #expect(present.map(\.?.value) == [[2], [3]])
            #expect(present.map(\.?.pending) == [1, 0])
            try await bucket.delete("a.2")
            _ = try await bucket.put("b.1", [1])
            try await bucket.purge("a.1")
            let deleted = try await entries.next()
            #expect(deleted?.key == "a.2" && deleted?.operation == .delete)
            let purged = try await entries.next()
            #expect(purged?.key == "a.1" && purged?.operation == .purge)
            try await server.restart()
            #expect(await eventually { connection.isConnected })
            _ = try await bucket.put("a.3", [9])
            let after = try await entries.next()
            #expect(after?.key == "a.3" && after?.value == [9])
        }
    }

    @Test(arguments: Setup.all)
    func watchSeesWhatWasLostOnTheWay(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            let bucket = try await js.ensureBucket(.init(bucket: "B"))
            let seen = Collector<String>()
            let watching = Task {
                for try await entry in try bucket.watch() { seen.add(entry.key) }
            }
            defer { watching.cancel() }
            _ = try await bucket.put("first", [1])
            #expect(await eventually { seen.all == ["first"] })
            // Somebody else takes the next change, or the one after it, out of the watch's own consumer.
            let names = try await js.api("CONSUMER.NAMES.KV_B", [:])["consumers"]?.array
            let consumer = try #require(names?.first?.string)
            let stolen = Collector<UInt64>()
            let inbox = try connection.newInbox()
            let thief = try Delivery(connection, inbox) { message in
                if let metadata = message.metadata { stolen.add(metadata.streamSequence) }
            }
            defer { thief.cancel() }
            try connection.publish(
                "$JS.API.CONSUMER.MSG.NEXT.KV_B.\(consumer)",
                Array(#"{"batch":1,"expires":60000000000}"#.utf8), reply: inbox)
            var keys = ["first"]
            while stolen.count == 0, keys.count < 8 {
                keys.append("k\(keys.count)")
                _ = try await bucket.put(keys[keys.count - 1], [1])
                #expect(await eventually { stolen.count > 0 || seen.count == keys.count })
            }
            #expect(stolen.all == [UInt64(keys.count)])
            // Nothing follows that would show the gap.
            #expect(await eventually { seen.all == keys })
        }
    }

    @Test(arguments: Setup.all)
    func timeToLive(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            var config = KeyValue.Config(bucket: "B")
            config.ttl = .seconds(1)
            config.storage = .memory
            let bucket = try await connection.jetStream.ensureBucket(config)
            _ = try await bucket.put("k", [1])
            #expect(await eventually { try await bucket.get("k") == nil })
            // Another program's bucket leaves a marker, which is no value.
            _ = try await connection.jetStream.publish(
                "$KV.B.l", [], headers: [("Nats-Marker-Reason", "MaxAge")])
            #expect(try await bucket.get("l") == nil)
            // A key that has expired can be created again. A busy machine may take longer
            // than it lives; then once more.
            #expect(
                await eventually {
                    _ = try await bucket.create("k", [2])
                    return try await bucket.get("k")?.value == [2]
                })
        }
    }

    @Test(arguments: Setup.all)
    func otherBuckets(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            let missing = await busError { _ = try await js.bucket("B") }
            #expect(missing?.jetStreamCode == JetStreamCode.streamNotFound)
            _ = try await js.ensureBucket(.init(bucket: "B"))
            var config = KeyValue.Config(bucket: "B")
            config.history = 5
            let error = await busError { _ = try await js.ensureBucket(config) }
            #expect(error?.code == .configMismatch(field: "max_msgs_per_subject"))
            _ = try await js.bucket("B").put("k", [1])
        }
    }
}
