package import Protocol
package import Settings

/// Decides how bad a temperature is. Pure: values and times come in, verdicts go out.
///
/// A severity is entered when two samples in a row are at or above its threshold, and the threshold
/// has been reached for as long as `for:` says. It is left only when two samples in a row are below its
/// *clear* threshold, so it does not flap, and then for the severity that those two still justify.
/// The samples are kept, not the conclusions from them: after a threshold was edited the very next
/// sample decides, together with the one before it.
package struct Detector: Sendable, Equatable {
    /// Failed reads between two samples do not separate them unless they take longer than this.
    package static let leastGap: Duration = .seconds(60)

    /// The verdict on one sample.
    package struct Verdict: Sendable, Equatable {
        /// `nil`: not known, because there is no value or only a first one.
        package var severity: Severity?
        /// The threshold that the severity was entered by; for `ok` that of `warning`.
        package var threshold: Double

        package init(severity: Severity?, threshold: Double) {
            self.severity = severity
            self.threshold = threshold
        }
    }

    private struct Past: Equatable {
        var celsius: Double
        var time: Timestamp
    }

    private var settings: Config.Thermal
    private var maxGap: Duration
    /// The severity in force; `nil` until two samples have told.
    private var severity: Severity?
    private var last: Past?
    /// Since when each severity's threshold has been reached without a break.
    private var since: [Severity: Timestamp] = [:]
    /// How many values were dropped because they were not finite.
    package private(set) var droppedCount = 0
    /// - `settings`: thresholds, clear thresholds and `for:`.
    /// - `interval`: the time from one sample to the next.
    package init(settings: Config.Thermal, interval: Duration) {
        self.settings = settings
        maxGap = max(Self.leastGap, interval * 3)
    }

    /// Takes over edited thresholds and interval.
    package mutating func apply(_ settings: Config.Thermal, interval: Duration) {
        let old = self.settings
        self.settings = settings
        maxGap = max(Self.leastGap, interval * 3)
        // The last sample is judged anew. What came before it is known only where the threshold did
        // not rise.
        var renewed: [Severity: Timestamp] = [:]
        if let last {
            for severity in Severity.raised where last.celsius >= threshold(severity) {
                let known = threshold(severity) <= old.thresholds[severity] ? since[severity] : nil
                renewed[severity] = known ?? last.time
            }
        }
        since = renewed
    }

    /// Judges one sample.
    /// - `celsius`: the temperature; `nil` when none could be read.
    package mutating func observe(_ celsius: Double?, at now: Timestamp) -> Verdict {
        guard let celsius, celsius.isFinite else {
            if celsius != nil { droppedCount += 1 }
            return verdict(nil)
        }
        let previous = last.flatMap { abs(now, $0.time) <= maxGap ? $0 : nil }
        if previous == nil { since = [:] }
        last = Past(celsius: celsius, time: now)
        for severity in Severity.raised {
            let isReached = celsius >= threshold(severity)
            // A clock that was set back must not make the wait longer.
            since[severity] = isReached ? min(since[severity] ?? now, now) : nil
        }
        guard let previous else { return verdict(nil) }

        let entered = Severity.raised.last { severity in
            guard min(previous.celsius, celsius) >= threshold(severity) else { return false }
            return now - (since[severity] ?? now) >= settings.holdFor
        }
        let kept = Severity.raised.last { max(previous.celsius, celsius) >= clear($0) } ?? .ok
        // What was in force stays as far as it is not cleared; what was entered is in force.
        severity = max(entered ?? .ok, min(severity ?? .ok, kept))
        return verdict(severity)
    }

    private func verdict(_ severity: Severity?) -> Verdict {
        Verdict(severity: severity, threshold: threshold(max(severity ?? .ok, .warning)))
    }

    private func threshold(_ severity: Severity) -> Double { settings.thresholds[severity] }

    private func clear(_ severity: Severity) -> Double { settings.clear[severity] }

    private func abs(_ one: Timestamp, _ other: Timestamp) -> Duration {
        one > other ? one - other : other - one
    }
}

extension Severity {
    /// The severities that a threshold raises, ascending.
    static let raised: [Severity] = [.warning, .critical, .emergency]
}

extension Config.Levels {
    /// The temperature of a severity; that of `warning` for `ok`.
    subscript(severity: Severity) -> Double {
        switch severity {
        case .ok, .warning: warning
        case .critical: critical
        case .emergency: emergency
        }
    }
}
