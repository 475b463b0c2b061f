import Audit
import Bus
import Immunity
import Protocol
import Runtime
import Synchronization

/// Drives the decision core: takes in what arrives, appends what the core records, and does what it
/// directs once the records are durable.
///
/// Whoever submits an item while nobody drives becomes the driver, on its own thread, and goes on until
/// nothing is left; everybody else only leaves their items. So a single alert crosses no more threads
/// than NATS' own, and a burst is worked off in batches.
final class Engine: Sendable {
    /// What arrives.
    enum Item: Sendable {
        /// For the core; the message is acked when what follows from it is done.
        case input(Immunity.Input, BusMessage?)
        /// The stream's word on an appended record.
        case ack(PubAckResult)
        /// A question about the state, answered from a consistent view.
        case question(@Sendable (View) -> Void)
    }

    /// What questions can see.
    struct View {
        let immunity: Immunity
        let alerts: [AlertEvent]
        let sequence: UInt64
        let hash: String
    }

    /// How many records may wait for their acks; while more would, items wait here instead.
    static let window = 1024
    /// How many heartbeats are taken between two looks at what is urgent.
    static let heartbeatBatch = 256
    /// How many heartbeats may wait before the oldest are dropped: each agent sends another soon.
    static let heartbeatLimit = 200_000

    private struct Queue {
        var acks: [PubAckResult] = []
        var urgent: [Item] = []
        var heartbeats: [Heartbeat] = []
        var droppedHeartbeats = 0
        var isDriven = false
        var isStopped = false
        var outstanding = 0
    }

    private let queue = Mutex(Queue())
    private let core: Mutex<EngineCore>
    /// Called once, from the driver, when the records can no longer be made durable.
    private let failed: @Sendable (BusError) -> Void
    private let outputs: Outputs

    init(core: EngineCore, failed: @escaping @Sendable (BusError) -> Void) {
        outputs = core.outputs
        self.core = Mutex(core)
        self.failed = failed
    }

    func submit(_ item: Item) {
        let mustDrive = queue.withLock { queue in
            if case .ack(let result) = item {
                queue.acks.append(result)
            } else {
                queue.urgent.append(item)
            }
            return Self.claim(&queue)
        }
        if mustDrive { drive() }
    }

    func submit(_ heartbeat: Heartbeat) {
        let mustDrive = queue.withLock { queue in
            if queue.heartbeats.count >= Self.heartbeatLimit {
                queue.heartbeats.removeFirst(Self.heartbeatBatch)
                queue.droppedHeartbeats += Self.heartbeatBatch
            }
            queue.heartbeats.append(heartbeat)
            return Self.claim(&queue)
        }
        if mustDrive { drive() }
    }

    /// Stops for good: nothing more is decided, sent or acked.
    func stop() { queue.withLock { $0.isStopped = true } }

    /// Heartbeats that were dropped because the core could not keep up.
    var droppedHeartbeats: Int { queue.withLock { $0.droppedHeartbeats } }

    /// What the next session may take over: soft state that no record holds.
    var nodes: Nodes { core.withLock { $0.immunity.nodes } }

    /// The state as of the last record, durable or not yet.
    var position: (state: State, sequence: UInt64, hash: String) {
        core.withLock { ($0.immunity.state, $0.sequence, $0.hash) }
    }

    /// The last record, durable or not yet.
    var sequence: UInt64 { core.withLock { $0.sequence } }

    private static func claim(_ queue: inout Queue) -> Bool {
        guard !queue.isDriven, !queue.isStopped else { return false }
        queue.isDriven = true
        return true
    }

    private struct Batch {
        var acks: [PubAckResult] = []
        var items: [Item] = []
        var heartbeats: ArraySlice<Heartbeat> = []
    }

    private func drive() {
        while true {
            guard let batch = queue.withLock({ nextBatch(&$0) }) else {
                // Log lines cost more than decisions, so they wait until nothing else does, and are
                // written while somebody else may drive already.
                let records = core.withLock { $0.takeUnlogged() }
                if !records.isEmpty { outputs.log(records) }
                return
            }
            let outcome = work(off: batch)
            switch outcome {
            case .success(let outstanding): queue.withLock { $0.outstanding = outstanding }
            case .failure(let error):
                stop()
                failed(error)
            }
        }
    }

    /// Decides a batch; what it publishes leaves in one write.
    private func work(off batch: Batch) -> Result<Int, BusError> {
        var outcome = Result<Int, BusError>.success(0)
        outputs.batched {
            outcome = core.withLock { core in
                do throws(BusError) {
                    for ack in batch.acks { try core.take(ack) }
                    for item in batch.items { try core.take(item) }
                    for heartbeat in batch.heartbeats { try core.take(heartbeat) }
                    return .success(core.outstanding)
                } catch { return .failure(error) }
            }
        }
        return outcome
    }

    private func nextBatch(_ queue: inout Queue) -> Batch? {
        guard !queue.isStopped else { return nil }
        var batch = Batch()
        swap(&batch.acks, &queue.acks)
        let room = Self.window - queue.outstanding
        if room > 0, !queue.urgent.isEmpty {
            // An item appends a few records at most, so a full window is exceeded by little.
            if queue.urgent.count <= room {
                swap(&batch.items, &queue.urgent)
            } else {
                batch.items = Array(queue.urgent.prefix(room))
                queue.urgent.removeFirst(room)
            }
        }
        if !queue.heartbeats.isEmpty {
            if queue.heartbeats.count <= Self.heartbeatBatch {
                batch.heartbeats = queue.heartbeats[...]
                queue.heartbeats = []
            } else {
                batch.heartbeats = queue.heartbeats.prefix(Self.heartbeatBatch)
                queue.heartbeats.removeFirst(Self.heartbeatBatch)
            }
        }
        guard !batch.acks.isEmpty || !batch.items.isEmpty || !batch.heartbeats.isEmpty else {
            queue.isDriven = false
            return nil
        }
        return batch
    }
}
