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

    /// How many items may wait before those are refused that can be sent again: results, questions.
    /// Alerts are bounded by their consumer.
    static let itemLimit = 20_000

    private struct Queue {
        var acks: [PubAckResult] = []
        var urgent = Backlog<Item>()
        var heartbeats = Backlog<Heartbeat>()
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

    /// Submits an item that its sender will send again, unless too many wait; says whether it did.
    func offer(_ item: Item) -> Bool {
        let (isTaken, mustDrive) = queue.withLock { queue in
            guard queue.urgent.count < Self.itemLimit, !queue.isStopped else {
                return (false, false)
            }
            queue.urgent.append(item)
            return (true, Self.claim(&queue))
        }
        if mustDrive { drive() }
        return isTaken
    }

    /// Whether `offer` would take an item.
    var hasRoom: Bool {
        queue.withLock { $0.urgent.count < Self.itemLimit && !$0.isStopped }
    }

    /// Leaves a heartbeat for `takeHeartbeats`, or for whoever drives meanwhile.
    func leave(_ heartbeat: Heartbeat) {
        queue.withLock { queue in
            if queue.heartbeats.count >= Self.heartbeatLimit {
                _ = queue.heartbeats.popFirst()
                queue.droppedHeartbeats += 1
            }
            queue.heartbeats.append(heartbeat)
        }
    }

    /// Takes the heartbeats that were left into account, unless somebody does already.
    func takeHeartbeats() {
        if queue.withLock({ Self.claim(&$0) }) { drive() }
    }

    /// Stops for good: nothing more is decided, sent or acked.
    func stop() { queue.withLock { $0.isStopped = true } }

    /// Heartbeats that were dropped because the core could not keep up.
    var droppedHeartbeats: Int { queue.withLock { $0.droppedHeartbeats } }

    /// What the next session may take over: soft state that no record holds.
    var nodes: Nodes { core.withLock { $0.immunity.nodes } }

    /// The last place of the audit that the core has filled, durable or not, and the last that is
    /// durable.
    var position: (appended: UInt64, durable: UInt64) {
        core.withLock { ($0.sequence, $0.durable) }
    }

    /// The state as of the last record, durable or not yet.
    var snapshot: (state: State, sequence: UInt64, hash: String) {
        core.withLock { ($0.immunity.state, $0.sequence, $0.hash) }
    }

    /// Whether nothing waits for anything, or nothing more will be done.
    var isSettled: Bool {
        let (isIdle, isStopped) = queue.withLock { queue in
            (queue.urgent.isEmpty && queue.acks.isEmpty && !queue.isDriven, queue.isStopped)
        }
        return isStopped || (isIdle && core.withLock { $0.outstanding == 0 })
    }

    private static func claim(_ queue: inout Queue) -> Bool {
        guard !queue.isDriven, !queue.isStopped else { return false }
        queue.isDriven = true
        return true
    }

    private struct Batch {
        var acks: [PubAckResult] = []
        var items: [Item] = []
        var heartbeats: [Heartbeat] = []
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
        // An item appends a few records as a rule, so a full window is exceeded by little; what a rare
        // one appends beyond it waits in the core.
        let room = Self.window - queue.outstanding
        if room > 0 { batch.items = queue.urgent.take(room) }
        batch.heartbeats = queue.heartbeats.take(Self.heartbeatBatch)
        guard !batch.acks.isEmpty || !batch.items.isEmpty || !batch.heartbeats.isEmpty else {
            queue.isDriven = false
            return nil
        }
        return batch
    }
}
