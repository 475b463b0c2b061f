import TestSupport
import Testing

@testable import Bus

@Suite struct SubjectTests {
    @Test(arguments: ["a", "skos.alert.nova-1", "A_b.0", "$JS.API.INFO", "_INBOX.x.1", "$KV.B.k"])
    func mayBePublished(subject: String) throws { try Subject.check(subject, .publish) }

    @Test(arguments: [
        "", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x 0",
        "x 0\r\n\r\nPUB admin.cmd 2\r\nhi",
        "a\u{0}b", "é", "a.*", "a.>", "*", ">", "a.$b", "$", "a/b",
        String(repeating: "a", count: 513),
    ])
    func mayNotBePublished(subject: String) {
        #expect(throws: BusError.self) { try Subject.check(subject, .publish) }
    }

    @Test(arguments: ["a", "*", ">", "a.*", "*.b", "a.>", "$JS.EVENT.>", "$SRV.PING"])
    func maySubscribe(subject: String) throws { try Subject.check(subject, .subscribe) }

    @Test(arguments: ["", "a.>.b", ">.a", "a*", "a.b>", "a..>", "a *", "a\r\nb"])
    func mayNotSubscribe(subject: String) {
        #expect(throws: BusError.self) { try Subject.check(subject, .subscribe) }
    }

    @Test func repliesOfOtherClientsAreTakenWhenTheyCannotBreakTheLine() throws {
        try Subject.check("_INBOX.a:b/c=d@e", .reply)
        for subject in ["a b", "a\r\nb", "a.*", "a.>", ""] {
            #expect(throws: BusError.self) { try Subject.check(subject, .reply) }
        }
    }

    @Test func theErrorShowsTheSubjectWithoutItsControlCharacters() {
        let error = #expect(throws: BusError.self) { try Subject.check("a\r\nb", .publish) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("'a\\u{d}\\u{a}b'") == true)
    }

    @Test(arguments: Setup.all)
    func lineBreaksInjectNoCommand(setup: Setup) async throws {
        try await withServer(setup) { _, connection in
            let admin = Collector<String>()
            let delivery = try connection.subscribe("admin.>") { admin.add($0.subject) }
            let injection = "x 0\r\n\r\nPUB admin.cmd 2\r\nhi\r\nPUB y"
            #expect(throws: BusError.self) { try connection.publish(injection, []) }
            #expect(throws: BusError.self) { try connection.publish("a", [], reply: injection) }
            #expect(throws: BusError.self) {
                try connection.publish("a", [], headers: [("k", "v\r\nx: y")])
            }
            #expect(throws: BusError.self) {
                try connection.publish("a", [], headers: [("k\r\n: ", "v")])
            }
            #expect(throws: BusError.self) { _ = try connection.subscribe(injection) { _ in } }
            #expect(throws: BusError.self) {
                _ = try connection.subscribe("a", queue: injection) { _ in }
            }
            _ = await busError {
                _ = try await connection.request(injection, [], timeout: .seconds(1))
            }
            try connection.publish("admin.last", [])
            #expect(await eventually { admin.count > 0 })
            #expect(admin.all == ["admin.last"])
            delivery.cancel()
        }
    }
}
