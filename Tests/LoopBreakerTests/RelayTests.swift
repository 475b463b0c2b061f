import Bus
import Protocol
import Settings
import TestSupport
import Testing

@testable import LoopBreaker

@Suite("The relay", .serialized, .timeLimit(.minutes(10)))
struct RelayTests {
    private func start(_ fleet: Fleet, _ change: (inout Config) -> Void = { _ in }) async throws {
        try await fleet.start(
            fleet.config {
                $0.loop.relay = Config.Relay(source: "synthesis.in.>", target: "synthesis.>")
                change(&$0)
            })
    }

    @Test("of a runaway's 10,000 messages exactly those within the limit pass")
    func runaway() async throws {
        let fleet = try await Fleet()
        // What it says again and again would be found before that.
        try await start(fleet) { $0.loop.limits.repeats = 0 }
        let passed = try fleet.voice.subscribe(
            "synthesis.talk", capacity: 20_000, overflow: .block)
        try await passed.ready(timeout: .seconds(60))
        for _ in 0..<10_000 {
            try fleet.voice.publish(
                "synthesis.in.talk", Array("go on".utf8), headers: [("Skos-Chain-Id", "bad")])
        }
        let answer = try await fleet.voice.request(
            "synthesis.in.talk", [], headers: [("Skos-Chain-Id", "bad")], timeout: .seconds(60))
        let object = try JSON.parse(answer.payload).object
        #expect(object?["allow"] == false)
        #expect(object?["reason"] == "iteration 101 is over 100")
        // An honest one goes through behind it, as it came.
        try fleet.voice.publish(
            "synthesis.in.talk", Array("hello".utf8),
            headers: [("Skos-Chain-Id", "good"), ("Other", "header")])
        var count = 0
        while let message = await passed.next(), message.header("Skos-Chain-Id") != "good" {
            count += 1
            #expect(message.payload == Array("go on".utf8))
        }
        #expect(count == 100)
        let alert = await fleet.next("alert")
        #expect(alert["resource"] == "bad")
        #expect(alert["type"] == "iterations_exceeded")
        try await fleet.stop()
    }

    @Test("what it passes is counted once, though it is watched, and a forged mark is none")
    func countedOnce() async throws {
        let fleet = try await Fleet()
        try await start(fleet) { $0.loop.limits.iterations = 20 }
        let passed = try fleet.voice.subscribe(
            "synthesis.talk", capacity: 20_000, overflow: .block)
        try await passed.ready(timeout: .seconds(60))
        for _ in 0..<10 {
            try fleet.voice.publish(
                "synthesis.in.talk", [], headers: [("Skos-Chain-Id", "c"), ("X", "y")])
        }
        var mark = ""
        for _ in 0..<10 {
            let message = await passed.next()
            #expect(message?.header("X") == "y")
            mark = message?.header("Skos-Relay") ?? ""
        }
        #expect(!mark.isEmpty)
        for _ in 0..<10 {
            try fleet.voice.publish(
                "synthesis.talk", [], headers: [("Skos-Chain-Id", "c"), ("Skos-Relay", mark)])
        }
        // Twenty by now; the next is one too many.
        #expect(
            await eventually {
                let answer = try await fleet.check(["chain_id": "c"])
                return answer["reason"]?.string == "iteration 21 is over 20"
            })
        try await fleet.stop()
    }

    @Test("what belongs to no chain passes; what makes no sense does not, and its sender hears why")
    func others() async throws {
        let fleet = try await Fleet()
        try await start(fleet)
        let passed = try fleet.voice.subscribe("synthesis.a.b", capacity: 100, overflow: .block)
        try await passed.ready(timeout: .seconds(60))
        let answer = try await fleet.voice.request(
            "synthesis.in.a.b", Array(#"{"chain_id":"c","depth":-1}"#.utf8), timeout: .seconds(60))
        #expect(try JSON.parse(answer.payload).object?["field"] == "depth")
        // Nor does what names a chain and is no JSON, while what Python makes of NaN is judged.
        let odd = try await fleet.voice.request(
            "synthesis.in.a.b", Array(#"{"x":NaN,"in":{"chain_id":"c"}}"#.utf8),
            timeout: .seconds(60))
        #expect(try JSON.parse(odd.payload).object?["allow"] == false)
        let deep = try await fleet.voice.request(
            "synthesis.in.a.b", Array(#"{"chain_id":"c","depth":11,"x":NaN}"#.utf8),
            timeout: .seconds(60))
        #expect(try JSON.parse(deep.payload).object?["reason"] == "depth 11 is over 10")
        try fleet.voice.publish("synthesis.in.a.b", Array("free".utf8), reply: "answers.here")
        let message = try #require(await passed.next())
        #expect(message.payload == Array("free".utf8))
        #expect(message.reply == "answers.here")
        try await fleet.stop()
    }

    @Test(
        "a relay that would feed itself is none",
        arguments: [
            ("a.>", "a.b.>"), ("a.>", "a.>"), ("a", "b.>"), ("skos.>", "b.>"), ("a.>", "$JS.>"),
            ("*.in.>", "b.>"),
        ])
    func impossible(_ source: String, _ target: String) {
        #expect(throws: MessageError.self) {
            try RelayRoute(Config.Relay(source: source, target: target))
        }
    }

    @Test("subjects are mapped from one tree to the other")
    func route() throws {
        let route = try RelayRoute(
            Config.Relay(source: "synthesis.in.>", target: "synthesis.>"))
        #expect(route.target(of: "synthesis.in.a.b") == "synthesis.a.b")
        #expect(route.target(of: "synthesis.in.") == nil)
        #expect(route.target(of: "synthesis.a") == nil)
        #expect(LoopSubjects.matches("a.*.c", "a.b.c"))
        #expect(LoopSubjects.matches("a.>", "a.b.c"))
        #expect(!LoopSubjects.matches("a.>", "a"))
        #expect(!LoopSubjects.matches("a.*", "a.b.c"))
        #expect(!LoopSubjects.matches("a.b", "a"))
    }
}
