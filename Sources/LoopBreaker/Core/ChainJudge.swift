package import Protocol
package import Settings

/// Decides which messages of which chains may go on. Pure: time comes with each call.
///
/// Messages that have been sent are *observed* and counted; programs *ask* before they send, which counts
/// nothing; the relay *passes* messages on, which is both. A chain that exceeds a limit is broken for the
/// cool-down.
package struct ChainJudge: Sendable {
    /// Chains and pairs that may be broken at the same time. When there are more, chains are still held
    /// to their limits, but not broken for a time.
    static let breakLimit = 4096
    /// How many may try to pass beside a trial before it counts as failed.
    static let attemptLimit = 3
    /// How often a breaker opens again because of what was held back, and not because of what passed.
    static let patience = 3
    /// The longest time for which a trial is watched, and after which a broken chain that does nothing
    /// counts as calm.
    static let longestTrial: Duration = .seconds(10)
    /// How long it may take to find out whether a trial may pass.
    static let claimTime: Duration = .seconds(10)

    var counter: ChainCounter
    var limits: Config.LoopLimits
    var cooldown: Duration
    var breaks: [BreakKey: Break] = [:]
    /// What others are to be told, in order; taken out by the shell.
    var changes: [BreakChange] = []
    var report = Report()
    /// When this memory began.
    var began: Timestamp
    /// No breaker can be given up for another before that.
    var fullUntil: Timestamp
    /// Whether others share these breakers, so that a trial has to be settled with them.
    package var isShared = false

    /// A judge without any memory.
    package init(
        limits: Config.LoopLimits, cooldown: Duration, chainLimit: Int = 1 << 20,
        detailLimit: Int = 8192, at now: Timestamp
    ) {
        self.limits = limits
        self.cooldown = cooldown
        counter = ChainCounter(limit: chainLimit, detailLimit: detailLimit, at: now)
        began = now
        fullUntil = now
    }

    /// The clock was put right: everything that is known was that much later than it seemed.
    package mutating func shift(by step: Duration) {
        counter.shift(by: step)
        report.shift(by: step)
        began = began + step
        fullUntil = fullUntil + step
        for key in breaks.keys { breaks[key]?.shift(by: step) }
    }

    /// Takes over new settings; what is broken stays so.
    package mutating func apply(limits: Config.LoopLimits, cooldown: Duration) {
        self.limits = limits
        self.cooldown = cooldown
    }

    /// How long a trial is watched.
    var trialTime: Duration { min(cooldown, Self.longestTrial) }

    /// A message has been sent.
    package mutating func observe(_ envelope: Envelope, at now: Timestamp) {
        let key = ChainTable.key(envelope.chainID)
        let isBroken = passBroken(envelope, key, at: now)
        let measure = counter.measure(envelope, key, at: now)
        counter.add(envelope, key, measure, at: now)
        guard let finding = limits.finding(measure) else { return }
        if isBroken {
            worsen(key, finding, at: now)
        } else {
            exceed(finding, envelope, key, at: now)
        }
    }

    /// A program wants to know whether it may send a message.
    package mutating func ask(_ envelope: Envelope, at now: Timestamp) -> Answer {
        let key = ChainTable.key(envelope.chainID)
        if case .answer(let answer) = gate(envelope, key, isMessage: false, at: now) {
            return answer
        }
        let measure = counter.measure(envelope, key, at: now)
        if let answer = judge(measure, envelope, key, at: now) { return answer }
        // So that it is known to be older than a pair that breaks later.
        counter.touch(key, at: now)
        return .allow
    }

    /// The relay wants to pass a message on: counted when it may. A trial is counted by `settle`.
    package mutating func pass(_ envelope: Envelope, at now: Timestamp) -> Answer {
        let key = ChainTable.key(envelope.chainID)
        let passage = gate(envelope, key, isMessage: true, at: now)
        if case .answer(let answer) = passage { return answer }
        let measure = counter.measure(envelope, key, at: now)
        if case .clear = passage, let answer = judge(measure, envelope, key, at: now) {
            return answer
        }
        counter.add(envelope, key, measure, at: now)
        return .allow
    }

    /// Says whether a trial may pass, once that is known. `isMessage`: it is sent with this, and counted.
    package mutating func settle(
        _ trial: Trial, granted: Bool, isMessage: Bool, at now: Timestamp
    ) -> Answer {
        guard granted else {
            for key in trial.keys { breaks[key]?.claimedAt = nil }
            return .deny(
                reason:
                    "another trial of chain \(Name.quoted(trial.envelope.chainID)) is under way",
                until: now + trialTime)
        }
        for key in trial.keys { beginTrial(key, trial.envelope, isSent: isMessage, at: now) }
        if isMessage {
            let key = ChainTable.key(trial.envelope.chainID)
            let measure = counter.measure(trial.envelope, key, at: now)
            counter.add(trial.envelope, key, measure, at: now)
        }
        return .allow
    }

    /// Lets time pass: breakers close, old chains are forgotten.
    package mutating func tick(at now: Timestamp) {
        for (key, item) in breaks {
            if item.state == .halfOpen, now >= item.until { close(key, at: now) }
            // Nobody has come back.
            if item.state == .open, now >= item.until + Self.forgetAfter { close(key, at: now) }
        }
        counter.sweep(at: now)
        report.forget(at: now)
    }

    /// After this long without a trial a breaker is closed.
    static let forgetAfter: Duration = .seconds(600)

    /// Whether `tick` has something to look after.
    package var hasBreaks: Bool { !breaks.isEmpty || report.hasRecovered }

    private mutating func judge(
        _ measure: Measure, _ envelope: Envelope, _ key: UInt64, at now: Timestamp
    ) -> Answer? {
        guard let finding = limits.finding(measure) else { return nil }
        exceed(finding, envelope, key, at: now)
        guard finding.verdict.stops else { return nil }
        return .deny(reason: finding.reason, until: now + cooldown)
    }
}
