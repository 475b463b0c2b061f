/// What is still to be told to a human, and when to try. Pure; times are those of a clock that only
/// goes forward.
package struct DeliveryQueue: Sendable {
    /// Escalations that wait at most; past that, the oldest are dropped.
    package static let limit = 256
    /// Pauses between the tries of one: 5 tries within about a minute.
    package static let pauses: [Duration] = [
        .seconds(2), .seconds(6), .seconds(18), .seconds(34),
    ]
    /// Incidents that are remembered as told, so that none is told twice by one process.
    package static let rememberedLimit = 4096

    /// One that waits.
    package struct Delivery: Sendable, Equatable {
        package var number: Int
        package var escalation: Escalation
        /// How often it was tried.
        package var tries = 0
        var due: Duration
    }

    /// What became of one.
    package struct Outcome: Sendable, Equatable {
        package var escalation: Escalation
        package var tries: Int
        /// Why it was given up; `nil`: it was delivered.
        package var failure: String?
    }

    private var waiting: [Delivery] = []
    private var told: Set<String> = []
    private var order: [String] = []
    private var count = 0
    private let pauses: [Duration]

    /// - `pauses`: between the tries; there is one try more than these.
    package init(pauses: [Duration] = DeliveryQueue.pauses) { self.pauses = pauses }

    package var isEmpty: Bool { waiting.isEmpty }

    /// How many wait.
    package var size: Int { waiting.count }

    /// Whether one still waits.
    package func contains(_ delivery: Delivery) -> Bool {
        waiting.contains { $0.number == delivery.number }
    }

    /// When the next one is due.
    package var nextDue: Duration? { waiting.map(\.due).min() }

    /// Takes one in, unless its incident has been told already; returns what was dropped for it.
    package mutating func add(_ escalation: Escalation, due: Duration) -> Outcome? {
        guard told.insert(escalation.incident).inserted else { return nil }
        order.append(escalation.incident)
        if order.count > Self.rememberedLimit { told.remove(order.removeFirst()) }
        count += 1
        waiting.append(Delivery(number: count, escalation: escalation, due: due))
        guard waiting.count > Self.limit else { return nil }
        let oldest = waiting.removeFirst()
        return Outcome(
            escalation: oldest.escalation, tries: oldest.tries,
            failure: "more than \(Self.limit) wait to be told")
    }

    /// The one to try now. It stays until `tried` says what came of it.
    package func next(at now: Duration) -> Delivery? {
        waiting.filter { $0.due <= now }.min { ($0.due, $0.number) < ($1.due, $1.number) }
    }

    /// Takes note of a try; the outcome, once there is one.
    package mutating func tried(
        _ delivery: Delivery, _ verdict: WebhookAnswer.Verdict, at now: Duration
    ) -> Outcome? {
        // It may have been dropped meanwhile.
        guard let index = waiting.firstIndex(where: { $0.number == delivery.number }) else {
            return nil
        }
        waiting[index].tries += 1
        let tries = waiting[index].tries
        var outcome = Outcome(escalation: delivery.escalation, tries: tries)
        switch verdict {
        case .delivered: break
        case .refused(let reason): outcome.failure = reason
        case .failed(let reason):
            guard tries > pauses.count else {
                waiting[index].due = now + pauses[tries - 1]
                return nil
            }
            outcome.failure = reason
        }
        waiting.remove(at: index)
        return outcome
    }

    /// Makes all due: what was in the way may be gone.
    package mutating func hurry(at now: Duration) {
        for index in waiting.indices { waiting[index].due = min(waiting[index].due, now) }
    }

    /// Gives all up.
    package mutating func clear(_ reason: String) -> [Outcome] {
        defer { waiting = [] }
        return waiting.map {
            Outcome(escalation: $0.escalation, tries: $0.tries, failure: reason)
        }
    }
}
