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
    private var durable: UInt64
    /// What waits for records to be durable, with the last of those.
    private var waiting = Backlog<(after: UInt64, effect: Effect)>()
    /// The last alerts, newest last, for `skos alerts`.
    private(set) var alerts: [AlertEvent] = []
    private var limiter = RejectionLimiter()
    /// Records whose log lines are still to be written, when nothing more urgent is left.
    private var unlogged: [Record] = []

    let outputs: Outputs
    let clock: SteadyClock
    let actor: String

    /// How many alerts are kept for `skos alerts`.
    static let alertLimit = 500

    init(
        immunity: Immunity, sequence: UInt64, hash: String, alerts: [AlertEvent],
        outputs: Outputs, clock: SteadyClock, actor: String
    ) {
        self.immunity = immunity
        self.sequence = sequence
        self.hash = hash
        self.alerts = alerts
        durable = sequence
        self.outputs = outputs
        self.clock = clock
        self.actor = actor
    }

    /// How many records wait for their acks.
    var outstanding: Int { Int(sequence - durable) }

    mutating func take(_ ack: PubAckResult) throws(BusError) {
        let stored = try ack.result.get()
        guard stored.sequence == ack.token else {
            throw BusError(
                .protocolError,
                "the audit stream stored record \(ack.token) at \(stored.sequence)")
        }
        durable = stored.sequence
        while let next = waiting.first, next.after <= durable {
            waiting.removeFirst()
            outputs.perform(next.effect)
        }
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

    /// Hands over the records whose log lines have waited.
    mutating func takeUnlogged() -> [Record] {
        defer { unlogged = [] }
        return unlogged
    }

    mutating func take(_ heartbeat: Heartbeat) throws(BusError) {
        try decide(.heartbeat(heartbeat))
    }

    private mutating func decide(_ input: Immunity.Input) throws(BusError) {
        let now = clock.now()
        if case .rejected(let rejection) = input, !limiter.allows(at: now) {
            return outputs.suppressed(rejection)
        }
        for directive in immunity.handle(input, at: now) {
            switch directive {
            case .append(let event): try append(event, at: now)
            case .send(let command): perform(.send(command))
            case .publish(let type, let event): perform(.publish(type, event))
            case .reject(let rejection): perform(.reject(rejection))
            case .answer(let text, let granted): perform(.answer(text, granted))
            }
        }
    }

    private mutating func append(_ event: Event, at now: Timestamp) throws(BusError) {
        let record = Record(time: now, actor: event.actor ?? actor, event: event)
        var payload: [UInt8] = []
        payload.reserveCapacity(1024)
        record.object.write(to: &payload)
        let next = AuditChain.hash(previous: hash, payload: payload)
        try outputs.append(
            Subjects.audit(event.kind), payload,
            headers: [(AuditChain.previousHeader, hash), (AuditChain.hashHeader, next)],
            after: sequence)
        sequence += 1
        hash = next
        unlogged.append(record)
        if case .alert(let alert) = event {
            alerts.append(alert)
            if alerts.count > 2 * Self.alertLimit { alerts.removeFirst(Self.alertLimit) }
        }
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

/// Bounds what a flood of bad messages can write into the audit: a bucket of tokens.
struct RejectionLimiter: Sendable {
    /// Rejections recorded each second in the long run, and at once.
    static let perSecond = 20.0
    static let burst = 200.0

    private var tokens = burst
    private var filledAt: Timestamp?

    mutating func allows(at now: Timestamp) -> Bool {
        if let filledAt {
            tokens = min(Self.burst, tokens + (now - filledAt).inSeconds * Self.perSecond)
        }
        filledAt = now
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }
}

/// A queue whose front can be taken without moving the rest.
struct Backlog<Element: Sendable>: Sendable {
    private var elements: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == elements.count }

    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func removeFirst() {
        elements[head] = nil
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 4096, head * 2 >= elements.count {
            elements.removeFirst(head)
            head = 0
        }
    }
}
