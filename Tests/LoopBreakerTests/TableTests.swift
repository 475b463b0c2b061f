import Protocol
import Settings
import Testing

@testable import LoopBreaker

@Suite("The table of chains")
struct TableTests {
    /// 49,153 are just too many for a hash table of half the size: the worst case. A million is measured by
    /// `skos-bench --only chains`.
    @Test("a chain takes about 150 bytes", arguments: [1000, 49_153, 1 << 16])
    func memory(_ count: Int) {
        var table = ChainTable(limit: count, detailLimit: 8192, at: at(0))
        for number in 0..<count { _ = table.makePlace(for: UInt64(number + 1), at: 0) }
        #expect(table.count == count)
        let bytes = table.bytes / count
        #expect(bytes <= 160, "\(bytes) bytes for each chain")
        // Nothing else grows with the number of chains, however many come after them.
        let full = table.bytes
        for number in 0..<1000 { _ = table.makePlace(for: UInt64(count + number + 1), at: 1) }
        #expect(table.count == count)
        #expect(table.bytes <= full + 64)
    }

    @Test("when it is full, quiet chains make room, and those that are watched closely do not")
    func full() {
        var judge = ChainJudge(
            limits: .init(), cooldown: .seconds(60), chainLimit: 1000, detailLimit: 10, at: at(0))
        for _ in 0..<5 { judge.observe(message("busy"), at: at(0)) }
        for number in 0..<20_000 { judge.observe(message("c\(number)"), at: at(1)) }
        #expect(judge.counter.table.count == 1000)
        #expect(judge.summary["chains_evicted"] == 19_001)
        #expect(judge.counter.record(ChainTable.key("busy"))?.count == 5)
        #expect(judge.counter.record(ChainTable.key("c0")) == nil)
    }

    @Test("details are bounded, too; the counts stay without them")
    func details() {
        var judge = ChainJudge(
            limits: .init(), cooldown: .seconds(60), chainLimit: 1000, detailLimit: 10, at: at(0))
        for number in 0..<100 {
            for _ in 0..<5 { judge.observe(message("c\(number)", "a", "b"), at: at(1)) }
        }
        #expect(judge.counter.table.detailCount == 10)
        #expect(judge.counter.record(ChainTable.key("c0"))?.count == 5)
        for _ in 0..<200 { judge.observe(message("c0"), at: at(2)) }
        #expect(judge.isBroken("c0"))
    }

    @Test("chains that are over are forgotten")
    func idle() {
        var judge = ChainJudge()
        for number in 0..<100 { judge.observe(message("c\(number)"), at: at(0)) }
        judge.observe(message("young"), at: at(1790))
        judge.tick(at: at(1799))
        #expect(judge.counter.table.count == 101)
        judge.tick(at: at(1801))
        #expect(judge.counter.table.count == 1)
        judge.observe(message("next"), at: at(1802))
        #expect(judge.counter.table.count == 2)
    }

    @Test("everything in a detail is bounded")
    func bounded() throws {
        var judge = ChainJudge(limits { _ in })
        for number in 0..<5000 {
            judge.observe(
                message("c", "from\(number)", "to\(number)", says: "so \(number) it goes") {
                    $0.messageID = "m\(number)"
                    $0.parentID = "p\(number)"
                }, at: at(0))
        }
        let detail = try #require(judge.counter.detail(ChainTable.key("c")))
        #expect(detail.agents.count == ChainDetail.agentLimit)
        #expect(detail.messages.elements.count == ChainDetail.messageLimit)
        #expect(detail.said.elements.count == ChainDetail.saidLimit)
        #expect(detail.edges.elements.count <= ChainDetail.edgeLimit)
        // Of 8,192 details that are full, 64 MiB, and their agents' names.
        func bytes<Element>(_ elements: [Element]) -> Int {
            elements.capacity * MemoryLayout<Element>.stride
        }
        let all =
            MemoryLayout<ChainDetail?>.stride + bytes(detail.agents)
            + bytes(detail.messages.elements) + bytes(detail.said.elements)
            + bytes(detail.edges.elements)
        #expect(all <= 8 * 1024, "\(all) bytes for each detail")
    }
}
