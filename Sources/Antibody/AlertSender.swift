import Bus
import Protocol
package import Runtime
import Synchronization

/// Brings alerts into the alert stream, and waits for its word that they are stored. While that does
/// not work, only the latest of each thing is kept: it is the state that counts, not its history.
package final class AlertSender: Sendable {
    /// How long the stream may take to answer before the alert is sent again.
    package static let ackTimeout: Duration = .seconds(5)

    private struct Waiting {
        var alert: Alert
        /// Tells a newer alert about the same thing from the one that is under way.
        var number: UInt64
    }

    private struct State {
        var waiting: [String: Waiting] = [:]
        /// The keys in `waiting`, in the order in which they came.
        var order: [String] = []
        var count: UInt64 = 0
    }

    private let state = Mutex(State())
    private let wakeup = Wakeup()
    private let link: BusLink
    private let log: Logger
    private let stored: Counter
    private let failed: Counter
    private let replaced: Counter

    package init(link: BusLink, log: Logger, metrics: Metrics) {
        self.link = link
        self.log = log
        stored = metrics.counter("skos_agent_alerts_total", "Alerts that the stream has stored.")
        failed = metrics.counter(
            "skos_agent_alert_failures_total", "Tries to store an alert that failed.")
        replaced = metrics.counter(
            "skos_agent_alerts_replaced_total",
            "Alerts that a newer one about the same thing replaced before they were stored.")
        link.onUp(wakeup)
    }

    /// Whether everything has been stored.
    package var isEmpty: Bool { state.withLock { $0.waiting.isEmpty } }

    /// Sends an alert as soon as possible, in place of an unsent one about the same thing. The things
    /// are as many as the keepers remember, so this is bounded.
    package func put(_ report: AlertKeeper.Report) {
        // The agent's name is in the key, since several agents may watch things of one name.
        let key = "\(report.alert.agentID ?? "") \(report.key.type) \(report.key.resource)"
        let isReplaced = state.withLock { state in
            state.count += 1
            let old = state.waiting.updateValue(
                Waiting(alert: report.alert, number: state.count), forKey: key)
            if old == nil { state.order.append(key) }
            return old != nil
        }
        if isReplaced { replaced.increment() }
        wakeup.ring()
    }

    /// Sends until the task is cancelled.
    package func run() async {
        var backoff = Backoff(base: .milliseconds(250), limit: .seconds(3), seed: 2)
        while !Task.isCancelled {
            let next = state.withLock { state in
                state.order.first.flatMap { key in state.waiting[key].map { (key, $0) } }
            }
            guard let (key, waiting) = next, let connection = link.connection else {
                _ = await wakeup.wait(atMost: next == nil ? nil : .seconds(1))
                continue
            }
            do throws(BusError) {
                try await send(waiting.alert, on: connection)
                stored.increment()
                backoff.reset()
                finish(key, waiting.number)
            } catch {
                failed.increment()
                if error.code == .payloadTooLarge {
                    log.error("an alert is too long and dropped", ["reason": error])
                    finish(key, waiting.number)
                    continue
                }
                log.warning(
                    "an alert is not stored yet, trying again",
                    ["type": waiting.alert.type, "reason": error])
                _ = await wakeup.wait(atMost: backoff.next())
            }
        }
    }

    private func send(_ alert: Alert, on connection: Connection) async throws(BusError) {
        _ = try await connection.jetStream.publish(
            Subjects.alert(alert.node), alert.encoded, messageID: alert.id,
            timeout: Self.ackTimeout)
    }

    private func finish(_ key: String, _ number: UInt64) {
        state.withLock { state in
            state.order.removeAll { $0 == key }
            if state.waiting[key]?.number == number {
                state.waiting[key] = nil
            } else {
                // A newer one came while this one was under way.
                state.order.append(key)
            }
        }
    }
}
