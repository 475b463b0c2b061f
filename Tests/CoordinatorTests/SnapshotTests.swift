import Bus
import Foundation
import Immunity
import Protocol
import Runtime
import TestSupport
import Testing

@testable import Coordinator

/// A snapshot saves time and decides nothing: what is doubtful about it is not used.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct SnapshotTests {
    /// A state with so many open incidents, and the audit that leads to it.
    private static func replay(_ count: Int, on jetStream: JetStream) async throws -> Replay {
        var replay = Replay()
        var immunity = Immunity(policies: Lab.policies())
        let now = Timestamp(seconds: 1_700_000_000)
        for index in 0..<count {
            var alert = Alert(type: "thermal", severity: .critical, node: "n-\(index)")
            alert.message = String(repeating: "hot ", count: 100)
            alert.timestamp = now
            alert.id = "id-\(index)"
            _ = immunity.handle(.alert(alert, sequence: UInt64(index + 1)), at: now)
        }
        replay.state = immunity.state
        replay.hash = "some hash"
        replay.lead = Replay.Lead(sequence: 1, hash: "lead", actor: "coordinator-lab")
        replay.alertStream = "then"
        replay.sequence = try await jetStream.publish(
            "SKOS_AUDIT.test", [], headers: [("Skos-Hash", "some hash")]
        ).sequence
        return replay
    }

    private static func with(
        _ binary: String, _ body: (Connection, Snapshots) async throws -> Void
    ) async throws {
        let server = try await NATSServer.start(binary: binary)
        let connection = try await Connection.patient(server.url)
        defer { connection.close() }
        _ = try await connection.jetStream.ensureStream(Streams.audit)
        let snapshots = try await Snapshots.open(
            connection.jetStream, logger: Logger("test", sink: LogSink(descriptor: -1)))
        try await body(connection, snapshots)
    }

    @Test(arguments: NATSServer.binaries, [0, 3, 1200])
    func comesBackAsItWas(binary: String, count: Int) async throws {
        try await Self.with(binary) { connection, snapshots in
            let jetStream = connection.jetStream
            #expect(await snapshots.load(jetStream, upTo: 9) == nil)
            for _ in 0..<3 {
                let replay = try await Self.replay(count, on: jetStream)
                await snapshots.save(replay)
                let loaded = await snapshots.load(jetStream, upTo: replay.sequence)
                #expect(loaded?.state == replay.state)
                #expect(loaded?.sequence == replay.sequence)
                #expect(loaded?.lead == replay.lead)
                #expect(loaded?.alertStream == "then")
            }
            let size = try await connection.jetStream.streamInfo("KV_SKOS_STATE").bytes
            #expect(count < 1200 || size > 2 * 1024 * 1024, "several parts were needed")
        }
    }

    @Test(
        arguments: NATSServer.binaries,
        ["later", "another", "no part", "another part", "no word", "not JSON", "version"])
    func doubtfulOneIsNotUsed(binary: String, doubt: String) async throws {
        try await Self.with(binary) { connection, snapshots in
            let jetStream = connection.jetStream
            var replay = try await Self.replay(3, on: jetStream)
            if doubt == "another" { replay.hash = "another hash" }
            await snapshots.save(replay)
            var last = replay.sequence
            let bucket = snapshots.bucket
            switch doubt {
            case "later": last -= 1
            case "no part": try await bucket.delete("coordinator.a.0")
            case "another part": _ = try await bucket.put("coordinator.a.0", Array("{}".utf8))
            case "no word": try await bucket.delete("coordinator")
            case "not JSON": _ = try await bucket.put("coordinator", Array("{".utf8))
            case "version":
                var state = replay.state.snapshot
                state["version"] = 999
                let bytes = JSON.object(state).encoded
                _ = try await bucket.put("coordinator.a.0", bytes)
                let entry = try #require(try await bucket.get("coordinator"))
                var object = try #require(try JSON.parse(entry.value).object)
                object["digest"] = .string(Snapshots.digest(bytes))
                _ = try await bucket.put("coordinator", JSON.object(object).encoded)
            default: break
            }
            #expect(await snapshots.load(jetStream, upTo: last) == nil)
        }
    }
}
