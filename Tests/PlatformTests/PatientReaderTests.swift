import Glibc
import Platform
import Synchronization
import Testing

@Suite struct PatientReaderTests {
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
        let reader = PatientReader<Int, String>(limit: .milliseconds(100)) { things.read($0) }
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "hung", "3"])
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "hung", "3"])
        #expect(things.reads.withLock { $0 } == [1, 2, 3, 1, 3])
        #expect(reader.hungCount == 1)
        things.release()
        while reader.hungCount > 0 { try await Task.sleep(for: .milliseconds(5)) }
        // Its thread hands the answer in right after.
        try await Task.sleep(for: .milliseconds(50))
        #expect(words(await reader.readAll([1, 2, 3])) == ["1", "2", "3"])
        #expect(things.reads.withLock { $0.filter { $0 == 2 }.count } == 1)
    }

    @Test("no more threads hang than may") func bounded() async {
        let things = Things(stuck: [1, 2, 3, 4])
        let reader = PatientReader<Int, String>(maxHung: 2, limit: .milliseconds(50)) {
            things.read($0)
        }
        #expect(words(await reader.readAll([1, 2, 3, 4])) == ["hung", "hung", "unread", "unread"])
        #expect(reader.hungCount == 2)
        things.release()
    }
}
