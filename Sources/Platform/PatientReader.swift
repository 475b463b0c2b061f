import Synchronization

/// Reads things some of which may never answer, such as file systems on dead servers: one after the
/// other on a worker's thread, going on behind each one that hangs.
///
/// One that hangs is not asked again until its thread has come back; what it said then is its answer
/// the next time. At most `maxHung` threads are left behind.
package final class PatientReader<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    /// What became of one read.
    package enum Outcome: Sendable {
        case value(Value)
        /// It has not answered in time, now or earlier.
        case hung
        /// Too many others hang.
        case unread
    }

    private struct State {
        var hung: Set<Key> = []
        /// What came too late the last time.
        var late: [Key: Value] = [:]
    }

    private let worker: TimedWorker
    private let limit: Duration
    private let read: @Sendable (Key) -> Value
    private let state = Mutex(State())

    /// - Parameters:
    ///   - maxHung: how many threads may be left behind.
    ///   - limit: how long the reads together may take before the one under way is left alone.
    ///   - read: reads one thing; it may hang.
    package init(
        maxHung: Int = 4, limit: Duration, read: @escaping @Sendable (Key) -> Value
    ) {
        worker = TimedWorker(maxHung: maxHung)
        self.limit = limit
        self.read = read
    }

    /// How many threads are left behind now.
    package var hungCount: Int { worker.hungCount }

    /// Reads all of them, in order. Returns in time whatever hangs.
    package func readAll(_ keys: [Key]) async -> [Key: Outcome] {
        var outcomes: [Key: Outcome] = [:]
        let due = state.withLock { state in
            let known = Set(keys)
            state.late = state.late.filter { known.contains($0.key) }
            return keys.filter { key in
                if let value = state.late.removeValue(forKey: key) {
                    outcomes[key] = .value(value)
                    return false
                }
                if state.hung.contains(key) { outcomes[key] = .hung }
                return outcomes[key] == nil
            }
        }
        var rest = due[...]
        while !rest.isEmpty, !worker.isExhausted {
            let batch = Batch(keys: Array(rest))
            let isDone = await worker.run(limit: limit) {
                self.work(batch)
                return true
            }
            let (values, stuck) = batch.leave()
            for (key, value) in zip(rest, values) { outcomes[key] = .value(value) }
            rest = rest.dropFirst(values.count)
            if isDone != nil { break }
            if let stuck {
                outcomes[stuck] = .hung
                _ = state.withLock { $0.hung.insert(stuck) }
                // It may have come back between `leave` and this; nobody else would take it out then.
                if !batch.isReading { _ = state.withLock { $0.hung.remove(stuck) } }
                rest = rest.dropFirst()
            }
        }
        for key in rest { outcomes[key] = .unread }
        return outcomes
    }

    private func work(_ batch: Batch) {
        while let key = batch.next() {
            let value = read(key)
            if !batch.finish(value) {
                return state.withLock { state in
                    state.hung.remove(key)
                    state.late[key] = value
                }
            }
        }
    }

    /// The work of one thread, until it is left behind.
    private final class Batch: Sendable {
        private struct State {
            var values: [Value] = []
            var isReading = false
            var isLeft = false
        }

        private let keys: [Key]
        private let state = Mutex(State())

        init(keys: [Key]) { self.keys = keys }

        /// The next to read; `nil` when all are done, or nobody waits for them any more.
        func next() -> Key? {
            state.withLock { state in
                guard !state.isLeft, state.values.count < keys.count else { return nil }
                state.isReading = true
                return keys[state.values.count]
            }
        }

        /// Hands in a value; `false` when nobody waits for it any more.
        func finish(_ value: Value) -> Bool {
            state.withLock { state in
                state.isReading = false
                if !state.isLeft { state.values.append(value) }
                return !state.isLeft
            }
        }

        /// Stops waiting: what there is so far, and what it hangs at.
        func leave() -> (values: [Value], stuck: Key?) {
            state.withLock { state in
                state.isLeft = true
                return (state.values, state.isReading ? keys[state.values.count] : nil)
            }
        }

        /// Whether the read it was left at has not come back.
        var isReading: Bool { state.withLock { $0.isReading } }
    }
}
