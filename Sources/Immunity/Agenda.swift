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

    /// When the first incident is due.
    var next: Timestamp? { heap.first?.time }

    /// Notes when an incident is due next; `nil`: not any more.
    mutating func schedule(_ id: String, at time: Timestamp?) {
        guard times[id] != time else { return }
        times[id] = time
        if let time {
            push(Entry(time: time, id: id))
            if heap.count > 64 + Self.slack * times.count { rebuild() }
        }
        dropSuperseded()
    }

    /// Takes out the next incident that is due.
    mutating func popDue(at now: Timestamp) -> String? {
        guard let first = heap.first, first.time <= now else { return nil }
        removeFirst()
        times[first.id] = nil
        dropSuperseded()
        return first.id
    }

    /// Keeps an entry that counts at the top.
    private mutating func dropSuperseded() {
        while !heap.isEmpty, times[heap[0].id] != heap[0].time { removeFirst() }
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
