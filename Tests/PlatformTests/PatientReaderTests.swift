import Glibc
import Platform
import Synchronization
import Testing

@Suite struct PatientReaderTests {
    /// More than what answers at once needs on any machine, however busy.
    private let limit: Duration = .seconds(3)

    /// Things of which some hang until they are let go.
    final class Things: Sendable {
        let stuck: Mutex<Set<Int>>
        let reads = Mutex<[Int]>([])

        init(stuck: Set<Int>) { self.stuck = Mutex(stuck) }

        func read(_ key: Int) -> String {
            reads.withLock { $0.append(key) }
            while stuck.withLock({ $0.contains(key) }) { usleep(2000) }
            return "\(key)"
        }

        func release() { stuck.withLock { $0 = [] } }
    }

    private func words(_ outcomes: [Int: PatientReader<Int, String>.Outcome]) -> [String] {
        outcomes.sorted { $0.key < $1.key }.map { _, outcome in
            switch outcome {
            case .value(let value): value
            case .hung: "hung"
            case .unread: "unread"
            }
        }
    }

    @Test("what hangs is left behind, asked no more, and heard when it comes back")
    func leavesBehind() async throws {
        let things = Things(stuck: [2])
        let reader = PatientReader<Int, String>(limit: limit) { things.read($0) }
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "hung", "3"])
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "hung", "3"])
        #expect(things.reads.withLock { $0 } == [1, 2, 3, 1, 3])
        #expect(reader.hungCount == 1)
        things.release()
        while reader.hungCount > 0 { try await Task.sleep(for: .milliseconds(5)) }
        // Its thread hands the answer in right after.
        try await Task.sleep(for: limit)
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "2", "3"])
        #expect(things.reads.withLock { $0.filter { $0 == 2 }.count } == 1)
    }

    @Test("no more threads hang than may") func bounded() async {
        let things = Things(stuck: [1, 2, 3, 4])
        let reader = PatientReader<Int, String>(maxHung: 2, limit: limit) {
            things.read($0)
        }
        #expect(words(await reader.readAll([1, 2, 3, 4])) == ["hung", "hung", "unread", "unread"])
        #expect(reader.hungCount == 2)
        things.release()
    }

    @Test("what hangs here never keeps what has answered from being read") func proven() async {
        let things = Things(stuck: [1, 2, 3])
        let reader = PatientReader<Int, String>(maxHung: 2, limit: limit) {
            things.read($0)
        }
        let first = words(await reader.readAll([1, 2, 3, 4]))
        #expect(first == ["hung", "hung", "unread", "unread"])
        things.stuck.withLock { $0 = [1, 3] }
        while reader.hungCount > 1 { usleep(5000) }
        // 3 has never answered, and the last place is taken by it; 4 and 2 have, and are read on.
        for _ in 0..<3 {
            let found = words(await reader.readAll([2, 4, 1, 3, 5]))
            #expect(Array(found.prefix(4)) == ["hung", "2", "hung", "4"])
        }
        things.stuck.withLock { _ = $0.insert(4) }
        #expect(words(await reader.readAll([2, 4])) == ["2", "hung"])
        #expect(words(await reader.readAll([2, 4, 6])) == ["2", "hung", "unread"])
        things.release()
    }

    @Test("what hangs elsewhere never keeps from being read what is here, look after look")
    func elsewhere() async {
        // From 100 on: of ten servers, ten things of each.
        let things = Things(stuck: Set(100..<200))
        let reader = PatientReader<Int, String>(
            limit: limit, origin: { $0 < 100 ? nil : "\($0 / 10)" }
        ) { things.read($0) }
        var counts: [Int] = []
        for _ in 0..<4 {
            let outcomes = await reader.readAll(Array(0..<20) + Array(100..<200))
            #expect(words(outcomes).prefix(20).elementsEqual((0..<20).map(String.init)))
            counts.append(words(outcomes).count { $0 == "hung" })
        }
        #expect(counts == [3, 4, 4, 4] && reader.hungCount == 4)
        things.release()
    }

    @Test("of one origin two are waited for, and things of other origins are read") func origins()
        async
    {
        let things = Things(stuck: Set(100..<110))
        let reader = PatientReader<Int, String>(
            limit: limit, origin: { "\($0 / 10)" }
        ) { things.read($0) }
        for _ in 0..<3 {
            let outcomes = await reader.readAll(Array(100..<110) + [110, 111])
            #expect(words(outcomes).suffix(2) == ["110", "111"])
            #expect(reader.hungCount == 2)
        }
        things.release()
    }
}
