import Antibody
import Bus
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport
import Testing

@testable import LoopBreaker

/// Several agents, restarts and servers without JetStream.
@Suite("Shared breakers", .serialized, .timeLimit(.minutes(10)))
struct SharingTests {
    @Test("what one agent breaks all know, one tells people, and one trial passes")
    func fleet() async throws {
        let fleet = try await Fleet()
        for node in ["nova", "vega", "lyra"] {
            // Long enough to be seen broken by any machine.
            try await fleet.start(fleet.config(node) { $0.loop.cooldown = .seconds(15) })
        }
        for _ in 0..<3 { try fleet.say("bad", "a", "b", depth: 99) }
        let event = await fleet.next("chain", "bad")
        #expect(event["state"] == "open")
        // Whoever answers, it is denied, and later one of many gets the trial.
        for _ in 0..<20 { #expect(try await fleet.check(["chain_id": "bad"])["allow"] == false) }
        var trials = 0
        await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    while !Task.isCancelled {
                        let answer = try? await fleet.check(["chain_id": "bad"])
                        if answer?["allow"] == true { return 1 }
                        try? await Task.sleep(for: .milliseconds(2))
                    }
                    return 0
                }
            }
            for await count in group {
                trials += count
                if trials > 0 { group.cancelAll() }
            }
        }
        #expect(trials == 1)
        let teller = try #require(event["node"]?.string)
        _ = await fleet.next("alert", teller) { $0["severity"] == "critical" }
        for node in ["nova", "vega", "lyra"] { try await fleet.stop(node) }
    }

    @Test("a restart keeps what is open, and clears the alert when it has calmed down")
    func restart() async throws {
        let fleet = try await Fleet()
        let config = fleet.config { $0.loop.cooldown = .seconds(20) }
        try await fleet.start(config)
        for number in 0..<11 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            try fleet.say("bad", from, to, text: "no, after you please")
        }
        _ = await fleet.next("alert") { $0["severity"] == "critical" }
        try fleet.command("x1", "circuit_break", ["resource": "bad"])
        #expect(await fleet.result("x1")["status"] == "done")
        try await fleet.stop()
        try await fleet.start(config)
        #expect(await eventually { try await fleet.check(["chain_id": "bad"])["allow"] == false })
        let moved: JSON = [
            "chain_id": "moved", "from": "b", "to": "a", "text": "no, after you please",
        ]
        #expect(await eventually { try await fleet.check(moved)["allow"] == false })
        _ = await fleet.next("alert") { $0["severity"] == "ok" && $0["resource"] == "bad" }
        try await fleet.stop()
    }

    @Test("without JetStream breakers work from memory")
    func memory() async throws {
        let fleet = try await Fleet(jetStream: false)
        try await fleet.start(
            fleet.config { $0.loop.cooldown = .seconds(5) }, isShared: false)
        #expect(try await fleet.check(["chain_id": "bad", "depth": 11])["allow"] == false)
        #expect(try await fleet.check(["chain_id": "bad"])["allow"] == false)
        // Nobody stores alerts here; the ear hears each try.
        #expect(await fleet.next("alert")["resource"] == "bad")
        #expect(await eventually { try await fleet.check(["chain_id": "bad"])["trial"] == true })
        try await fleet.stop()
    }

    @Test("a server that restarts is listened to again")
    func reconnect() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        try await fleet.server.restart()
        #expect(
            await eventually {
                try await fleet.check(["chain_id": "bad", "depth": 11])["allow"] == false
            })
        try fleet.say("seen", "a", "b", depth: 11)
        #expect(await eventually { try await fleet.check(["chain_id": "seen"])["allow"] == false })
        try await fleet.stop()
    }

    @Test("entries that make no sense are left alone")
    func badEntries() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        let bucket = try await fleet.voice.jetStream.bucket("SKOS_CHAINS")
        for text in [
            "", "{}", #"{"chain_id":"x","state":"open","until":"soon"}"#,
            #"{"chain_id":"y","state":"open","until":"2199-01-01T00:00:00Z"}"#,
        ] { _ = try await bucket.put("chain.x", Array(text.utf8)) }
        let good = #"{"chain_id":"z","state":"open","until":"2199-01-01T00:00:00Z"}"#
        _ = try await bucket.put("chain.z", Array(good.utf8))
        #expect(await eventually { try await fleet.check(["chain_id": "z"])["allow"] == false })
        let answer = try await fleet.check(["chain_id": "z"])
        let until = try #require(answer["until"]?.string.flatMap(Timestamp.init))
        #expect(until - SteadyClock.wallTime() <= SharedBreak.longest)
        #expect(try await fleet.check(["chain_id": "x"])["allow"] == true)
        #expect(try await fleet.check(["chain_id": "y"])["allow"] == true)
        try await fleet.stop()
    }
}
