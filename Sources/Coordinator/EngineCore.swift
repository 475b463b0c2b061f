import Audit
import Bus
import Immunity
import Protocol
import Runtime

/// The decision core and the end of its audit chain; only ever touched by the engine's driver.
struct EngineCore: Sendable {
    var immunity: Immunity
    /// The end of the chain: the last record that was appended, durable or not yet.
    private(set) var sequence: UInt64
    private(set) var hash: String
    /// The last record that is durable.
    private(set) var durable: UInt64
    /// The text of the last record: as a rule it is sent at once, and the next one takes its place.
    private var buffer: [UInt8] = []
    /// Records that wait until fewer are on their way: one tick may have thousands to say, and the
    /// stream's server takes only so many at once.
    private var unsent = Backlog<Outgoing>()
    /// The last record that was handed to the stream.
    private var sent: UInt64
    /// What waits for records to be durable, with the last of those.
    private var waiting = Backlog<(after: UInt64, effect: Effect)>()
    /// The last alerts, newest last, for `skos alerts`.
    private(set) var alerts: [AlertEvent] = []
    private var limiter = RejectionLimiter()
    /// A record could not be stored, so no other may be sent; why is on its way.
    private var isBroken = false
    /// Records whose log lines are still to be written: when they are durable and nothing more urgent
    /// is left.
    private var unlogged = Backlog<(sequence: UInt64, record: Record)>()

    let outputs: Outputs
    let clock: SteadyClock
    let actor: String

    /// A record on its way into the stream.
    struct Outgoing: Sendable {
        var subject: String
        var payload: [UInt8]
        /// Its place, once it is stored.
        var sequence: UInt64
        var previous: String
        var hash: String
    }

    /// How many records may be on their way; less than what makes servers refuse (10,000).
    static let window: UInt64 = 2048
    /// How many alerts are kept for `skos alerts`, and up to how many bytes of a record with all that
    /// their senders have added.
    static let alertLimit = 500
    static let alertBytes = 4096

    init(
        immunity: Immunity, sequence: UInt64, hash: String, alerts: [AlertEvent],
        outputs: Outputs, clock: SteadyClock, actor: String
    ) {
        self.immunity = immunity
        self.sequence = sequence
        self.hash = hash
        self.alerts = alerts
        durable = sequence
        sent = sequence
        self.outputs = outputs
        self.clock = clock
        self.actor = actor
    }

    /// How many records are not durable yet.
    var outstanding: Int { Int(sequence - durable) }

    mutating func take(_ ack: PubAckResult) throws(BusError) {
        let stored = try ack.result.get()
        guard stored.sequence == ack.token else {
            throw BusError(
                .protocolError,
                "the audit stream stored record \(ack.token) at \(stored.sequence)")
        }
        durable = stored.sequence
        while let next = waiting.popFirst(if: { $0.after <= stored.sequence }) {
            outputs.perform(next.effect)
        }
        try sendRecords()
    }

    mutating func take(_ item: Engine.Item) throws(BusError) {
        switch item {
        case .ack(let ack): try take(ack)
        case .question(let answer):
            answer(
                Engine.View(immunity: immunity, alerts: alerts, sequence: sequence, hash: hash))
        case .input(let input, let message):
            try decide(input)
            if let message { perform(.ack(message)) }
        }
    }

    /// Hands over the durable records whose log lines have waited.
    mutating func takeUnlogged() -> [Record] {
        var records: [Record] = []
        let durable = durable
        while let next = unlogged.popFirst(if: { $0.sequence <= durable }) {
            records.append(next.record)
        }
        return records
    }

    mutating func take(_ heartbeat: Heartbeat) throws(BusError) {
        try decide(.heartbeat(heartbeat))
    }

    private mutating func decide(_ input: Immunity.Input) throws(BusError) {
        let now = clock.now()
        var isSuppressed = false
        for directive in immunity.handle(input, at: now) {
            switch directive {
            case .append(let event):
                if let node = event.futileSender, !limiter.allows(node, at: now) {
                    isSuppressed = true
                    outputs.suppressed(event, of: node)
                } else {
                    try append(event, at: now)
                }
            case .send(let command): perform(.send(command))
            case .publish(let type, let event): perform(.publish(type, event))
            case .reject(let rejection): if !isSuppressed { perform(.reject(rejection)) }
            case .answer(let text, let granted): perform(.answer(text, granted))
            }
        }
    }

    private mutating func append(_ event: Event, at now: Timestamp) throws(BusError) {
        let record = Record(time: now, actor: event.actor ?? actor, event: event)
        record.encode(into: &buffer)
        let next = AuditChain.hash(previous: hash, payload: buffer)
        sequence += 1
        unsent.append(
            Outgoing(
                subject: Subjects.audit(event.kind), payload: buffer, sequence: sequence,
                previous: hash, hash: next))
        hash = next
        unlogged.append((sequence, record))
        if case .alert(let alert) = event {
            Self.keep(alert, bytes: buffer.count, in: &alerts)
        }
        try sendRecords()
    }

    private mutating func sendRecords() throws(BusError) {
        while !isBroken, sent - durable < Self.window, let next = unsent.first {
            do throws(BusError) { try outputs.append(next) } catch  where error.code == .fenced {
                isBroken = true
                return
            }
            _ = unsent.popFirst()
            sent = next.sequence
        }
    }

    /// Keeps an alert for `skos alerts`: without what its sender has added, when that is much.
    static func keep(_ event: AlertEvent, bytes: Int, in alerts: inout [AlertEvent]) {
        var event = event
        if bytes > alertBytes {
            event.alert.details = JSON.Object()
            event.alert.extra = JSON.Object()
        }
        alerts.append(event)
        if alerts.count > 2 * alertLimit { alerts.removeFirst(alertLimit) }
    }

    /// Does it now when every record before it is durable, else when that is so.
    private mutating func perform(_ effect: Effect) {
        if waiting.isEmpty, durable == sequence {
            outputs.perform(effect)
        } else {
            waiting.append((sequence, effect))
        }
    }
}
