package import Protocol

/// The states of breakers.
extension ChainJudge {
    /// The breakers that a message has to do with.
    ///
    /// A broken pair stops what is like the chain that ran away: chains that were there before it broke go
    /// on, and so do those that say something else.
    func concerned(_ envelope: Envelope, _ key: UInt64, at now: Timestamp) -> [BreakKey] {
        guard !breaks.isEmpty else { return [] }
        var keys: [BreakKey] = []
        if breaks[.chain(key)] != nil { keys.append(.chain(key)) }
        if let pair = envelope.pair, let item = breaks[.pair(pair)] {
            let isSame = item.chainID == envelope.chainID
            let isOlder = counter.firstSeen(key).map {
                $0 <= counter.table.ticks(item.opened)
            }
            let isOther = envelope.content.map { content in
                !item.contents.isEmpty && !item.contents.contains { $0.isLike(content) }
            }
            if !isSame, isOlder != true, isOther != true { keys.append(.pair(pair)) }
        }
        return keys
    }

    /// What the breakers say to a message that has not been sent; `nil`: they have nothing against it.
    mutating func gate(_ envelope: Envelope, _ key: UInt64, at now: Timestamp) -> Answer? {
        var ready: [BreakKey] = []
        for broken in concerned(envelope, key, at: now) {
            guard let item = breaks[broken] else { continue }
            switch item.state {
            case .open where now < item.until:
                return .deny(reason: item.text, until: item.until)
            case .open:
                if let claimed = item.claimedAt, now < claimed + Self.claimTime {
                    return .deny(
                        reason: "\(item.text); a trial is under way", until: now + trialTime)
                }
                ready.append(broken)
            case .halfOpen where now < item.until:
                attempt(broken, at: now)
                guard let item = breaks[broken] else { continue }
                let trial = item.state == .halfOpen ? "; a trial is under way" : ""
                return .deny(reason: item.text + trial, until: item.until)
            case .halfOpen: close(broken, at: now)
            case .closed: break
            }
        }
        guard !ready.isEmpty else { return nil }
        let trial = Trial(keys: ready, envelope: envelope)
        for broken in ready { breaks[broken]?.claimedAt = now }
        return .trial(trial)
    }

    /// A limit was exceeded.
    mutating func exceed(
        _ finding: Excess, _ envelope: Envelope, _ key: UInt64, at now: Timestamp
    ) {
        guard finding.verdict.stops else {
            report.notice(envelope.chainID, finding, counter.detail(key), at: now)
            return
        }
        guard breaks.count < Self.breakLimit else {
            report.overflow += 1
            return
        }
        var item = Break(
            .chain(key), chainID: envelope.chainID, finding, at: now, until: now + cooldown)
        item.take(counter.detail(key), envelope)
        breaks[item.key] = item
        changes.append(BreakChange(kind: .tripped, after: item))
    }

    /// A chain that was broken for what it looked like runs on over a limit: that is what is told now,
    /// since what is to be done may differ.
    func isWorse(_ finding: Excess, than item: Break) -> Bool {
        guard let verdict = item.verdict else { return false }
        return finding.verdict.isSure && !verdict.isSure
    }

    mutating func worsen(_ key: UInt64, _ finding: Excess, at now: Timestamp) {
        guard var item = breaks[.chain(key)], isWorse(finding, than: item) else { return }
        report.recovered(item, at: now)
        item.verdict = finding.verdict
        item.value = finding.value
        item.limit = finding.limit
        item.reason = finding.reason
        item.isTold = false
        item.take(counter.detail(key), nil)
        breaks[.chain(key)] = item
        changes.append(BreakChange(kind: .worsened, after: item))
    }

    /// Breaks a chain because a command says so, and the pairs between which it goes; anew when it is
    /// broken already. Returns what is broken.
    package mutating func command(
        _ chainID: String, pairs named: [Pair], forgetting: Bool, at now: Timestamp
    ) -> (until: Timestamp, pairs: [Pair]) {
        let key = ChainTable.key(chainID)
        let until = now + cooldown
        var chain =
            breaks[.chain(key)] ?? Break(.chain(key), chainID: chainID, nil, at: now, until: until)
        if breaks[.chain(key)] == nil { chain.take(counter.detail(key), nil) }
        if !named.isEmpty { chain.pairs = named }
        if forgetting { counter.forget(key) }
        open(chain, until: until, at: now)
        for pair in chain.pairs {
            var item =
                breaks[.pair(pair)]
                ?? Break(.pair(pair), chainID: chainID, nil, at: chain.opened, until: until)
            item.reason = chain.reason
            item.contents = chain.contents
            item.path = chain.path
            item.pairs = chain.pairs
            open(item, until: until, at: now)
        }
        return (until, chain.pairs)
    }

    private mutating func open(_ item: Break, until: Timestamp, at now: Timestamp) {
        guard breaks[item.key] != nil || breaks.count < Self.breakLimit else {
            report.overflow += 1
            return
        }
        var item = item
        // It is as calm as it was: breaking it again is no sign of life.
        let (lastPassed, isTold) = (item.lastPassed, item.isTold)
        item.reopen(because: item.reason, at: now, until: until)
        item.lastPassed = lastPassed
        item.isTold = isTold
        item.owner = .ours
        item.commands += 1
        breaks[item.key] = item
        changes.append(BreakChange(kind: .commanded, after: item))
    }

    /// The trial passes. One that itself is over a limit has failed already.
    mutating func beginTrial(_ key: BreakKey, _ envelope: Envelope, at now: Timestamp) {
        guard var item = breaks[key] else { return }
        item.beginTrial(at: now, until: now + trialTime)
        var claims = Measure()
        claims.depth = max(envelope.depth ?? 0, envelope.pathCount - 1)
        claims.iteration = envelope.iteration ?? 0
        claims.tokens = envelope.tokens
        breaks[key] = item
        if let finding = limits.finding(claims) {
            reopen(key, because: "the trial failed: \(finding.reason)", at: now)
        } else {
            changes.append(BreakChange(kind: .trial, after: item))
        }
    }

    /// Somebody tries to pass beside the trial.
    mutating func attempt(_ key: BreakKey, at now: Timestamp) {
        guard let item = breaks[key] else { return }
        guard now < item.until else { return close(key, at: now) }
        breaks[key]?.attempts += 1
        guard item.attempts >= Self.attemptLimit else { return }
        reopen(key, because: "the trial failed: the chain ran on at once", at: now)
    }

    mutating func reopen(_ key: BreakKey, because reason: String, at now: Timestamp) {
        guard var item = breaks[key] else { return }
        item.reopen(because: reason, at: now, until: now + cooldown)
        breaks[key] = item
        changes.append(BreakChange(kind: .reopened, after: item))
    }

    /// All is well again: the chain begins anew.
    mutating func close(_ key: BreakKey, at now: Timestamp) {
        guard var item = breaks.removeValue(forKey: key) else { return }
        if case .chain(let chain) = key { counter.forget(chain) }
        item.state = .closed
        report.recovered(item, at: now)
        changes.append(BreakChange(kind: .closed, after: item))
    }
}

extension Break {
    /// What programs that ask are told.
    var text: String {
        guard let pair else { return reason }
        return "the pair \(pair.text) is broken because of chain \(Name.quoted(chainID)): \(reason)"
    }

    /// Keeps what is known of the chain, for people and for its pairs.
    mutating func take(_ detail: ChainDetail?, _ envelope: Envelope?) {
        contents = detail?.contents ?? []
        if contents.isEmpty, let content = envelope?.content { contents = [content] }
        path = detail?.path ?? []
        if path.isEmpty { path = envelope?.path ?? [] }
        pairs = detail?.pairs ?? []
        if pairs.isEmpty, let pair = envelope?.pair { pairs = [pair] }
    }
}
