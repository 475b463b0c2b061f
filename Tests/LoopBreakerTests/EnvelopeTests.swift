import Protocol
import Runtime
import Testing

@testable import LoopBreaker

@Suite("Envelopes of chains")
struct EnvelopeTests {
    private func read(
        _ payload: String = "", _ headers: [String: String] = [:]
    ) throws(MessageError) -> Envelope? {
        try read(Array(payload.utf8), headers)
    }

    private func read(
        _ payload: [UInt8], _ headers: [String: String] = [:]
    ) throws(MessageError) -> Envelope? {
        let result: Result<Envelope?, MessageError> = payload.withUnsafeBytes { bytes in
            do throws(MessageError) {
                return .success(try Envelope.read(headers: { headers[$0] }, payload: bytes))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    @Test("a JSON payload says everything")
    func json() throws {
        let envelope = try #require(
            try read(
                """
                {"chain_id":"c1","message_id":"m2","parent_id":"m1","depth":3,"iteration":7,
                 "path":["planner","writer"],"tokens":250,"from":"writer","to":"planner",
                 "text":"please try again"}
                """))
        #expect(envelope.chainID == "c1")
        #expect(envelope.messageID == "m2")
        #expect(envelope.parentID == "m1")
        #expect(envelope.depth == 3)
        #expect(envelope.iteration == 7)
        #expect(envelope.path == ["planner", "writer"])
        #expect(envelope.tokens == 250)
        #expect(envelope.pair == Pair("planner", "writer"))
        #expect(envelope.content == content("please try again"))
    }

    @Test("headers say the same, and count more than the payload")
    func headers() throws {
        let envelope = try #require(
            try read(
                #"{"chain_id":"c1","depth":1,"from":"nobody","text":"please try again"}"#,
                [
                    "Skos-Chain-Id": "c1", "Skos-Parent-Id": "m1", "Skos-Depth": "3",
                    "Skos-Iteration": "7", "Skos-Path": "planner, writer", "Skos-Tokens": "250",
                    "Skos-From": "writer", "Skos-To": "planner", "Skos-Message-Id": "m2",
                ]))
        #expect(envelope.chainID == "c1")
        #expect(envelope.depth == 3)
        #expect(envelope.path == ["planner", "writer"])
        #expect(envelope.sender == "writer")
        #expect(envelope.tokens == 250)
        #expect(envelope.content == content("please try again"))
    }

    @Test("what no header says the payload says, and the other way round")
    func merged() throws {
        let members = #"{"from":"a","to":"b","depth":7,"text":"please try again"}"#
        let named = try #require(try read(members, ["Skos-Chain-Id": "c1", "Skos-Depth": "9"]))
        #expect(named.chainID == "c1")
        #expect(named.depth == 9)
        #expect(named.pair == Pair("a", "b"))
        let member = try #require(try read(#"{"chain_id":"c1"}"#, ["Skos-Depth": "11"]))
        #expect(member.depth == 11)
    }

    @Test("header and payload that name different chains are refused; heard, both count")
    func disagreement() throws {
        let payload = #"{"chain_id":"bad","from":"a"}"#
        #expect { try read(payload, ["Skos-Chain-Id": "fresh"]) } throws: {
            ($0 as? MessageError)?.field == "chain_id"
        }
        let heard = hear(payload, ["Skos-Chain-Id": "fresh"])
        #expect(heard.envelopes.map(\.chainID) == ["fresh", "bad"])
        #expect(heard.envelopes.map(\.from) == ["a", "a"])
        #expect(heard.flaw?.field == "chain_id")
    }

    @Test("names of headers have no case")
    func headerCase() {
        let headers = ChainHeaders([
            ("Other", "x"), ("Traceparent", "t"), ("skos-chain-id", "c"), ("SKOS-DEPTH", "3"),
            ("Skos-From", "right"), ("skos-from", "wrong"),
        ])
        #expect(headers.value("Skos-Chain-Id") == "c")
        #expect(headers.value("Skos-Depth") == "3")
        #expect(headers.value("traceparent") == "t")
        #expect(headers.value("Skos-From") == "right")
        #expect(headers.value("Other") == nil)
        #expect(headers.value("Skos-To") == nil)
    }

    @Test("a header that an empty one before it has taken in is missed")
    func cutHeaders() {
        for value in ["Skos-Depth: 99", "skos-depth:99", "traceparent: 00"] {
            #expect(ChainHeaders([("A", value), ("Skos-Chain-Id", "c")]).areCut)
        }
        for value in ["", "a: b", "skos-depth", ":", "see Skos-Depth: 99", "traceparents: 1"] {
            #expect(!ChainHeaders([("A", value), ("Skos-Chain-Id", "c")]).areCut)
        }
    }

    @Test(
        "what is nearly JSON is read as far as it is plain",
        arguments: [
            #"{"chain_id":"c1","score":NaN,"from":"a","depth":4,"text":"so it goes"}"#,
            #"{"x":Infinity,"nested":{"chain_id":"no","a":[1,{"b":"}"}]},"depth":4,"from":"a","#
                + #""chain_id":"c1","text":"so it goes"}"#,
            #"{"chain_id":"c1","depth":4,"from":"a","cut":"\ud83d so","text":"so it goes"}"#,
            #"{"chain_id":"c1","depth":4,"from":"a","text":"so it goes","x":1,"x":2}"#,
            "\u{FEFF}" + #"{"chain_id":"c1","depth":4,"from":"a","text":"so it goes"}"#,
            #"{"chain_id":"c1","depth":4,"from":"a","text":"so it goes","deep":"#
                + String(repeating: "[", count: 500) + String(repeating: "]", count: 500) + "}",
            #"{"chain_id":"c1","depth":4.0,"from":"a","text":"so it goes""#,
        ])
    func loose(_ payload: String) throws {
        let envelope = try #require(try read(payload))
        #expect(envelope.chainID == "c1")
        #expect(envelope.depth == 4)
        #expect(envelope.from == "a")
        #expect(envelope.content != nil)
        #expect(hear(payload).envelopes == [envelope])
        #expect(hear(payload).flaw == nil)
    }

    @Test(
        "what names a chain and cannot be read is refused, and not let through",
        arguments: [
            #"{"chain_id":"c\ud83d","score":1}"#, #"{"chain_id":"a","chain_id":"b"}"#,
            #"{"score":NaN,"inner":{"chain_id":"c"}}"#, #"{"chain_id""#,
        ])
    func unreadable(_ payload: String) {
        #expect(throws: MessageError.self) { try read(payload) }
        #expect(hear(payload).envelopes.isEmpty)
        #expect(hear(payload).flaw != nil)
    }

    @Test("heard, one odd part does not hide the rest")
    func heard() throws {
        let heard = hear(
            #"{"chain_id":"c","depth":-1,"tokens":12.5,"from":"","to":"b","iteration":7.0,"#
                + #""parent_id":"\#(String(repeating: "x", count: 256))"}"#)
        let envelope = try #require(heard.envelopes.first)
        #expect(envelope.chainID == "c")
        #expect(envelope.depth == nil)
        #expect(envelope.tokens == 0)
        #expect(envelope.from == nil)
        #expect(envelope.to == "b")
        #expect(envelope.iteration == 7)
        #expect(envelope.parentID == nil)
        #expect(heard.flaw != nil)
        #expect(hear(#"{"chain_id":""}"#).envelopes.isEmpty)
        #expect(hear("text").flaw == nil)
    }

    private func hear(_ payload: String, _ headers: [String: String] = [:]) -> Envelope.Heard {
        Array(payload.utf8).withUnsafeBytes { bytes in
            Envelope.hear(headers: { headers[$0] }, payload: bytes)
        }
    }

    private func ask(
        _ payload: String, _ headers: [(name: String, value: String)] = []
    ) throws(MessageError) -> Envelope {
        let result: Result<Envelope, MessageError> = Array(payload.utf8).withUnsafeBytes { bytes in
            do throws(MessageError) {
                return .success(try Envelope(question: bytes, headers: ChainHeaders(headers)))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    @Test("a question is a JSON object, headers, or the very message that is to be sent")
    func question() throws {
        #expect(try ask(#"{"chain_id":"c","depth":3}"#).depth == 3)
        for payload in ["", " ", "{}", "please try again", "[1]"] {
            let headers = [("skos-chain-id", "c"), ("Skos-Depth", "11"), ("Skos-To", "b")]
            let envelope = try ask(payload, headers)
            #expect(envelope.chainID == "c")
            #expect(envelope.depth == 11)
            #expect(envelope.to == "b")
            #expect(envelope.content == content(payload))
        }
        let both = try ask(#"{"chain_id":"c","depth":3,"from":"a"}"#, [("Skos-Depth", "99")])
        #expect(both.depth == 99)
        #expect(both.from == "a")
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let traced = try ask(#"{"depth":11}"#, [("traceparent", trace)])
        #expect(traced.chainID == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(traced.depth == 11)
        #expect(try ask(#"{"chain_id":"c"}"#, [("traceparent", trace)]).chainID == "c")
    }

    @Test(
        "a question that makes no sense is refused, whatever its headers say",
        arguments: [
            ("", [], ""), ("[]", [], ""), ("{}", [], "chain_id"),
            ("{}", ["Skos-Depth"], "chain_id"),
            ("", ["Skos-Depth"], "chain_id"), (#"{"chain_id""#, ["Skos-Chain-Id"], ""),
            (#"{"chain_id":"d"}"#, ["Skos-Chain-Id"], "chain_id"),
            (#"{"chain_id":"7","depth":-1}"#, ["Skos-Chain-Id"], "depth"),
            (#"{"chain_id":"7","depth":3.5}"#, [], "depth"),
            (#"{"chain_id":"7","depth":1e300}"#, [], "depth"),
            ("{}", ["Skos-Chain-Id", "Skos-Path", "skos-parent-id"], "Skos-Parent-Id"),
        ] as [(String, [String], String)])
    func badQuestion(_ payload: String, _ names: [String], _ field: String) {
        let headers = names.map { (name: $0, value: $0 == "skos-parent-id" ? "\u{7}" : "7") }
        #expect { try ask(payload, headers) } throws: { error in
            guard let error = error as? MessageError else { return false }
            return error.field == field && !error.reason.contains("not a number")
        }
    }

    @Test("a traceparent names the chain where nothing else does")
    func traceParent() throws {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let header = try read("some text", ["traceparent": trace])
        #expect(header?.chainID == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(header?.messageID == "00f067aa0ba902b7")
        let member = try read(#"{"traceparent":"\#(trace)","text":"x"}"#)
        #expect(member?.chainID == header?.chainID)
        let both = try read(#"{"chain_id":"c1"}"#, ["traceparent": trace])
        #expect(both?.chainID == "c1")
    }

    @Test(
        "an invalid traceparent is no chain",
        arguments: [
            "", "00", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ])
    func invalidTrace(_ text: String) throws {
        #expect(try read("text", ["traceparent": text]) == nil)
        #expect(try read(#"{"traceparent":"\#(text)"}"#) == nil)
    }

    @Test(
        "what belongs to no chain is nobody's business",
        arguments: [
            "", "text", "{", "[]", "{}", #"{"depth":3}"#, #"{"chain_id":null}"#,
            #"["chain_id"]"#, #"{"text":"\"chain_id\""}"#,
        ])
    func noChain(_ payload: String) throws { #expect(try read(payload) == nil) }

    @Test(
        "an envelope that makes no sense is refused, naming the field",
        arguments: [
            (#"{"chain_id":"c","depth":-1}"#, "depth"),
            (#"{"chain_id":"c","depth":1.5}"#, "depth"),
            (#"{"chain_id":"c","depth":"3"}"#, "depth"),
            (#"{"chain_id":"c","depth":9223372036854775807}"#, "depth"),
            (#"{"chain_id":"c","iteration":[]}"#, "iteration"),
            (#"{"chain_id":"c","tokens":-5}"#, "tokens"),
            (#"{"chain_id":7}"#, "chain_id"), (#"{"chain_id":""}"#, "chain_id"),
            (#"{"chain_id":{}}"#, "chain_id"), (#"{"chain_id":"a\nb"}"#, "chain_id"),
            (#"{"chain_id":"a\u0000b"}"#, "chain_id"),
            (#"{"chain_id":"c","path":"a"}"#, "path"),
            (#"{"chain_id":"c","path":["a",7]}"#, "path[1]"),
            (#"{"chain_id":"c","path":["a",""]}"#, "path[1]"),
            (#"{"chain_id":"c","from":true}"#, "from"),
            (#"{"chain_id":"c","to":""}"#, "to"),
            (#"{"chain_id":"c","parent_id":"a\tb"}"#, "parent_id"),
        ])
    func bad(_ payload: String, _ field: String) {
        #expect { try read(payload) } throws: { ($0 as? MessageError)?.field == field }
    }

    @Test(
        "so is one in headers",
        arguments: [
            ("Skos-Depth", "-1"), ("Skos-Depth", "x"), ("Skos-Depth", "1e3"),
            ("Skos-Depth", "99999999999999999999"), ("Skos-Tokens", ""), ("Skos-From", "a\u{7}"),
            ("Skos-Parent-Id", ""),
        ])
    func badHeader(_ name: String, _ value: String) {
        #expect { try read("", ["Skos-Chain-Id": "c", name: value]) } throws: {
            ($0 as? MessageError)?.field == name
        }
    }

    @Test("a chain id of 1 MiB is refused, in a header and in a payload, and its text is not kept")
    func longIdentifier() {
        let long = String(repeating: "x", count: 1 << 20)
        for attempt in [
            { try read("", ["Skos-Chain-Id": long]) },
            { try read(#"{"chain_id":"\#(long.dropLast(64))"}"#) },
            { try read(#"{"chain_id":"\#(long)"}"#) },
        ] as [() throws -> Envelope?] {
            #expect { try attempt() } throws: { "\($0)".utf8.count < 300 }
        }
    }

    @Test("a path longer than what is kept counts in full")
    func longPath() throws {
        let path = (0..<500).map { "\"a\($0)\"" }.joined(separator: ",")
        let envelope = try #require(try read(#"{"chain_id":"c","path":[\#(path)]}"#))
        #expect(envelope.pathCount == 500)
        #expect(envelope.path.count == Envelope.pathLimit)
        #expect(envelope.sender == "a499")
    }

    @Test("nothing that comes crashes the reader", arguments: 0..<8)
    func fuzz(_ seed: UInt64) {
        var random = SplitMix(seed: seed)
        let good = Array(
            #"{"chain_id":"c","depth":3,"path":["a","b"],"from":"a","tokens":5,"text":"so it goes"}"#
                .utf8)
        var read = 0
        for _ in 0..<4000 {
            var bytes = good
            for _ in 0...Int.random(in: 0...6, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0...3, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
                case 2 where bytes.count > 2: bytes.remove(at: place)
                default: bytes = Array(bytes[..<max(1, place)]) + bytes[place...].reversed()
                }
            }
            let header = String(decoding: bytes, as: UTF8.self)
            let headers = ["Skos-Chain-Id": "c", "Skos-Depth": header, "Skos-Path": header]
            if let envelope = try? self.read(bytes) {
                read += 1
                #expect(envelope.chainID.utf8.count <= Envelope.identifierBytes)
                #expect(envelope.path.count <= Envelope.pathLimit)
                #expect((envelope.depth ?? 0) >= 0)
            }
            _ = try? self.read(bytes, headers)
            _ = try? self.read(bytes, ["traceparent": header])
        }
        #expect(read > 0)
    }
}

@Suite("What messages say")
struct ContentTests {
    @Test(
        "numbers, ids, times and case make no difference",
        arguments: [
            ("Please retry job 17", "please retry job 4711"),
            ("at 12:30:05 the plan failed", "at 13:31:06 the plan failed"),
            ("order 8f14e45f-ceea-467f-a9f0-1b2c3d4e5f60 is late", "order 7 is late"),
            (#"{"text":"try again","at":5}"#, #"{"at":9999,"text":"Try again!"}"#),
        ])
    func same(_ one: String, _ other: String) throws {
        let one = try #require(content(one))
        #expect(one.isLike(try #require(content(other))))
    }

    @Test("what says something else is not alike")
    func different() throws {
        let one = try #require(content("please write the report about rivers"))
        #expect(!one.isLike(try #require(content("please write the report about hills"))))
    }

    @Test("long texts that differ in one word are alike, halves are not")
    func near() throws {
        let words = (0..<60).map { number in
            String(decoding: [0x61 + UInt8(number / 26), 0x61 + UInt8(number % 26)], as: UTF8.self)
                + "word"
        }
        var changed = words
        changed[30] = "different"
        let one = try #require(content(words.joined(separator: " ")))
        #expect(one.isLike(try #require(content(changed.joined(separator: " ")))))
        let half = words[..<30] + words[..<30].reversed()
        #expect(!one.isLike(try #require(content(half.joined(separator: " ")))))
    }

    @Test("too little to compare is nothing", arguments: ["", "ok", "17", "{}", "a1 b2 c3", "\0"])
    func nothing(_ text: String) { #expect(content(text) == nil) }

    @Test("others can read it back")
    func text() throws {
        let one = try #require(content("please try again"))
        #expect(Content(text: one.text) == one)
        #expect(Content(text: "1-2") == nil)
        #expect(Content(text: "1-2-x") == nil)
    }
}
