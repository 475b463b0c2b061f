package import Protocol

/// The states of breakers.
extension ChainJudge {
    /// A limit was exceeded.
    mutating func exceed(
        _ finding: Excess, _ envelope: Envelope, _ key: UInt64, at now: Timestamp
    ) {
        guard finding.verdict.stops else {
            report.notice(envelope.chainID, finding, counter.detail(key), at: now)
            return
        }
        guard makeRoom(at: now) else { return report.overflowed(at: now) }
        var item = Break(
            .chain(key), chainID: envelope.chainID, finding, at: now, until: now + cooldown)
        item.take(counter.detail(key), envelope)
        breaks[item.key] = item
        changes.append(BreakChange(kind: .tripped, after: item))
        if finding.verdict == .cycleDetected { breakPairs(of: item, at: now) }
        failTrial(envelope, finding, at: now)
    }

    /// Keeps a cycle from going on under another name, also when no action is set up for it: what is
    /// visibly like it does not pass between its agents.
    private mutating func breakPairs(of chain: Break, at now: Timestamp) {
        guard !chain.contents.isEmpty else { return }
        for pair in chain.pairs where breaks[.pair(pair)] == nil && makeRoom(at: now) {
            var item = Break(
                .pair(pair), chainID: chain.chainID, nil, at: chain.opened, until: chain.until)
            item.takeReason(of: chain)
            item.isForLikeOnly = true
            breaks[item.key] = item
            changes.append(BreakChange(kind: .tripped, after: item))
        }
    }

    /// Makes room for one more breaker: those whose time has been over for longest, and that nobody has
    /// tried since, are given up. Returns whether there is room.
    mutating func makeRoom(at now: Timestamp) -> Bool {
        guard breaks.count >= Self.breakLimit else { return true }
        guard now >= fullUntil else { return false }
        let over = breaks.values.filter { $0.state == .open && now >= $0.until }
            .map { (key: $0.key, until: $0.until) }.sorted { $0.until < $1.until }
        for item in over.prefix(Self.breakLimit / 16) { close(item.key, at: now) }
        if over.isEmpty { fullUntil = breaks.values.map(\.until).min() ?? now }
        return !over.isEmpty
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
        let contents = item.contents
        item.take(counter.detail(key), nil)
        // It has shown what it says again and again.
        item.contents = contents
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
            item.takeReason(of: chain)
            item.isForLikeOnly = false
            open(item, until: until, at: now)
        }
        return (until, chain.pairs)
    }

    private mutating func open(_ item: Break, until: Timestamp, at now: Timestamp) {
        guard breaks[item.key] != nil || makeRoom(at: now) else {
            return report.overflowed(at: now)
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

    mutating func reopen(_ key: BreakKey, because reason: String, at now: Timestamp) {
        guard var item = breaks[key] else { return }
        item.reopen(because: reason, at: now, until: now + cooldown)
        item.reopenings += 1
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

    /// A pair is broken for what its chain was.
    fileprivate mutating func takeReason(of chain: Break) {
        reason = chain.reason
        value = chain.value
        limit = chain.limit
        contents = chain.contents
        path = chain.path
        pairs = chain.pairs
    }

    /// Keeps what is known of the chain, for people and for its pairs.
    mutating func take(_ detail: ChainDetail?, _ envelope: Envelope?) {
        contents = []
        if let verdict, !verdict.isSure {
            contents = detail?.contents ?? []
            if contents.isEmpty, let content = envelope?.content { contents = [content] }
        }
        path = detail?.path ?? []
        if path.isEmpty { path = envelope?.path ?? [] }
        pairs = detail?.pairs ?? []
        if pairs.isEmpty, let pair = envelope?.pair { pairs = [pair] }
    }
}
