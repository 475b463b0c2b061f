package import Protocol
package import Settings

/// Decides how bad a measured value is. Pure: values and times come in, verdicts go out.
///
/// A severity is entered when two samples in a row are at or above its threshold, and the threshold
/// has been reached for as long as `for:` says. It is left only when two samples in a row are below its
/// *clear* threshold, so it does not flap, and then for the severity that those two still justify.
/// Where one sample cannot be a mistake, such as how full a disk is, one is enough for either.
/// The samples are kept, not the conclusions from them: after a threshold was edited the very next
/// sample decides, together with the one before it.
package struct Detector: Sendable, Equatable {
    /// Failed reads between two samples do not separate them unless they take longer than this.
    package static let leastGap: Duration = .seconds(60)

    /// When a severity is entered and left.
    package struct Settings: Sendable, Equatable {
        package var thresholds: Config.Levels
        package var clear: Config.Levels
        package var holdFor: Duration
        /// Whether one sample is not believed without another.
        package var needsTwo: Bool

        package init(
            thresholds: Config.Levels, clear: Config.Levels, holdFor: Duration, needsTwo: Bool
        ) {
            self.thresholds = thresholds
            self.clear = clear
            self.holdFor = holdFor
            self.needsTwo = needsTwo
        }
    }

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
        var value: Double
        var time: Timestamp
    }

    private var settings: Settings
    private var maxGap: Duration
    /// The severity in force; `nil` until enough samples have told.
    private var severity: Severity?
    private var last: Past?
    /// Since when each severity's threshold has been reached without a break.
    private var since: [Severity: Timestamp] = [:]
    /// How many values were dropped because they were not finite.
    package private(set) var droppedCount = 0

    /// - `settings`: thresholds, clear thresholds and `for:`.
    /// - `interval`: the time from one sample to the next.
    package init(settings: Settings, interval: Duration) {
        self.settings = settings
        maxGap = max(Self.leastGap, interval * 3)
    }

    /// Takes over edited thresholds and interval.
    package mutating func apply(_ settings: Settings, interval: Duration) {
        let old = self.settings
        self.settings = settings
        maxGap = max(Self.leastGap, interval * 3)
        // The last sample is judged anew. What came before it is known only where the threshold did
        // not rise.
        var renewed: [Severity: Timestamp] = [:]
        if let last {
            for severity in Severity.raised where last.value >= threshold(severity) {
                let known = threshold(severity) <= old.thresholds[severity] ? since[severity] : nil
                renewed[severity] = known ?? last.time
            }
        }
        since = renewed
    }

    /// Judges one sample.
    /// - `value`: what was measured; `nil` when it could not be.
    package mutating func observe(_ value: Double?, at now: Timestamp) -> Verdict {
        guard let value, value.isFinite else {
            if value != nil { droppedCount += 1 }
            return verdict(nil)
        }
        let previous = last.flatMap { abs(now, $0.time) <= maxGap ? $0 : nil }
        if previous == nil { since = [:] }
        last = Past(value: value, time: now)
        for severity in Severity.raised {
            let isReached = value >= threshold(severity)
            // A clock that was set back must not make the wait longer.
            since[severity] = isReached ? min(since[severity] ?? now, now) : nil
        }
        guard let other = settings.needsTwo ? previous?.value : value else { return verdict(nil) }

        let entered = Severity.raised.last { severity in
            guard min(other, value) >= threshold(severity) else { return false }
            return now - (since[severity] ?? now) >= settings.holdFor
        }
        let kept = Severity.raised.last { max(other, value) >= clear($0) } ?? .ok
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
    package static let raised: [Severity] = [.warning, .critical, .emergency]
}

extension Config.Levels {
    /// The level of a severity; that of `warning` for `ok`.
    package subscript(severity: Severity) -> Double {
        switch severity {
        case .ok, .warning: warning
        case .critical: critical
        case .emergency: emergency
        }
    }
}
