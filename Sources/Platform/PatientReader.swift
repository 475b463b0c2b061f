import Synchronization

/// Reads things some of which may never answer, such as file systems on dead servers: one after the
/// other on a worker's thread, going on behind each one that hangs.
///
/// One that hangs is not asked again until its thread has come back; what it said then is its answer
/// the next time. How many threads are left behind is bounded so that those that hang never keep the
/// others from being read: things from elsewhere are counted apart from those that are here, of one
/// origin only two are waited for, and what answered the last time is still asked when nothing else is.
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
        /// What answered when it was asked last.
        var proven: Set<Key> = []
    }

    private let worker: TimedWorker
    private let maxHung: Int
    private let limit: Duration
    private let origin: @Sendable (Key) -> String?
    private let read: @Sendable (Key) -> Value
    private let state = Mutex(State())

    /// How many threads one look may leave behind, for each takes its time.
    package static var patience: Int { 3 }
    /// How many threads may wait for things of one origin.
    static var originLimit: Int { 2 }

    /// - Parameters:
    ///   - maxHung: how many threads may be left behind at things that are here, and how many at those
    ///     from elsewhere; twice that when the next thing to read has answered the last time.
    ///   - limit: how long the reads together may take before the one under way is left alone.
    ///   - origin: where a thing comes from, such as the server it is on; `nil`: it is here.
    ///   - read: reads one thing; it may hang.
    package init(
        maxHung: Int = 4, limit: Duration,
        origin: @escaping @Sendable (Key) -> String? = { _ in nil },
        read: @escaping @Sendable (Key) -> Value
    ) {
        worker = TimedWorker(maxHung: maxHung * 4)
        self.maxHung = maxHung
        self.limit = limit
        self.origin = origin
        self.read = read
    }

    /// How many threads are left behind now.
    package var hungCount: Int { worker.hungCount }

    /// Reads all of them, in order. Returns in time whatever hangs.
    package func readAll(_ keys: [Key]) async -> [Key: Outcome] {
        var outcomes = known(keys)
        var rest = keys.filter { outcomes[$0] == nil }
        var patience = Self.patience
        while patience > 0, !Task.isCancelled {
            let batch = Batch(keys: state.withLock { state in rest.filter { mayAsk($0, state) } })
            guard !batch.keys.isEmpty else { break }
            let isDone = await worker.run(limit: limit) {
                self.work(batch)
                return true
            }
            let (values, stuck) = batch.leave()
            for (key, value) in zip(batch.keys, values) { outcomes[key] = .value(value) }
            state.withLock { $0.proven.formUnion(batch.keys.prefix(values.count)) }
            if let stuck {
                outcomes[stuck] = .hung
                leave(stuck, batch)
            }
            // Neither at work nor stuck: no thread could be had.
            if isDone != nil || values.isEmpty && stuck == nil { break }
            patience -= 1
            rest = rest.filter { outcomes[$0] == nil }
        }
        for key in keys where outcomes[key] == nil { outcomes[key] = .unread }
        return outcomes
    }

    /// What is known of things without asking them.
    private func known(_ keys: [Key]) -> [Key: Outcome] {
        state.withLock { state in
            let listed = Set(keys)
            state.late = state.late.filter { listed.contains($0.key) }
            state.proven.formIntersection(listed)
            var outcomes: [Key: Outcome] = [:]
            for key in keys {
                if let value = state.late.removeValue(forKey: key) {
                    outcomes[key] = .value(value)
                    state.proven.insert(key)
                } else if state.hung.contains(key) {
                    outcomes[key] = .hung
                }
            }
            return outcomes
        }
    }

    /// Whether a thread may be risked for a thing.
    private func mayAsk(_ key: Key, _ state: borrowing State) -> Bool {
        guard !state.hung.isEmpty else { return true }
        let from = origin(key)
        let origins = state.hung.map(origin).filter { ($0 == nil) == (from == nil) }
        if from != nil, origins.count(where: { $0 == from }) >= Self.originLimit { return false }
        return origins.count < (state.proven.contains(key) ? maxHung * 2 : maxHung)
    }

    private func leave(_ key: Key, _ batch: Batch) {
        state.withLock { state in
            state.hung.insert(key)
            state.proven.remove(key)
        }
        // It may have come back before this; nobody else would take it out then.
        if !batch.isReading { _ = state.withLock { $0.hung.remove(key) } }
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

        let keys: [Key]
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
