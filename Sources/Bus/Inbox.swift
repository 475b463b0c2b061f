internal import Threads

/// A bounded queue from a thread of cnats to one task.
final class Inbox<Element: Sendable>: Sendable {
    private struct State {
        /// A ring: `count` elements from `head` on.
        var ring: [Element?]
        var head = 0
        var count = 0
        var dropped = 0
        /// No more will come; what waits is still handed out.
        var finished = false
        /// The consumer wants no more.
        var cancelled = false
        var waiter: CheckedContinuation<Element?, Never>?
        var call: UInt64 = 0
        /// The call of `next` that was cancelled, possibly before it began to wait.
        var cancelledCall: UInt64 = 0

        mutating func pop() -> Element? {
            guard count > 0 else { return nil }
            defer {
                ring[head] = nil
                head = (head + 1) % ring.count
                count -= 1
            }
            return ring[head]
        }

        mutating func push(_ element: Element) {
            ring[(head + count) % ring.count] = element
            count += 1
        }
    }

    private enum Taken {
        case element(Element?)
        case wait
    }

    private let monitor: Monitor<State>
    private let overflow: Overflow

    init(capacity: Int, overflow: Overflow) {
        precondition(capacity > 0, "a subscription needs room for one message at least")
        monitor = Monitor(State(ring: Array(repeating: nil, count: capacity)))
        self.overflow = overflow
    }

    var dropped: Int { monitor.withLock { $0.dropped } }

    /// Called by the one producer. With `.block`, waits for room.
    func deliver(_ element: Element) {
        let waiter: CheckedContinuation<Element?, Never>? = monitor.waitFor { state in
            if state.cancelled || state.finished { return .some(nil) }
            if let waiter = state.waiter {
                state.waiter = nil
                return waiter
            }
            if state.count == state.ring.count {
                switch overflow {
                case .block: return nil
                case .dropNewest:
                    state.dropped += 1
                    return .some(nil)
                case .dropOldest:
                    state.dropped += 1
                    _ = state.pop()
                }
            }
            state.push(element)
            return .some(nil)
        }
        waiter?.resume(returning: element)
    }

    /// The next element, `nil` at the end or when the calling task is cancelled.
    func next() async -> Element? {
        let call = monitor.withLock { state in
            state.call += 1
            return state.call
        }
        return await withTaskCancellationHandler {
            if case .element(let element) = take(call) { return element }
            return await withCheckedContinuation { continuation in
                // Something may have come, or the task been cancelled, since the first look.
                if case .element(let element) = take(call, orWait: continuation) {
                    continuation.resume(returning: element)
                }
            }
        } onCancel: {
            cancel(call)
        }
    }

    /// Everything that waits, at least one element; empty at the end or when the task is cancelled.
    func nextAll() async -> [Element] {
        guard let first = await next() else { return [] }
        var all = [first]
        let madeRoom = monitor.withLock { state in
            let wasFull = state.count == state.ring.count
            while let element = state.pop() { all.append(element) }
            return wasFull
        }
        if madeRoom { monitor.wake() }
        return all
    }

    private func take(
        _ call: UInt64, orWait continuation: CheckedContinuation<Element?, Never>? = nil
    ) -> Taken {
        let (taken, madeRoom) = monitor.withLock { state -> (Taken, Bool) in
            if state.cancelled || state.cancelledCall == call { return (.element(nil), false) }
            let wasFull = state.count == state.ring.count
            if let element = state.pop() { return (.element(element), wasFull) }
            if state.finished { return (.element(nil), false) }
            if let continuation {
                precondition(state.waiter == nil, "a subscription has one consumer")
                state.waiter = continuation
            }
            return (.wait, false)
        }
        if madeRoom { monitor.wake() }
        return taken
    }

    private func cancel(_ call: UInt64) {
        let waiter = monitor.withLock { state -> CheckedContinuation<Element?, Never>? in
            guard state.call == call else { return nil }
            state.cancelledCall = call
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: nil)
    }

    /// No more elements will come.
    func finish() { end { $0.finished = true } }

    /// The consumer wants no more: drops what waits and lets a blocked producer go on.
    func cancel() {
        end { state in
            state.cancelled = true
            state.ring = Array(repeating: nil, count: state.ring.count)
            state.count = 0
        }
    }

    private func end(_ change: (inout State) -> Void) {
        let waiter = monitor.withLock { state in
            change(&state)
            defer { state.waiter = nil }
            return state.waiter
        }
        monitor.wake()
        waiter?.resume(returning: nil)
    }
}
