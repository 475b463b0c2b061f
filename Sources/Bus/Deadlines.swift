internal import Threads

/// Runs small actions at a deadline, all on one thread that sleeps while nothing is due.
///
/// One for the process: it serves the timeouts of requests, which are too many for a thread or a
/// task each. Actions must not block.
final class Deadlines: Sendable {
    static let shared = Deadlines()

    private struct State {
        var next: UInt64 = 0
        var started = false
        var actions: [UInt64: @Sendable () -> Void] = [:]
        /// A binary heap, earliest first; entries whose action is gone were cancelled.
        var heap: [(deadline: UInt64, id: UInt64)] = []
    }

    private let monitor = Monitor(State())

    /// Returns an id for `cancel`.
    func schedule(after delay: Duration, _ action: @escaping @Sendable () -> Void) -> UInt64 {
        let deadline = MonotonicClock.deadline(after: delay)
        let (id, earliest, start) = monitor.withLock { state in
            state.next += 1
            state.actions[state.next] = action
            let earliest = state.heap.first.map { deadline < $0.deadline } ?? true
            state.heap.append((deadline, state.next))
            state.heap.siftUp()
            defer { state.started = true }
            return (state.next, earliest, !state.started)
        }
        if start, !BusThread.start("nats-deadlines", { self.run() }) {
            // Without a thread nothing could ever time out; that is no state to carry on in.
            fatalError("cannot start the deadline thread: the system has no thread to spare")
        }
        if earliest { monitor.wake() }
        return id
    }

    func cancel(_ id: UInt64) {
        monitor.withLock { state in
            state.actions[id] = nil
            // Far deadlines of short requests would pile up otherwise.
            if state.heap.count > 64, state.heap.count > 4 * state.actions.count {
                let live = state.heap.filter { state.actions[$0.id] != nil }
                state.heap = live.sorted { $0.deadline < $1.deadline }
            }
        }
    }

    private func run() {
        while true {
            let action: @Sendable () -> Void = monitor.waitUntil { state in
                while let first = state.heap.first {
                    guard let action = state.actions[first.id] else {
                        state.heap.popFirstOfHeap()
                        continue
                    }
                    guard first.deadline <= MonotonicClock.now else {
                        return .sleep(until: first.deadline)
                    }
                    state.heap.popFirstOfHeap()
                    state.actions[first.id] = nil
                    return .done(action)
                }
                return .sleep(until: nil)
            }
            action()
        }
    }
}

extension [(deadline: UInt64, id: UInt64)] {
    fileprivate mutating func siftUp() {
        var child = count - 1
        while child > 0, self[child].deadline < self[(child - 1) / 2].deadline {
            swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    fileprivate mutating func popFirstOfHeap() {
        swapAt(0, count - 1)
        removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < count && self[child].deadline < self[least].deadline {
                least = child
            }
            guard least != parent else { return }
            swapAt(parent, least)
            parent = least
        }
    }
}
