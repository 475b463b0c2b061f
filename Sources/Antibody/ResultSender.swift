import Bus
package import Protocol
package import Runtime
import Synchronization

/// Keeps results until NATS has them: they are told again after a reconnection until the server has
/// taken them. Twice does no harm; a result that is lost makes the coordinator wait for nothing.
package final class ResultSender: Sendable {
    /// Results that wait at most; then the oldest are lost, and counted.
    package static let limit = 1024
    /// Results that are sent before the server's answer is awaited.
    private static let batchLimit = 64
    private static let flushTimeout: Duration = .seconds(2)

    private struct State {
        var waiting: [CommandResult] = []
        /// How many of the first ones have been sent and not confirmed.
        var removed: UInt64 = 0
    }

    private let state = Mutex(State())
    private let wakeup = Wakeup()
    private let link: BusLink
    private let log: Logger
    private let sent: Counter
    private let lost: Counter

    package init(link: BusLink, log: Logger, metrics: Metrics) {
        self.link = link
        self.log = log
        sent = metrics.counter("skos_agent_results_total", "Results that NATS has taken.")
        lost = metrics.counter("skos_agent_results_lost_total", "Results dropped for want of room.")
        link.onUp(wakeup)
    }

    /// Whether everything has been sent.
    package var isEmpty: Bool { state.withLock { $0.waiting.isEmpty } }

    /// Results dropped for want of room.
    package var dropped: UInt64 { lost.value }

    /// Sends a result as soon as possible.
    package func put(_ result: CommandResult) {
        let isFull = state.withLock { state in
            state.waiting.append(result)
            guard state.waiting.count > Self.limit else { return false }
            state.waiting.removeFirst()
            state.removed += 1
            return true
        }
        if isFull { lost.increment() }
        wakeup.ring()
    }

    /// Sends until the task is cancelled.
    package func run() async {
        var backoff = Backoff(base: .milliseconds(100), limit: .seconds(5), seed: 1)
        while !Task.isCancelled {
            let (batch, position) = state.withLock { state in
                (state.waiting.prefix(Self.batchLimit), state.removed)
            }
            guard !batch.isEmpty, let connection = link.connection else {
                _ = await wakeup.wait(atMost: batch.isEmpty ? nil : .seconds(1))
                continue
            }
            do throws(BusError) {
                for result in batch {
                    try connection.publish(Subjects.result(result.node), Self.encode(result))
                }
                try await connection.flush(timeout: Self.flushTimeout)
                confirm(batch.count, from: position)
                backoff.reset()
            } catch {
                log.debug("results are not sent yet", ["reason": error])
                _ = await wakeup.wait(atMost: backoff.next())
            }
        }
    }

    private func confirm(_ count: Int, from position: UInt64) {
        state.withLock { state in
            // Some may have been dropped meanwhile.
            let gone = Int(clamping: state.removed - position)
            let left = max(0, count - gone)
            state.waiting.removeFirst(min(left, state.waiting.count))
            state.removed += UInt64(left)
        }
        sent.increment(by: UInt64(count))
    }

    /// The message; what makes it too long for the wire is left out.
    static func encode(_ result: CommandResult) -> [UInt8] {
        let bytes = result.encoded
        guard bytes.count > Limits.messageBytes else { return bytes }
        var short = result
        short.effect = ["truncated": true]
        short.undo = result.undo.map { _ in ["truncated": true] }
        if let reason = result.reason, reason.utf8.count > Limits.textBytes {
            short.reason = String(decoding: reason.utf8.prefix(Limits.textBytes), as: UTF8.self)
        }
        return short.encoded
    }
}
