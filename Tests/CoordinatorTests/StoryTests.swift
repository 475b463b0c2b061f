import Audit
import Bus
import Protocol
import TestSupport
import Testing

@testable import Coordinator

/// Stories that are longer than an answer.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct StoryTests {
    private static let megabyte = 1 << 20

    private static func record(
        _ number: Int, repeated: Bool = false, padding: Int = 0,
        incident: String = "nova:thermal:cpu:7"
    ) -> JSON.Object {
        [
            "kind": "alert", "node": "nova", "incident": .string(incident),
            "effect": repeated ? "repeated" : "returned", "sequence": .integer(Int64(number)),
            "alert": [
                "id": .string("a-\(number)"), "type": "thermal",
                "details": ["note": .string(String(repeating: "x", count: padding))],
            ],
        ]
    }

    private static func places(_ answer: JSON.Object) -> [Int] {
        (answer["records"]?.array ?? []).compactMap {
            $0.object?["sequence"]?.integer.map(Int.init)
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// How many records there are, and which of them are repeats.
        var count: Int
        var repeats: @Sendable (Int) -> Bool
        var padding = 0
        var budget = StoryTests.megabyte
        var places: [Int]
        var leftOut: JSON.Object?
    }

    static let cases: [Case] = [
        Case(testDescription: "nothing", count: 0, repeats: { _ in false }, places: []),
        Case(
            testDescription: "all of it", count: 400, repeats: { $0.isMultiple(of: 2) },
            places: Array(1...400)),
        Case(
            testDescription: "one too many", count: 401, repeats: { _ in false },
            places: Array(1...20) + Array(22...401), leftOut: ["records": 1, "after": 20]),
        Case(
            testDescription: "repeats go first, the oldest of them before the others", count: 450,
            repeats: { (101...200).contains($0) }, places: Array(1...100) + Array(151...450),
            leftOut: ["repeats": 50]),
        Case(
            testDescription: "a long incident", count: 5000, repeats: { (3...4900).contains($0) },
            places: [1, 2] + Array(4603...5000), leftOut: ["repeats": 4600]),
        Case(
            testDescription: "only what fits into the message", count: 100, repeats: { _ in false },
            padding: 3000, budget: 100_000,
            places: Array(1...7) + Array(77...100), leftOut: ["records": 69, "after": 7]),
    ]

    @Test(arguments: cases)
    func keepsBeginningAndEnd(given: Case) {
        var keeper = StoryKeeper(budget: given.budget)
        for number in stride(from: 1, through: given.count, by: 1) {
            keeper.add(
                Self.record(number, repeated: given.repeats(number), padding: given.padding),
                UInt64(number))
        }
        let answer = keeper.answer()
        #expect(Self.places(answer) == given.places)
        #expect(answer["left_out"]?.object == given.leftOut)
        #expect(answer["truncated"]?.bool == (given.leftOut != nil))
        #expect(JSON.object(answer).encoded.count <= given.budget + 1000)
    }

    @Test
    func longRecordsAreShortenedAndSaySo() {
        var keeper = StoryKeeper(budget: Self.megabyte)
        keeper.add(Self.record(1), 1)
        keeper.add(Self.record(2, padding: 60_000), 2)
        var many = JSON.Object()
        for index in 0..<3000 { many["member-\(index)"] = .string("value \(index)") }
        keeper.add(["kind": "alert", "node": "nova", "alert": .object(many)], 3)
        keeper.add(
            ["kind": "operator", "outcome": .string(String(repeating: "é\"", count: 50_000))], 4)
        let answer = keeper.answer()
        let records = answer["records"]?.array?.compactMap(\.object) ?? []
        #expect(records.count == 4)
        #expect(records[0]["alert"]?.object?["details"] == ["note": ""])
        #expect(records[1]["alert"]?.object?["details"] == ["truncated": true])
        #expect(records[1]["alert"]?.object?["id"] == "a-2")
        #expect(records[2]["alert"] == ["truncated": true])
        #expect(records[2]["kind"] == "alert")
        #expect(records[3]["outcome"]?.string?.hasSuffix("é\"…") == true)
        #expect(records.allSatisfy { JSON.object($0).encoded.count < 4096 })
        #expect(answer["left_out"] == ["shortened": 3])
        #expect(answer["truncated"] == true)
    }

    /// An audit in which one incident alone is larger than a message, among records about others.
    @Test(arguments: NATSServer.binaries)
    func longStoryFitsIntoAnAnswer(binary: String) async throws {
        try await Lab.run(binary) { lab in
            let jetStream = lab.connection.jetStream
            _ = try await jetStream.ensureStream(Streams.audit)
            let count = 3000
            for number in 1...count {
                let isOther = number.isMultiple(of: 3)
                let record = Self.record(
                    number, repeated: number > 10 && number < 2990, padding: 1000,
                    incident: isOther ? "lyra:thermal:cpu:8" : "nova:thermal:cpu:7")
                try lab.connection.publish(
                    "SKOS_AUDIT.alert", JSON.object(record).encoded,
                    headers: [(AuditChain.hashHeader, "of no matter here")])
            }
            #expect(
                await eventually {
                    try await jetStream.streamInfo("SKOS_AUDIT").lastSequence == count
                })
            let budget = Self.megabyte - 4096
            let ids = ["nova:thermal:cpu:7", "a-2000"]
            for id in ids {
                let answer = try await Story.read(id, jetStream, budget: budget)
                #expect(JSON.object(answer).encoded.count < Self.megabyte)
                let places = Self.places(answer)
                #expect(places.count == 400)
                #expect(places == places.sorted())
                // How it began and how it ended.
                #expect(places.prefix(7) == [1, 2, 4, 5, 7, 8, 10])
                #expect(places.suffix(3) == [2996, 2998, 2999])
                #expect(!places.contains { $0.isMultiple(of: 3) })
                #expect(answer["left_out"] == ["repeats": 1600])
            }
            await #expect(throws: Story.TooLong.self) {
                try await Story.read("nova", jetStream, budget: budget, timeLimit: .zero)
            }
            let none = try await Story.read("nobody", jetStream, budget: budget)
            #expect(none == ["id": "nobody", "truncated": false, "records": []])
        }
    }
}
