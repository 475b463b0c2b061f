import Protocol
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct JetStreamTests {
    @Test(arguments: Setup.all)
    func streamsAreCheckedAsTheServerHasThem(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            var config = StreamConfig(name: "S", subjects: ["s.*", "t.>"])
            config.maxAge = .seconds(3600)
            config.denyDelete = true
            config.denyPurge = true
            config.duplicateWindow = .seconds(60)
            let created = try await js.ensureStream(config)
            #expect(created.name == "S")
            #expect(created.lastSequence == 0)
            #expect(try await js.ensureStream(config) == created)
            let changes: [(String, (inout StreamConfig) -> Void)] = [
                ("subjects", { $0.subjects = ["s.*"] }),
                ("max_age", { $0.maxAge = nil }),
                ("max_msgs", { $0.maxMessages = 5 }),
                ("max_bytes", { $0.maxBytes = 5 }),
                ("deny_delete", { $0.denyDelete = false }),
                ("deny_purge", { $0.denyPurge = false }),
                ("discard", { $0.discard = .new }),
                ("storage", { $0.storage = .memory }),
                ("duplicate_window", { $0.duplicateWindow = .seconds(61) }),
                ("retention", { $0.retention = .workqueue }),
                ("allow_atomic", { $0.allowAtomicPublish = true }),
            ]
            for (field, change) in changes {
                var other = config
                change(&other)
                let error = await busError { _ = try await js.ensureStream(other) }
                #expect(error?.code == .configMismatch(field: field))
                #expect(error?.message.contains(field) == true)
            }
            config.duplicateWindow = nil
            _ = try await js.ensureStream(config)
        }
    }

    @Test(arguments: Setup.all)
    func featuresTheServerDoesNotKnow(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            var config = StreamConfig(name: "S", subjects: ["s"])
            config.allowAtomicPublish = true
            let error = await busError { _ = try await connection.jetStream.ensureStream(config) }
            if connection.serverIsAtLeast(2, 12) {
                #expect(error == nil)
            } else {
                #expect(error?.code == .configMismatch(field: "allow_atomic"))
                #expect(error?.message.contains("too old") == true)
            }
        }
    }

    @Test(arguments: Setup.all)
    func deniedDeletionAndPurge(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            var config = StreamConfig(name: "S", subjects: ["s"])
            config.denyDelete = true
            config.denyPurge = true
            _ = try await js.ensureStream(config)
            _ = try await js.publish("s", [1])
            let purge = await busError { _ = try await js.api("STREAM.PURGE.S") }
            #expect(purge?.jetStreamCode == 10110)
            let delete = await busError { _ = try await js.api("STREAM.MSG.DELETE.S", ["seq": 1]) }
            #expect(delete?.jetStreamCode == 10057)
            #expect(try await js.getMessage("S", sequence: 1)?.payload == [1])
        }
    }

    @Test func withoutJetStream() async throws {
        let setup = try #require(Setup.all.first)
        let server = try await NATSServer.start(binary: setup.binary, jetStream: false)
        let connection = try await Connection.connect(setup.options(server))
        defer { connection.close() }
        let error = await busError { _ = try await connection.jetStream.streamInfo("S") }
        #expect(error?.jetStreamCode == JetStreamCode.notEnabled)
    }

    @Test(arguments: Setup.all)
    func publishOne(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let js = connection.jetStream
            let nowhere = await busError { _ = try await js.publish("s", [1]) }
            #expect(nowhere?.code == .noResponders)
            _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
            let first = try await js.publish("s", [1], messageID: "a", expectedLastSequence: 0)
            #expect(first == PubAck(sequence: 1))
            let again = try await js.publish("s", [1], messageID: "a")
            #expect(again == PubAck(sequence: 1, duplicate: true))
            let stale = await busError {
                _ = try await js.publish("s", [2], messageID: "b", expectedLastSequence: 0)
            }
            #expect(stale?.jetStreamCode == 10071)
            #expect(stale?.isWrongSequence == true)
            #expect(try await js.publish("s", [2], expectedLastSequence: 1).sequence == 2)
            let stored = try #require(try await js.getMessage("S", sequence: 1))
            #expect(stored.payload == [1])
            #expect(stored.subject == "s")
            #expect(stored.header("Nats-Msg-Id") == "a")
            #expect(stored.timestampNanoseconds > 1_600_000_000_000_000_000)
            #expect(try await js.getMessage("S", lastBySubject: "s")?.sequence == 2)
            #expect(try await js.getMessage("S", sequence: 3) == nil)
            #expect(try await js.getMessage("S", lastBySubject: "x") == nil)
        }
    }

    @Test func answersToPublishing() throws {
        let good: [(String, PubAck)] = [
            (#"{"stream":"S","seq":7}"#, PubAck(sequence: 7)),
            (#"{"stream":"S", "seq":1234567890123}"#, PubAck(sequence: 1_234_567_890_123)),
            (#"{"seq":7,"stream":"S"}"#, PubAck(sequence: 7)),
            (#"{"stream":"S","seq":7,"duplicate": true}"#, PubAck(sequence: 7, duplicate: true)),
            (#"{"stream":"S","domain":"d","seq":70}"#, PubAck(sequence: 70)),
        ]
        for (text, ack) in good {
            let read = try Array(text.utf8).withUnsafeBytes { try PubAck.read($0, "p") }
            #expect(read == ack)
        }
        let bad = [
            "", "}", "{}", #"{"seq":0}"#, #""seq":7"#, #"{"seq":-7}"#,
            #"{"error":{"code":400,"err_code":10071,"description":"wrong"},"stream":"S","seq":0}"#,
        ]
        for text in bad {
            #expect(throws: BusError.self) {
                try Array(text.utf8).withUnsafeBytes { try PubAck.read($0, "p") }
            }
        }
    }

    @Test func base64() throws {
        let table: [(String, [UInt8]?)] = [
            ("", []), ("AA==", [0]), ("AAE=", [0, 1]), ("AAEC", [0, 1, 2]), ("/+8=", [255, 239]),
            ("A", nil), ("AA=A", nil), ("A-==", nil), ("====", nil),
        ]
        for (text, bytes) in table { #expect(Base64.decode(text) == bytes, "\(text)") }
    }
}
