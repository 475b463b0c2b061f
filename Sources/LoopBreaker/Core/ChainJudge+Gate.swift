import Protocol

/// What stands in a message's way.
extension ChainJudge {
    /// What the breakers say to a message that has not been sent.
    enum Passage {
        /// They have nothing against it.
        case clear
        /// It is the trial that was allowed when its program asked; it has been judged by that.
        case trial
        case answer(Answer)
    }

    /// The breakers that a message has to do with.
    ///
    /// A broken pair stops what is like the chain that ran away: chains that were there before it broke go
    /// on, and so do those that visibly say something else, when it ran away by saying the same. A message
    /// without anything to compare, such as a question that does not bring its text, is taken for what its
    /// chain said last.
    func concerned(_ envelope: Envelope, _ key: UInt64, at now: Timestamp) -> [BreakKey] {
        guard !breaks.isEmpty else { return [] }
        var keys: [BreakKey] = []
        if breaks[.chain(key)] != nil { keys.append(.chain(key)) }
        if let pair = envelope.pair, let item = breaks[.pair(pair)],
            item.chainID != envelope.chainID, isConcerned(item, envelope, key, at: now)
        {
            keys.append(.pair(pair))
        }
        return keys
    }

    /// Whether a chain between the two agents of a broken pair is held back.
    private func isConcerned(
        _ item: Break, _ envelope: Envelope, _ key: UInt64, at now: Timestamp
    ) -> Bool {
        let isLike = item.isLike(envelope.content ?? counter.lastSaid(key))
        if isLike == false || (item.isForLikeOnly && isLike != true) { return false }
        if let isOlder = counter.isOlder(key, than: item.opened, at: now) { return !isOlder }
        // What was there before this agent began to remember, it cannot know: in doubt it is let alone.
        return isLike == true || item.opened >= began
    }

    /// What the breakers say to a message that has not been sent. `isMessage`: it is sent with this.
    mutating func gate(
        _ envelope: Envelope, _ key: UInt64, isMessage: Bool, at now: Timestamp
    ) -> Passage {
        let concerned = concerned(envelope, key, at: now)
        guard !concerned.isEmpty else { return .clear }
        // Who says itself that it is over a limit is nobody's trial.
        let excess = limits.finding(Measure(claimedBy: envelope))
        var ready: [BreakKey] = []
        var awaited: BreakKey?
        for broken in concerned {
            guard let item = breaks[broken] else { continue }
            switch item.state {
            case .open where now < item.until:
                return .answer(.deny(reason: item.text, until: item.until))
            case .open:
                if let claimed = item.claimedAt, now < claimed + Self.claimTime {
                    return .answer(
                        .deny(
                            reason: "\(item.text); a trial is under way", until: now + trialTime))
                }
                guard let excess else {
                    ready.append(broken)
                    break
                }
                // Another chain between two agents is judged by itself.
                if item.pair != nil { continue }
                return .answer(.deny(reason: excess.reason, until: now + cooldown))
            case .halfOpen where now < item.until:
                if item.isTrial(envelope), item.pair != nil || excess == nil {
                    if isMessage, item.pair == nil { awaited = broken }
                    if item.pair != nil || isMessage { continue }
                }
                attempt(broken, envelope, wasSent: false, at: now)
                guard let item = breaks[broken] else { continue }
                let trial = item.state == .halfOpen ? "; a trial is under way" : ""
                return .answer(.deny(reason: item.text + trial, until: item.until))
            case .halfOpen: close(broken, at: now)
            case .closed: break
            }
        }
        guard !ready.isEmpty else {
            if let awaited { breaks[awaited]?.awaitsTrial = false }
            return awaited == nil ? .clear : .trial
        }
        for broken in ready { breaks[broken]?.claimedAt = now }
        return .answer(.trial(Trial(keys: ready, envelope: envelope)))
    }

    /// Takes note of a message that has been sent though a breaker concerns it. Returns whether its chain
    /// is broken already.
    mutating func passBroken(_ envelope: Envelope, _ key: UInt64, at now: Timestamp) -> Bool {
        var isBroken = false
        for broken in concerned(envelope, key, at: now) {
            guard let item = breaks[broken] else { continue }
            if item.pair == nil { isBroken = true }
            switch item.state {
            case .open where now >= item.until:
                // Nobody asked, so this is the trial.
                beginTrial(broken, envelope, isSent: true, at: now)
            case .open:
                breaks[broken]?.lastPassed = now
                slipThrough(broken, envelope, key)
            case .halfOpen where item.isTrial(envelope):
                guard item.pair == nil else { continue }
                breaks[broken]?.awaitsTrial = false
                if let finding = limits.finding(Measure(claimedBy: envelope)) {
                    reopen(broken, because: "the trial failed: \(finding.reason)", at: now)
                }
            case .halfOpen: attempt(broken, envelope, wasSent: true, at: now)
            case .closed: break
            }
        }
        return isBroken
    }

    /// A chain asked without its text, was let between two agents that are only broken for the like, and
    /// now says just that. One may do so by chance; when more come, the runaway goes on under new names,
    /// and nobody is let through any more who has not said anything else.
    private mutating func slipThrough(_ key: BreakKey, _ envelope: Envelope, _ chain: UInt64) {
        guard var item = breaks[key], item.isForLikeOnly, counter.hasOnlyAsked(chain),
            item.isLike(envelope.content) == true
        else { return }
        item.attempts += 1
        item.isForLikeOnly = item.attempts <= Self.attemptLimit
        breaks[key] = item
        guard !item.isForLikeOnly else { return }
        changes.append(BreakChange(kind: .worsened, after: item))
    }

    /// The trial passes, or is allowed to (`isSent`: it has been sent). One that itself is over a limit
    /// has failed already.
    mutating func beginTrial(
        _ key: BreakKey, _ envelope: Envelope, isSent: Bool, at now: Timestamp
    ) {
        guard var item = breaks[key] else { return }
        item.beginTrial(of: envelope.chainID, at: now, until: now + trialTime)
        item.awaitsTrial = !isSent
        breaks[key] = item
        if let finding = limits.finding(Measure(claimedBy: envelope)) {
            reopen(key, because: "the trial failed: \(finding.reason)", at: now)
        } else {
            changes.append(BreakChange(kind: .trial, after: item))
        }
    }

    /// Somebody tries to pass beside the trial: what was sent counts, what was held back only a few
    /// times in a row. Between two agents others are held back, too, but say nothing about the runaway.
    mutating func attempt(
        _ key: BreakKey, _ envelope: Envelope, wasSent: Bool, at now: Timestamp
    ) {
        guard let item = breaks[key] else { return }
        guard now < item.until else { return close(key, at: now) }
        if item.pair != nil, item.isLike(envelope.content) != true { return }
        if !wasSent, item.reopenings >= Self.patience { return }
        breaks[key]?.attempts += 1
        guard item.attempts >= Self.attemptLimit else { return }
        reopen(key, because: "the trial failed: the chain ran on at once", at: now)
        guard wasSent, let pair = item.pair else { return }
        // It is that chain now which people have to know of.
        let chain = ChainTable.key(envelope.chainID)
        guard breaks[.chain(chain)] == nil else { return }
        var finding = Excess(
            .cycleDetected, item.attempts + 1, over: Self.attemptLimit, "messages")
        finding.reason =
            "it goes on between \(pair.text) like chain \(Name.quoted(item.chainID))"
        exceed(finding, envelope, chain, at: now)
    }

    /// A chain that was let between two agents on trial is over a limit itself.
    mutating func failTrial(_ envelope: Envelope, _ finding: Excess, at now: Timestamp) {
        guard let pair = envelope.pair, let item = breaks[.pair(pair)], item.state == .halfOpen,
            item.trialChain == envelope.chainID
        else { return }
        reopen(.pair(pair), because: "the trial failed: \(finding.reason)", at: now)
    }
}

extension Break {
    /// Whether somebody says what the chain said that ran away; `nil`: there is nothing to compare.
    func isLike(_ content: Content?) -> Bool? {
        guard let content, !contents.isEmpty else { return nil }
        return contents.contains { $0.isLike(content) }
    }

    /// Whether a message is the trial: for a chain the one that was allowed before it was sent, between
    /// two agents all of the chain that is tried.
    fileprivate func isTrial(_ envelope: Envelope) -> Bool {
        trialChain == envelope.chainID && (pair != nil || awaitsTrial)
    }
}
