import Protocol

/// What one answer holds of a story, however long it is: its beginning, its end, and as many repeats of
/// alerts as there is room for. What is left out is counted, so that the answer can say so.
struct StoryKeeper {
    /// How many records one answer holds at most.
    static let limit = 400
    /// How many of them come from the beginning of a story that is too long: how it came about.
    static let headLimit = 20
    /// The part of the budget that the beginning may take, and that one record may: one of that many.
    private static let headShare = 4
    private static let recordShare = 64
    /// Records up to this size are never shortened.
    private static let leastRecordLimit = 4096
    /// Texts of a record that is shortened keep so many bytes.
    private static let textLimit = 1024

    /// Bytes that all records may have together.
    private let budget: Int
    private var head: [Entry] = []
    private var headBytes = 0
    private var isHeadFull = false
    private var tail = Window()
    private var repeats = Window()
    private var shortened = 0

    private struct Entry: Sendable {
        var sequence: UInt64
        var bytes: Int
        var object: JSON.Object
    }

    /// The last of many entries.
    private struct Window {
        var entries = Backlog<Entry>()
        var bytes = 0
        var dropped = 0

        mutating func add(_ entry: Entry, count: Int, budget: Int) {
            entries.append(entry)
            bytes += entry.bytes
            while entries.count > count || bytes > budget, let oldest = entries.popFirst() {
                bytes -= oldest.bytes
                dropped += 1
            }
        }
    }

    init(budget: Int) { self.budget = budget }

    /// Adds the next record of the story, in the order of the stream.
    mutating func add(_ record: JSON.Object, _ sequence: UInt64) {
        var entry = Entry(
            sequence: sequence, bytes: 0, object: Self.numbered(record, sequence))
        entry.bytes = JSON.object(entry.object).encoded.count + 1
        shorten(&entry)
        if record["effect"]?.string == "repeated" {
            return repeats.add(entry, count: Self.limit, budget: budget)
        }
        if !isHeadFull, head.count < Self.headLimit,
            headBytes + entry.bytes <= budget / Self.headShare
        {
            head.append(entry)
            headBytes += entry.bytes
        } else {
            isHeadFull = true
            tail.add(entry, count: Self.limit - head.count, budget: budget - headBytes)
        }
    }

    /// The members of the answer: the records, and what was left out of them, if anything.
    mutating func answer() -> JSON.Object {
        let told = head + tail.entries.take(Self.limit)
        let room = Self.limit - told.count
        var latest = Window()
        let all = repeats.entries.take(Self.limit)
        for entry in all {
            latest.add(entry, count: room, budget: budget - headBytes - tail.bytes)
        }
        let records = (told + latest.entries.take(Self.limit)).sorted { $0.sequence < $1.sequence }
        let droppedRepeats = repeats.dropped + latest.dropped
        var object: JSON.Object = [
            "truncated": .bool(tail.dropped + droppedRepeats + shortened > 0),
            "records": .array(records.map { .object($0.object) }),
        ]
        var leftOut = JSON.Object()
        leftOut["records"] = tail.dropped > 0 ? .integer(Int64(tail.dropped)) : nil
        if tail.dropped > 0, let last = head.last {
            leftOut["after"] = .integer(Int64(clamping: last.sequence))
        }
        leftOut["repeats"] = droppedRepeats > 0 ? .integer(Int64(droppedRepeats)) : nil
        leftOut["shortened"] = shortened > 0 ? .integer(Int64(shortened)) : nil
        object["left_out"] = leftOut.isEmpty ? nil : .object(leftOut)
        return object
    }

    private static func numbered(_ record: JSON.Object, _ sequence: UInt64) -> JSON.Object {
        var object: JSON.Object = ["sequence": .integer(Int64(clamping: sequence))]
        // The alert's own sequence is in another stream.
        for (name, value) in record.members {
            object[name == "sequence" ? "alert_sequence" : name] = value
        }
        return object
    }

    // MARK: Large records

    /// Takes what is long out of a record that would leave little room for others: first what senders
    /// have added to their messages, and when that is not enough, the messages.
    private mutating func shorten(_ entry: inout Entry) {
        let limit = max(Self.leastRecordLimit, budget / Self.recordShare)
        guard entry.bytes > limit else { return }
        shortened += 1
        for (name, value) in entry.object.members {
            guard let inner = value.object else { continue }
            var short = inner
            for (name, value) in inner.members { short[name] = Self.short(value) }
            entry.object[name] = .object(short)
        }
        entry.bytes = JSON.object(entry.object).encoded.count + 1
        guard entry.bytes > limit else { return }
        for (name, value) in entry.object.members { entry.object[name] = Self.short(value) }
        entry.bytes = JSON.object(entry.object).encoded.count + 1
    }

    private static func short(_ value: JSON) -> JSON {
        switch value {
        case .string(let text) where text.utf8.count > textLimit:
            .string(String(text.unicodeScalars.prefix(textLimit / 4)) + "…")
        case .array, .object: value.encoded.count > textLimit ? ["truncated": true] : value
        default: value
        }
    }
}
