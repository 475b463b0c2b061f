/// What is still to be told to a human, and when to try. Pure; times are those of a clock that only
/// goes forward.
package struct DeliveryQueue: Sendable {
    /// Escalations that wait at most; past that, new ones are dropped: the first is the cause.
    package static let limit = 256
    /// Pauses between the first tries of one: 5 within about a minute. Then it is said that it does not
    /// work.
    package static let pauses: [Duration] = [
        .seconds(2), .seconds(6), .seconds(18), .seconds(34),
    ]
    /// Pauses between the tries after that, the last for as long as it is tried: what keeps the webhook
    /// away is often what a human is wanted for.
    package static let laterPauses: [Duration] = [
        .seconds(60), .seconds(120), .seconds(240), .seconds(300),
    ]
    /// How long one is tried.
    package static let life: Duration = .seconds(86_400)
    /// Incidents that are remembered as told, so that none is told twice by one process.
    package static let rememberedLimit = 4096

    /// One that waits.
    package struct Delivery: Sendable, Equatable {
        package var number: Int
        package var escalation: Escalation
        /// How often it was tried.
        package var tries = 0
        var due: Duration
        /// When it is given up.
        var end: Duration
    }

    /// What became of one.
    package struct Outcome: Sendable, Equatable {
        package var escalation: Escalation
        package var tries: Int
        /// Why it was not delivered; `nil`: it was.
        package var failure: String?
        /// Whether it is given up, or done; else it is tried on.
        package var isFinal = true
    }

    private var waiting: [Delivery] = []
    private var told: Set<String> = []
    private var order: [String] = []
    private var count = 0
    private let pauses: [Duration]
    private let later: [Duration]

    /// - `pauses`: between the first tries; there is one try more than these.
    /// - `later`: between those that follow; with none, there are none.
    package init(
        pauses: [Duration] = DeliveryQueue.pauses, later: [Duration] = DeliveryQueue.laterPauses
    ) {
        self.pauses = pauses
        self.later = later
    }

    package var isEmpty: Bool { waiting.isEmpty }

    /// How many wait.
    package var size: Int { waiting.count }

    /// Whether one still waits.
    package func contains(_ delivery: Delivery) -> Bool {
        waiting.contains { $0.number == delivery.number }
    }

    /// When the next one is due.
    package var nextDue: Duration? { waiting.map(\.due).min() }

    /// Takes one in, unless its incident has been told already, or waits; an outcome: there is no room.
    package mutating func add(_ escalation: Escalation, due: Duration) -> Outcome? {
        guard !told.contains(escalation.incident) else { return nil }
        guard waiting.count < Self.limit else {
            return Outcome(
                escalation: escalation, tries: 0,
                failure: "more than \(Self.limit) wait to be told")
        }
        guard told.insert(escalation.incident).inserted else { return nil }
        order.append(escalation.incident)
        if order.count > Self.rememberedLimit { told.remove(order.removeFirst()) }
        count += 1
        waiting.append(
            Delivery(number: count, escalation: escalation, due: due, end: due + Self.life))
        return nil
    }

    /// From now on the incident may be told again.
    private mutating func forget(_ incident: String) {
        guard told.remove(incident) != nil else { return }
        order.removeAll { $0 == incident }
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
            if let pause = pause(after: tries), now + pause <= waiting[index].end {
                waiting[index].due = now + pause
                guard tries == pauses.count + 1 else { return nil }
                outcome.isFinal = false
            }
            outcome.failure = reason
        }
        guard outcome.isFinal else { return outcome }
        waiting.remove(at: index)
        // Nobody knows of it; whoever says it again is heard.
        if outcome.failure != nil { forget(outcome.escalation.incident) }
        return outcome
    }

    /// How long to wait after so many tries; `nil`: there is no other.
    private func pause(after tries: Int) -> Duration? {
        if tries <= pauses.count { return pauses[tries - 1] }
        let place = tries - pauses.count - 1
        return place < later.count ? later[place] : later.last
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
