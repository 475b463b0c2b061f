package import Protocol
package import Runtime
package import Settings
import Synchronization

/// Tells a human, by a webhook of the node's own file, what only a human can mend.
///
/// Whoever has something to say never waits: escalations go into a bounded queue, and a thread of its
/// own sends them, one after the other, each a few times until it is taken.
package final class Notifier: Sendable {
    /// Gets what became of each escalation.
    package typealias Report = @Sendable (DeliveryQueue.Outcome) -> Void

    private struct State {
        var queue: DeliveryQueue
        var settings: Config.AlertHuman
    }

    private let state: Mutex<State>
    private let report: Report
    private let sender: any WebhookSender
    private let log: Logger
    private let thread = WorkerThread(name: "alert-human")
    private let wakeup = Wakeup()
    private let tries: Counter
    private let outcomes: [String: Counter]

    /// Tells by `settings`, in which nothing may stand; `sender` sends the requests, `queue` is empty, and
    /// `report` is called on any thread.
    package init(
        _ settings: Config.AlertHuman, sender: any WebhookSender = Webhook(),
        queue: DeliveryQueue = DeliveryQueue(), metrics: Metrics, log: Logger,
        report: @escaping Report
    ) {
        state = Mutex(State(queue: queue, settings: settings))
        self.report = report
        self.sender = sender
        self.log = log
        tries = metrics.counter("skos_human_alert_tries_total", "Requests to the webhook")
        var outcomes: [String: Counter] = [:]
        for outcome in ["delivered", "failed", "dropped"] {
            outcomes[outcome] = metrics.counter(
                "skos_human_alerts_total", "Escalations by what became of them at the webhook",
                labels: ["outcome": outcome])
        }
        self.outcomes = outcomes
    }

    /// How long a repetition waits, so that a coordinator that ends again and again tells nobody.
    package static let repetitionPause: Duration = .seconds(30)

    /// Takes in an event `skos.event.escalation`, once for each incident. Never blocks. One that an
    /// earlier process may have told (`isRepeated`) waits a while.
    package func tell(_ event: JSON.Object, isRepeated: Bool = false) {
        guard var escalation = Escalation(event) else { return }
        escalation.isRepeated = isRepeated
        let dropped: DeliveryQueue.Outcome?? = state.withLock { state in
            guard !state.settings.url.isEmpty else { return nil }
            let pause = isRepeated ? Self.repetitionPause : .zero
            return .some(state.queue.add(escalation, due: SteadyClock.sinceBoot() + pause))
        }
        guard let dropped else { return }
        wakeup.ring()
        if let dropped { conclude(dropped, "dropped") }
    }

    /// Takes over an edit; the next try uses it.
    package func apply(_ settings: Config.AlertHuman) {
        let given = state.withLock { state in
            let isNew = state.settings != settings
            state.settings = settings
            guard !settings.url.isEmpty else {
                return state.queue.clear("local.alert_human.url was taken out of config.yaml")
            }
            if isNew { state.queue.hurry(at: SteadyClock.sinceBoot()) }
            return []
        }
        wakeup.ring()
        for outcome in given { conclude(outcome, "dropped") }
    }

    /// Sends until the task is cancelled.
    package func run() async {
        defer { thread.stop() }
        while !Task.isCancelled {
            let (delivery, settings, due) = state.withLock { state in
                (
                    state.queue.next(at: SteadyClock.sinceBoot()), state.settings,
                    state.queue.nextDue
                )
            }
            guard let delivery else {
                let pause = due.map { max($0 - SteadyClock.sinceBoot(), .milliseconds(1)) }
                _ = await wakeup.wait(atMost: pause)
                continue
            }
            let answer = await post(delivery, settings)
            guard !Task.isCancelled else { break }
            take(answer, for: delivery, settings)
        }
        let left = state.withLock { $0.queue.clear("the coordinator stopped") }
        for outcome in left { conclude(outcome, "dropped") }
    }

    private func post(
        _ delivery: DeliveryQueue.Delivery, _ settings: Config.AlertHuman
    ) async -> WebhookAnswer {
        tries.increment()
        let sender = sender
        let request = delivery.escalation.request(settings.format)
        // libcurl keeps its own limits; this one is for a resolver or a library that hangs.
        do {
            return try await withTimeLimit(Self.hangLimit, on: thread) {
                sender.post(request, to: settings.url)
            }
        } catch {
            return WebhookAnswer(status: 0, error: "\(error)")
        }
    }

    /// Longer than any request may take, by far.
    private static let hangLimit: Duration = .seconds(120)

    private func take(
        _ answer: WebhookAnswer, for delivery: DeliveryQueue.Delivery,
        _ settings: Config.AlertHuman
    ) {
        let address = WebhookAddress(settings.url)
        let verdict = answer.verdict.mapped(address.scrubbed)
        let (outcome, isWaiting) = state.withLock { state in
            // After an edit it does not matter what was wrong with the old address: it is tried anew.
            let counts = verdict == .delivered || state.settings == settings
            let outcome =
                counts
                ? state.queue.tried(delivery, verdict, at: SteadyClock.sinceBoot()) : nil
            return (outcome, state.queue.contains(delivery))
        }
        let incident = delivery.escalation.incident
        guard let outcome else {
            // It may have been dropped meanwhile.
            guard isWaiting else { return }
            log.warning(
                "a human was not told, trying again",
                [
                    "incident": incident, "webhook": address.shown,
                    "reason": verdict.reason ?? "",
                ])
            return
        }
        if outcome.failure == nil {
            log.info(
                "a human was told",
                ["incident": incident, "webhook": address.shown, "tries": outcome.tries])
        }
        conclude(outcome, outcome.failure == nil ? "delivered" : "failed")
    }

    private func conclude(_ outcome: DeliveryQueue.Outcome, _ word: String) {
        if outcome.isFinal { outcomes[word]?.increment() }
        if let failure = outcome.failure {
            log.error(
                "no human was told",
                [
                    "incident": outcome.escalation.incident, "tries": outcome.tries,
                    "reason": failure, "goes_on": outcome.isFinal ? "" : "every few minutes",
                ])
        }
        report(outcome)
    }
}
