import Antibody
import Bus
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport
import Testing

@testable import LoopBreaker

/// Agents against a real NATS server.
@Suite("The loop agent", .serialized, .timeLimit(.minutes(10)))
struct LoopModuleTests {
    @Test("is called as the command line calls it")
    func name() { #expect(LoopModule(config: Config()).name == "loop") }

    @Test("a program that asks is stopped at the limit; an honest chain beside it is not touched")
    func asking() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        var sent = 0
        for number in 0..<10_000 {
            let (from, to) = number % 2 == 0 ? ("writer", "critic") : ("critic", "writer")
            let answer = try await fleet.check(
                ["chain_id": "bad", "depth": 1, "from": .string(from), "to": .string(to)])
            guard answer["allow"] == true else {
                #expect(answer["reason"]?.string == "depth 11 is over 10")
                #expect(answer["until"]?.string.flatMap(Timestamp.init) != nil)
                break
            }
            try fleet.say("bad", from, to, depth: 1)
            sent += 1
        }
        #expect((10...30).contains(sent))
        for number in 0..<5 {
            let ask: JSON = ["chain_id": "good", "depth": .integer(Int64(number))]
            #expect(try await fleet.check(ask) == ["allow": true])
            try fleet.say("good", "writer", "critic", depth: number, text: "part of the book")
        }
        let alert = await fleet.next("alert")
        #expect(alert["type"] == "depth_exceeded")
        #expect(alert["severity"] == "critical")
        #expect(alert["resource"] == "bad")
        #expect(alert["details"]?.object?["pairs"] == [["critic", "writer"]])
        try await fleet.stop()
    }

    @Test("the contract's question is answered as it says")
    func contract() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        #expect(try await fleet.check(["chain_id": "c", "depth": 10]) == ["allow": true])
        let answer = try await fleet.check(["chain_id": "c", "depth": 11])
        #expect(answer["allow"] == false)
        #expect(answer["reason"] == "depth 11 is over 10")
        #expect(answer["until"]?.string.flatMap(Timestamp.init) != nil)
        let event = await fleet.next("chain", "c")
        #expect(event["state"] == "open")
        #expect(event["verdict"] == "depth_exceeded")
        try await fleet.stop()
    }

    @Test("a question may say it in headers, as the message that is to be sent does")
    func headers() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        for (payload, headers) in [
            ("", [("Skos-Chain-Id", "h"), ("Skos-Depth", "11")]),
            (#"{"chain_id":"j"}"#, [("skos-depth", "11")]),
            ("please go on", [("skos-chain-id", "t"), ("Skos-Depth", "11")]),
        ] {
            let answer = try await fleet.voice.request(
                "skos.chain.check", Array(payload.utf8), headers: headers, timeout: .seconds(60))
            let object = try JSON.parse(answer.payload).object
            #expect(object?["reason"] == "depth 11 is over 10")
        }
        let other = try await fleet.voice.request(
            "skos.chain.check", [], headers: [("Skos-Depth", "1")], timeout: .seconds(60))
        #expect(try JSON.parse(other.payload).object?["field"] == "chain_id")
        try await fleet.stop()
    }

    @Test("a question that makes no sense is answered with the field at fault")
    func malformed() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        let cases: [(JSON, String?)] = [
            (["chain_id": "c", "depth": -1], "depth"), ([:], "chain_id"),
            (["chain_id": 5], "chain_id"), (["chain_id": "c", "tokens": "many"], "tokens"),
            (["chain_id": .string(String(repeating: "x", count: 10_000))], "chain_id"),
            (["chain_id": .string(String(repeating: "x", count: 1_000_000))], nil), ([], nil),
        ]
        for (request, field) in cases {
            let answer = try await fleet.check(request)
            #expect(answer["allow"] == false)
            #expect(answer["field"]?.string == field)
            #expect((answer["error"]?.string ?? "").utf8.count < 300)
        }
        for bytes in [[], [0xFF, 0xFE], Array("{\"chain_id\"".utf8)] as [[UInt8]] {
            let answer = try await fleet.voice.request(
                "skos.chain.check", bytes, timeout: .seconds(60))
            #expect(try JSON.parse(answer.payload).object?["allow"] == false)
        }
        #expect(try await fleet.check(["chain_id": "c"]) == ["allow": true])
        try await fleet.stop()
    }

    @Test("envelopes that make no sense are told of; a chain that they name counts all the same")
    func badEnvelopes() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        let long = String(repeating: "x", count: 1_000_000)
        for text in [
            #"{"chain_id":"c","depth":-1}"#, #"{"chain_id":"\#(long)"}"#,
            #"{"chain_id":"a\u0000b"}"#, #"{"chain_id":"c","path":7}"#,
        ] { try fleet.voice.publish("synthesis.x", Array(text.utf8)) }
        let rejected = await fleet.next("rejected")
        #expect(rejected["field"] == "depth")
        #expect(rejected["subject"] == "synthesis.x")
        try fleet.voice.publish("synthesis.x", [], headers: [("Skos-Chain-Id", "h")])
        #expect(await eventually { await chains(fleet) == 2 })
        try await fleet.stop()
    }

    private func chains(_ fleet: Fleet) async -> Int64? {
        await fleet.next("heartbeat")["metadata"]?.object?["chains"]?.integer
    }

    @Test("messages are watched by headers, once for several patterns, and SKOS's own never")
    func watching() async throws {
        let fleet = try await Fleet()
        try await fleet.start(
            fleet.config {
                $0.loop.watch = ["synthesis.>", "synthesis.talk", ">"]
                $0.loop.limits.iterations = 5
            })
        for _ in 0..<5 {
            try fleet.voice.publish("synthesis.talk", [], headers: [("Skos-Chain-Id", "h")])
            try fleet.voice.publish("skos.noise", [], headers: [("Skos-Chain-Id", "own")])
            try fleet.voice.publish("skos.noise", [], headers: [("Skos-Chain-Id", "own")])
        }
        #expect(await eventually { await chains(fleet) == 1 })
        try fleet.voice.publish("synthesis.talk", [], headers: [("Skos-Chain-Id", "h")])
        #expect(await fleet.next("alert")["resource"] == "h")
        try await fleet.stop()
    }

    @Test("a command breaks the chain and its pair, and says until when; it ends by itself")
    func command() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config { $0.loop.cooldown = .seconds(10) })
        for number in 0..<20 {
            let (from, to) = number % 2 == 0 ? ("a", "b") : ("b", "a")
            try fleet.say("bad", from, to)
        }
        _ = await fleet.next("alert")
        try fleet.command("x1", "circuit_break", ["resource": "bad"])
        let result = await fleet.result("x1")
        #expect(result["status"] == "done")
        #expect(result["outcome"] == "succeeded")
        let effect = result["effect"]?.object
        #expect(effect?["pairs"] == [["a", "b"]])
        #expect(effect?["until"]?.string.flatMap(Timestamp.init) != nil)
        let moved = try await fleet.check(["chain_id": "bad2", "from": "b", "to": "a"])
        #expect(moved["reason"]?.string?.hasPrefix("the pair a–b is broken") == true)
        // After the cool-down a trial passes, and with nobody else there the chain is closed.
        #expect(
            await eventually {
                try await fleet.check(["chain_id": "bad"]) == ["allow": true, "trial": true]
            })
        _ = await fleet.next("chain", "bad") { $0["state"] == "half_open" }
        _ = await fleet.next("chain", "bad") { $0["state"] == "closed" && $0["pair"] == nil }
        #expect(try await fleet.check(["chain_id": "bad"]) == ["allow": true])
        _ = await fleet.next("alert") { $0["severity"] == "ok" && $0["resource"] == "bad" }
        try await fleet.stop()
    }

    @Test("a chain that runs on after its trial is opened again")
    func reopened() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config { $0.loop.cooldown = .milliseconds(300) })
        // It never stops asking; were the machine so slow that a trial looked calm, it breaks anew.
        let running = Task {
            while !Task.isCancelled {
                let answer = try await fleet.check(["chain_id": "bad"])
                if answer == ["allow": true] {
                    _ = try await fleet.check(["chain_id": "bad", "iteration": 101])
                }
            }
        }
        let event = await fleet.next("chain", "bad") {
            $0["reason"]?.string?.hasPrefix("the trial failed") == true
        }
        running.cancel()
        #expect(event["state"] == "open")
        try await fleet.stop()
    }

    @Test(
        "commands that make no sense are refused",
        arguments: [
            (["resource": ""], "resource"), ([:], "resource"),
            (["resource": "skos:nova:throttle_50"], "again and again (skos incidents)"),
            (["resource": "c", "pair": "a"], "pair"), (["resource": "c", "pair": ["a"]], "pair"),
            (["resource": "c\u{1}"], "control"),
        ] as [(JSON.Object, String)])
    func refused(_ parameters: JSON.Object, _ reason: String) throws {
        let module = LoopModule(config: Config())
        for verb in module.verbs() {
            #expect { try verb.plan(VerbCall(parameters: parameters)) } throws: {
                guard let failure = $0 as? VerbFailure else { return false }
                return !failure.isTransient && failure.reason.contains(reason)
            }
        }
    }

    @Test("in a dry run everything is told and nothing is stopped")
    func dryRun() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config { $0.local.dryRun = true })
        let answer = try await fleet.check(["chain_id": "bad", "depth": 11])
        #expect(answer == ["allow": true, "dry_run": true, "reason": "depth 11 is over 10"])
        #expect(await fleet.next("alert")["resource"] == "bad")
        try await fleet.stop()
    }

    @Test("new settings count at once, also for what is watched")
    func settings() async throws {
        let fleet = try await Fleet()
        let (configs, change) = AsyncStream.makeStream(of: Config.self)
        try await fleet.start(fleet.config(), configs: configs)
        change.yield(
            fleet.config {
                $0.loop.watch = ["other.>"]
                $0.loop.limits.depth = 2
            })
        _ = await fleet.next("heartbeat") {
            $0["metadata"]?.object?["watched"] == ["other.>"]
        }
        #expect(
            try await fleet.check(["chain_id": "c", "depth": 3])["reason"] == "depth 3 is over 2")
        try fleet.say("seen", "a", "b", depth: 3, subject: "other.talk")
        _ = await fleet.next("alert") { $0["resource"] == "seen" }
        try await fleet.stop()
    }

    @Test("the healer's own commands that go round are told of")
    func ownCommands() async throws {
        let fleet = try await Fleet()
        try await fleet.start(fleet.config())
        for number in 0...CommandChains.limit {
            let command = Command(
                actionID: "a\(number)", actionType: "throttle_50", node: "nova")
            // Each twice: a repeat is no new one.
            for _ in 0..<2 {
                try fleet.voice.publish(
                    "skos.command.nova", JSON.object(command.object).encoded)
            }
        }
        let alert = await fleet.next("alert")
        #expect(alert["type"] == "iterations_exceeded")
        #expect(alert["resource"] == "skos:nova:throttle_50")
        #expect(alert["value"] == 21.0)
        try await fleet.stop()
    }
}
