import Protocol

/// When which incident is to be looked at next: a binary heap, so that a tick costs nothing for the
/// incidents that are not due. Entries that were superseded stay in the heap and are skipped.
struct Agenda: Sendable {
    private struct Entry: Sendable {
        var time: Timestamp
        var id: String

        /// By time, then by id: the order does not depend on how the entries came in.
        static func < (left: Entry, right: Entry) -> Bool {
            left.time == right.time ? left.id < right.id : left.time < right.time
        }
    }

    private var heap: [Entry] = []
    /// The entry of each incident that counts.
    private var times: [String: Timestamp] = [:]

    /// Entries that may be superseded for each that counts, before the heap is built anew.
    private static let slack = 4

    /// The time of the first entry, which may be superseded: nothing is due before.
    var next: Timestamp? { heap.first?.time }

    mutating func schedule(_ id: String, at time: Timestamp?) {
        guard let time else {
            times[id] = nil
            return
        }
        guard times[id] != time else { return }
        times[id] = time
        push(Entry(time: time, id: id))
        if heap.count > 64 + Self.slack * times.count { rebuild() }
    }

    /// Takes out the next incident that is due.
    mutating func popDue(at now: Timestamp) -> String? {
        while let first = heap.first, first.time <= now {
            removeFirst()
            guard times[first.id] == first.time else { continue }
            times[first.id] = nil
            return first.id
        }
        return nil
    }

    private mutating func rebuild() {
        heap = times.map { Entry(time: $1, id: $0) }.sorted(by: <)
    }

    private mutating func push(_ entry: Entry) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child] < heap[least] { least = child }
            guard least != parent else { return }
            heap.swapAt(least, parent)
            parent = least
        }
    }
}
