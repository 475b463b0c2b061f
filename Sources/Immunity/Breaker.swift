package import Protocol

/// The circuit breaker of one (node, action), with the states and names of resilience4j.
///
/// It opens after too many failures, and also after too many executions whatever their outcome: an
/// action that succeeds again and again is a healing loop. Opened, it lets nothing through for a time;
/// then one trial; the trial's outcome closes it or opens it again.
package struct Breaker: Sendable, Equatable {
    package enum State: String, Sendable {
        case closed
        case open
        case halfOpen = "half_open"
    }

    /// Newest last; at most `historyLimit`.
    package var failures: [Timestamp] = []
    /// Newest last; at most `historyLimit`.
    package var executions: [Timestamp] = []
    /// Set while it is open or half open: when the trial is due.
    package var openUntil: Timestamp?
    /// Why it opened.
    package var reason: String?
    /// The trial that half open waits for.
    package var trial: String?

    package init() {}

    package func state(at now: Timestamp) -> State {
        guard let openUntil else { return .closed }
        return now < openUntil ? .open : .halfOpen
    }

    /// Why nothing may be executed now, or `nil`.
    package func refusal(at now: Timestamp) -> String? {
        switch state(at: now) {
        case .closed: nil
        case .open: "open until \(openUntil?.description ?? "reset"): \(reason ?? "")"
        case .halfOpen: trial.map { "half open, waiting for the trial \($0)" }
        }
    }

    /// The last execution, from which the cooldown is measured.
    package var lastExecution: Timestamp? { executions.last }

    /// When anything was last counted.
    var lastUse: Timestamp {
        max(
            executions.last ?? Timestamp(nanoseconds: .min),
            failures.last ?? Timestamp(nanoseconds: .min))
    }

    /// Why it must open now, given what has happened; `nil` when it need not.
    package func openingReason(at now: Timestamp, policy: BreakerPolicy) -> String? {
        guard openUntil == nil else { return nil }
        let start = now - policy.window
        let failed = failures.count { $0 > start }
        if failed >= min(policy.failureThreshold, Self.historyLimit) {
            return "\(failed) failures within \(policy.window.short)"
        }
        let executed = executions.count { $0 > start }
        if executed >= min(policy.executionThreshold, Self.historyLimit) {
            return "\(executed) executions within \(policy.window.short): a healing loop"
        }
        return nil
    }

    mutating func executed(_ actionID: String, at time: Timestamp) {
        Self.append(time, to: &executions)
        if state(at: time) == .halfOpen { trial = actionID }
    }

    /// Takes back that an action was executed: it was not even tried.
    mutating func withdraw(_ command: Command) {
        let issued = command.timestamp ?? Timestamp(nanoseconds: .max)
        if let index = executions.firstIndex(where: { $0 >= issued }) {
            executions.remove(at: index)
        }
        if trial == command.actionID { trial = nil }
    }

    mutating func failed(at time: Timestamp) { Self.append(time, to: &failures) }

    mutating func open(until: Timestamp, reason: String) {
        openUntil = until
        self.reason = reason
        trial = nil
    }

    mutating func close() {
        self.openUntil = nil
        reason = nil
        trial = nil
        failures = []
        // The last execution stays: the cooldown is measured from it.
        executions = executions.suffix(1)
    }

    /// The most that any threshold can ask for; a higher one counts as this.
    package static let historyLimit = 100

    private static func append(_ time: Timestamp, to times: inout [Timestamp]) {
        times.append(time)
        if times.count > historyLimit { times.removeFirst(times.count - historyLimit) }
    }
}

extension Duration {
    /// The duration as configuration writes it: `90s` is `1m30s`; to the millisecond below ten seconds.
    package var short: String {
        guard self >= .zero else { return "-" + (.zero - self).short }
        let (seconds, attoseconds) = components
        let milliseconds = attoseconds / 1_000_000_000_000_000
        if seconds < 10, milliseconds > 0 { return "\(seconds * 1000 + milliseconds)ms" }
        if seconds == 0 { return "0s" }
        var text = ""
        if seconds >= 3600 { text += "\(seconds / 3600)h" }
        if seconds / 60 % 60 > 0 { text += "\(seconds / 60 % 60)m" }
        if seconds % 60 > 0 { text += "\(seconds % 60)s" }
        return text
    }
}
