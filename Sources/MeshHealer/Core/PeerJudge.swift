package import Protocol

/// Judges one peer, from one look to the next. Pure: time comes with the facts.
///
/// An echo through the tunnel decides; the age of the handshake alone proves nothing, since an idle
/// tunnel without keepalive ages for ever and is healthy. While echoes are lost, the counters tell what
/// kind of fault it is: steps of 148 bytes in what is received are the peer's attempts to shake hands,
/// steps of 32 its signs of life inside a session that still stands. Counters that go back were reset by
/// a new configuration: the watch begins anew.
package struct PeerJudge: Sendable {
    /// How long counters are watched before they tell anything.
    package static let watchTime: Duration = .seconds(20)
    /// Signs of life come every ten seconds; older ones than this count no more.
    static let signTime: Duration = .seconds(30)
    /// An attempt to shake hands that is answered leads to a session within a round trip. One that is not is
    /// repeated after 5 s and up to a third of one more (`REKEY_TIMEOUT` and its jitter, WireGuard's paper, section
    /// 6.1), and the second may succeed.
    package static let answerTime: Duration = .seconds(7)
    /// After this a session carries nothing more.
    package static let deadAge: Duration = .seconds(180)
    /// As many lost echoes in a row begin a trouble: one may always be lost.
    package static let lostLimit = 2

    /// What has been seen since echoes are lost.
    private struct Trouble {
        var since: Timestamp
        var handshake: Int64
        var received: UInt64
        var sent: UInt64
        /// When it began anew with a new session.
        var renewedAt: Timestamp?
        /// When a step of the peer's attempts to shake hands was seen.
        var attempts: [Timestamp] = []
        /// When signs of life were seen.
        var signs: [Timestamp] = []
        /// When anything else was received: data.
        var data: [Timestamp] = []
    }

    private var last: PeerFacts?
    private var trouble: Trouble?
    /// The way to the endpoint has gone since the last answer.
    private var lostUnderlay: (reason: String, since: Timestamp)?
    /// The handshake there had been when the address to ask was new: nothing had been asked by then.
    private var earlier: (target: String, handshake: Int64)?

    package init() {}

    /// Takes the facts of one look.
    package mutating func observe(_ facts: PeerFacts, at now: Timestamp) -> PeerVerdict {
        defer { last = facts }
        if earlier?.target != facts.echo.target {
            earlier = (facts.echo.target, facts.handshake)
        }
        followUnderlay(facts, at: now)
        if let verdict = plain(facts, at: now) {
            trouble = nil
            return verdict
        }
        watch(facts, at: now)
        guard let trouble else { return PeerVerdict(.unknown("echoes have only just been lost")) }
        var verdict = judge(facts, trouble, at: now)
        let age = now - Timestamp(seconds: facts.handshake)
        verdict.isDead = facts.handshake == 0 || age > Self.deadAge
        if case .faulty = verdict.state { verdict.evidence = evidence(facts, trouble, at: now) }
        return verdict
    }

    /// What can be said without watching; `nil`: echoes are being lost.
    private func plain(_ facts: PeerFacts, at now: Timestamp) -> PeerVerdict? {
        if let obstacle = facts.echo.obstacle {
            var verdict = PeerVerdict(.unknown("no echo can be made: \(obstacle)"))
            verdict.isMoot = true
            return verdict
        }
        if let trouble = facts.echo.ownTrouble {
            return PeerVerdict(.unknown("this process can send no echo: \(trouble)"))
        }
        guard facts.echo.firstSentAt != nil else { return PeerVerdict(.unknown("not asked yet")) }
        let isUnderlayGone = lostUnderlay != nil && !facts.isRoaming
        if facts.echo.lost == 0, !isUnderlayGone, facts.routeFault == nil {
            return PeerVerdict(.healthy)
        }
        // Wherever it is, and whether it sleeps: nobody misses it. Nor a way to one that never was here.
        if facts.isRoaming, facts.routeFault == nil || facts.handshake == 0 {
            return PeerVerdict(.away)
        }
        if isUnderlayGone || facts.routeFault != nil { return nil }
        guard facts.echo.answeredAt == nil else { return nil }
        // It has never answered an echo, and perhaps never will: many hosts do not.
        if facts.endpoint == nil { return PeerVerdict(.unknown("its endpoint is not known")) }
        let age = now - Timestamp(seconds: facts.handshake)
        guard facts.handshake != 0, age <= Self.deadAge else { return nil }
        // One from before it was asked says nothing of how it is now: perhaps it died since.
        let lostSince = facts.echo.lostSince?.seconds ?? .max
        guard facts.handshake != earlier?.handshake, facts.handshake >= lostSince else {
            return PeerVerdict(.unknown("it has not answered an echo yet, nor shaken hands since"))
        }
        var verdict = PeerVerdict(.healthy)
        verdict.isByHandshake = true
        return verdict
    }

    /// Whether the way to the endpoint was there and has gone.
    private mutating func followUnderlay(_ facts: PeerFacts, at now: Timestamp) {
        guard case .gone(let reason) = facts.underlay else {
            lostUnderlay = nil
            return
        }
        if case .there? = last?.underlay { lostUnderlay = (reason, now) }
        // An answer to what was asked after the loss says that there is another way, which rules know.
        if let lost = lostUnderlay, let answered = facts.echo.answeredAt, answered > lost.since {
            lostUnderlay = nil
        }
    }

    /// Follows the counters.
    private mutating func watch(_ facts: PeerFacts, at now: Timestamp) {
        let isReset = last.map { facts.received < $0.received || facts.sent < $0.sent } ?? false
        guard var trouble, !isReset, let last else {
            // Echoes may be lost for longer; what the counters did meanwhile is not known.
            self.trouble = Trouble(
                since: now, handshake: facts.handshake, received: facts.received, sent: facts.sent)
            return
        }
        // The end of most troubles is a new session, and the echo comes only after it: what was seen before
        // says nothing any more. Not each time: sessions may come and go all the while.
        let isSettled = trouble.renewedAt.map { now - $0 >= Self.watchTime * 2 } ?? true
        if facts.handshake > trouble.handshake, isSettled {
            self.trouble = Trouble(
                since: now, handshake: facts.handshake, received: facts.received, sent: facts.sent,
                renewedAt: now)
            return
        }
        let step = facts.received - last.received
        let isNewSession = facts.handshake != last.handshake
        if step > 0 {
            switch Self.kind(ofStep: step) {
            case .attempt where !isNewSession: Self.note(&trouble.attempts, now)
            case .sign where !isNewSession: Self.note(&trouble.signs, now)
            default: Self.note(&trouble.data, now)
            }
        }
        self.trouble = trouble
    }

    private static func note(_ times: inout [Timestamp], _ now: Timestamp) {
        times.append(now)
        // The last few are all that is asked for.
        if times.count > 8 { times.removeFirst() }
    }

    package enum Step: Sendable, Equatable { case attempt, sign, data }

    /// What the peer has sent, from the number of bytes that came: attempts to shake hands have 148,
    /// signs of life have 32, and data is a multiple of 16 that begins with 32.
    package static func kind(ofStep step: UInt64) -> Step {
        if step % 32 == 0, step <= 32 * 4 { return .sign }
        for attempts in 1...7 as ClosedRange<UInt64> {
            guard step >= attempts * 148 else { break }
            let rest = step - attempts * 148
            if rest % 32 == 0, rest <= 32 * 4 { return .attempt }
        }
        return .data
    }

    private func judge(
        _ facts: PeerFacts, _ trouble: Trouble, at now: Timestamp
    ) -> PeerVerdict {
        // What is plainly wrong on this side needs no watching.
        if let lost = lostUnderlay, !facts.isRoaming {
            return fault(
                .unreachable, "underlay", "the way to its endpoint is gone: \(lost.reason)")
        }
        if let reason = facts.routeFault {
            return fault(
                .unreachable, "local_route",
                "this node does not route its address into the tunnel: \(reason)")
        }
        // Unless all were lost before: while the tunnel was switched off nothing could be sent.
        let isSince = (facts.echo.lastLostAt ?? now) >= trouble.since
        if let reason = facts.echo.notSent, facts.echo.lost >= Self.lostLimit, isSince {
            return fault(.unreachable, "local_send", "this node cannot send to it: \(reason)")
        }
        guard facts.echo.lost >= Self.lostLimit, now - trouble.since >= Self.watchTime else {
            return PeerVerdict(.unknown("echoes are lost; the counters are being watched"))
        }
        func recent(_ times: [Timestamp]) -> Int { times.count { now - $0 <= Self.signTime } }
        // Data that came after the last echo may be the end of the trouble: the next echo tells.
        let asked = facts.echo.lastLostAt ?? now
        let isNewSession = facts.handshake > trouble.handshake
        if !trouble.attempts.isEmpty, !isNewSession {
            // The first may be the end of the trouble.
            guard trouble.attempts.contains(where: { now - $0 >= Self.answerTime }) else {
                return PeerVerdict(.unknown("it shakes hands: whether that succeeds is not known"))
            }
            return facts.sent == trouble.sent
                ? fault(
                    .oneWay, "local_send",
                    "it sends, and nothing of ours leaves for it: look at this node's firewall")
                : fault(
                    .oneWay, "remote",
                    "it sends and does not hear us: its attempts to shake hands arrive, ours do not"
                )
        }
        let isAlive = recent(trouble.signs) >= 2 || recent(trouble.data.filter { $0 <= asked }) > 0
        if isAlive || isNewSession && now - Timestamp(seconds: facts.handshake) < Self.deadAge {
            return fault(
                .filtered, "remote",
                "the tunnel is alive, but nothing comes out of it: look at the firewall, the "
                    + "allowed IPs and the tunnel's interface over there")
        }
        if recent(trouble.signs) == 1, now - trouble.since < Self.signTime {
            return PeerVerdict(.unknown("one sign of life is too little to tell"))
        }
        if facts.sent == trouble.sent {
            return fault(
                .unreachable, "local_send",
                "nothing leaves for it: look at this node's links and firewall, and at the allowed IPs"
            )
        }
        return fault(
            .unreachable, "remote",
            "nothing comes from it: it is down, cut off, or does not know our key")
    }

    private func fault(_ fault: PeerFault, _ cause: String, _ meaning: String) -> PeerVerdict {
        var verdict = PeerVerdict(.faulty(fault))
        verdict.cause = cause
        verdict.meaning = meaning
        return verdict
    }

    private func evidence(
        _ facts: PeerFacts, _ trouble: Trouble, at now: Timestamp
    ) -> JSON.Object {
        var evidence: JSON.Object = [
            "echo_target": .string(facts.echo.target),
            "echoes_lost": .integer(Int64(facts.echo.lost)),
            "watched_s": .integer((now - trouble.since).components.seconds),
            "received": .integer(Int64(clamping: facts.received &- trouble.received)),
            "sent": .integer(Int64(clamping: facts.sent &- trouble.sent)),
            "handshake_attempts_heard": .integer(Int64(trouble.attempts.count)),
            "signs_of_life": .integer(Int64(trouble.signs.count)),
        ]
        if let answered = facts.echo.answeredAt {
            evidence["last_answer_s"] = .integer((now - answered).components.seconds)
        }
        if facts.handshake != 0 {
            let age = now - Timestamp(seconds: facts.handshake)
            evidence["handshake_age_s"] = .integer(age.components.seconds)
        }
        evidence["endpoint"] = facts.endpoint.map(JSON.string)
        evidence["not_sent"] = facts.echo.notSent.map(JSON.string)
        return evidence
    }
}
