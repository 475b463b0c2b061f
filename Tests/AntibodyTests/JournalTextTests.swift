import Antibody
import Protocol
import Testing

@Suite("Journal text")
struct JournalTextTests {
    private let agent = "lamp-keeper-nova"

    /// One of each kind, in an order that makes sense.
    private let records: [JournalRecord] = {
        let key = AlertKeeper.Key(type: "thermal", resource: "cpu")
        var done = result("a", .done, .succeeded)
        done.effect = ["level": 50]
        done.durationMilliseconds = 1.5
        done.timestamp = at(1)
        return [
            .epoch(7),
            .raised(key, .critical),
            planned("a", epoch: 8),
            .done(id: "a", done, Lease(boot: "boot-1", until: .nanoseconds(1_234_567_890))),
            .renewed(id: "a", Lease(boot: "boot-1", until: .seconds(5000))),
            planned("b", isReversible: false),
            .done(id: "b", result("b", .done, .permanentFailure), nil),
            planned("c"),
            .done(id: "c", result("c", .done, .transientFailure), nil),
            .undone(id: "c", result("c", .undone, .succeeded)),
            .closed(id: "d", result("d", .refused, .permanentFailure), keepUntil: at(5)),
            planned("e"),
        ]
    }()

    private func text(_ records: [JournalRecord]) -> [UInt8] {
        JournalText.header(agent: agent) + records.flatMap(JournalText.line)
    }

    private func ledger(_ records: some Sequence<JournalRecord>) -> Ledger {
        var ledger = Ledger()
        for record in records {
            let makesSense = ledger.apply(record)
            #expect(makesSense, "\(record)")
        }
        return ledger
    }

    @Test("what was written is read, record by record")
    func roundTrip() throws {
        for record in records { #expect(try JournalRecord(record.object) == record) }
        let bytes = text(records)
        let contents = JournalText.read(bytes, agent: agent)
        #expect(contents.damage == nil)
        #expect(contents.goodLength == bytes.count)
        #expect(contents.ledger == ledger(records))
        #expect(contents.ledger.highestEpoch == 8)
        #expect(
            contents.ledger.entries.mapValues(\.phase) == [
                "a": .active, "b": .finished, "c": .finished, "d": .finished, "e": .planned,
            ])
    }

    @Test("the shortest form of a ledger adds up to the same ledger, after any record")
    func compaction() {
        for count in 0...records.count {
            let full = ledger(records.prefix(count))
            #expect(ledger(full.records) == full, "after \(count) records")
            #expect(ledger(full.records).records == full.records)
        }
    }

    @Test("cut at any byte, it holds exactly the records whose lines are whole")
    func tornAtEveryByte() {
        let bytes = text(records)
        var ends: [Int] = []
        for count in 0...records.count { ends.append(text(Array(records.prefix(count))).count) }
        for length in 0...bytes.count {
            let contents = JournalText.read(Array(bytes.prefix(length)), agent: agent)
            let whole = ends.lastIndex { $0 <= length }
            #expect(contents.damage == nil, "cut at \(length)")
            #expect(contents.goodLength == (whole.map { ends[$0] } ?? 0))
            #expect(contents.ledger == ledger(records.prefix(whole ?? 0)))
        }
    }

    @Test("cut at any byte and filled with zeros, as file systems do, it is the same")
    func zeroFilled() {
        let bytes = text(records)
        let start = text(Array(records.dropLast())).count
        for length in start..<bytes.count {
            let torn = bytes.prefix(length) + [UInt8](repeating: 0, count: bytes.count - length)
            let contents = JournalText.read(Array(torn), agent: agent)
            #expect(contents.damage == nil)
            #expect(contents.ledger == ledger(records.dropLast()))
        }
    }

    @Test("any changed byte before the last line is damage with its line; the rest is still read")
    func everyFlippedByte() {
        let bytes = text(records)
        let lastLine = text(Array(records.dropLast())).count
        // Without the newline before it, the last line begins earlier, and is torn.
        for position in 0..<(lastLine - 1) {
            var changed = bytes
            changed[position] ^= 0x01
            let line = bytes[..<position].count { $0 == 0x0A } + 1
            let damage = JournalText.read(changed, agent: agent).damage
            #expect(
                damage?.hasPrefix("line \(line): ") == true, "byte \(position): \(damage ?? "")")
        }
        // A damaged epoch hides nothing of the actions.
        var changed = bytes
        changed[JournalText.header(agent: agent).count + 3] ^= 0x01
        let contents = JournalText.read(changed, agent: agent)
        #expect(contents.damage == "line 2: the checksum does not match")
        #expect(contents.ledger["a"]?.phase == .active)
        #expect(contents.ledger["e"]?.action.undo == ["level": 100, "note": "line\nbreak"])
    }

    @Test("a removed, doubled or swapped line is damage when it makes no sense")
    func order() {
        let removed = text(records.filter { $0 != records[2] })
        #expect(
            JournalText.read(removed, agent: agent).damage
                == "line 4: does not follow from those before it")
        let doubled = text(records + [records[2]])
        #expect(JournalText.read(doubled, agent: agent).damage?.hasPrefix("line 14") == true)
    }

    @Test("the file of another agent or version is not read as one's own")
    func foreign() {
        let other = JournalText.read(text(records), agent: "other-nova").damage
        #expect(
            other
                == "line 1: agent: the journal of \"lamp-keeper-nova\", not of other-nova")
    }

    @Test("what nobody can ask for any more is forgotten, what is in force never")
    func forgetting() {
        var all = ledger(records)
        all.forget(at: at(4000))
        #expect(all.order == ["a", "e"])
        all.forget(at: at(1e6))
        #expect(all.order == ["a", "e"])
    }
}
