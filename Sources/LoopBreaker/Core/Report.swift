package import Antibody
package import Protocol

/// What there is to tell people about chains, beside the breakers themselves.
struct Report: Sendable {
    /// Chains that are told of at the same time; more are counted.
    static let symptomLimit = 64
    static let noticeLimit = 64
    static let recoveredLimit = 512
    /// How long it is told that a chain has calmed down; once is enough, but a look may fail.
    static let recoveredFor: Duration = .seconds(60)
    /// How long a chain without progress is told of after its last message.
    static let noticeFor: Duration = .seconds(60)

    struct Notice: Sendable {
        var finding: Excess
        var path: [String]
        var at: Timestamp
    }

    struct Thing: Sendable, Hashable, Comparable {
        var type: String
        var resource: String

        static func < (left: Thing, right: Thing) -> Bool {
            (left.type, left.resource) < (right.type, right.resource)
        }
    }

    private(set) var notices: [String: Notice] = [:]
    private(set) var recovered: [Thing: Timestamp] = [:]
    /// Chains that could not be broken for a time, for want of room.
    private(set) var overflow = 0
    private var overflowedAt: Timestamp?

    var hasRecovered: Bool { !recovered.isEmpty || !notices.isEmpty }

    /// There was no room for one more breaker.
    mutating func overflowed(at now: Timestamp) {
        overflow += 1
        overflowedAt = now
    }

    /// Whether there was no room lately; `nil`: there always was, or it was told that there is again.
    func isOverflowing(at now: Timestamp) -> Bool? {
        guard let overflowedAt, now < overflowedAt + Self.overflowFor * 2 else { return nil }
        return now < overflowedAt + Self.overflowFor
    }

    /// How long it is told that there was no room, and then that there is.
    private static let overflowFor: Duration = .seconds(60)

    /// The clock was put right by so much.
    mutating func shift(by step: Duration) {
        overflowedAt = overflowedAt.map { $0 + step }
        notices = notices.mapValues { notice in
            var notice = notice
            notice.at = notice.at + step
            return notice
        }
        recovered = recovered.mapValues { $0 + step }
    }

    /// Something to tell of a chain that goes on.
    mutating func notice(
        _ chainID: String, _ finding: Excess, _ detail: ChainDetail?, at now: Timestamp
    ) {
        guard notices[chainID] != nil || notices.count < Self.noticeLimit else { return }
        notices[chainID] = Notice(finding: finding, path: detail?.path ?? [], at: now)
    }

    /// A chain has calmed down, or is somebody else's to tell of.
    mutating func recovered(_ item: Break, at now: Timestamp) {
        guard item.pair == nil, item.owner != .other, let verdict = item.verdict else { return }
        guard recovered.count < Self.recoveredLimit else { return }
        recovered[Thing(type: verdict.rawValue, resource: item.chainID)] = now
    }

    /// A chain runs again.
    mutating func relapsed(_ item: Break) {
        guard let verdict = item.verdict else { return }
        recovered[Thing(type: verdict.rawValue, resource: item.chainID)] = nil
    }

    mutating func forget(at now: Timestamp) {
        for (chainID, notice) in notices where now >= notice.at + Self.noticeFor {
            notices[chainID] = nil
            guard recovered.count < Self.recoveredLimit else { continue }
            let type = notice.finding.verdict.rawValue
            recovered[Thing(type: type, resource: chainID)] = now
        }
        recovered = recovered.filter { now < $0.value + Self.recoveredFor }
    }
}

extension ChainJudge {
    /// How long nothing may have passed for a broken chain to be calm.
    var calmTime: Duration { min(cooldown, Self.longestTrial) }

    /// How long it may take to find out who tells of a broken chain; then this agent does.
    static let decisionTime: Duration = .seconds(1)

    /// The breakers that there is something to tell of: of those that are not calm some, and such first
    /// that nobody has been told of; of the others more.
    private func told(at now: Timestamp) -> (raised: [Break], calm: [Break]) {
        let items = breaks.values.filter { $0.verdict != nil && $0.pair == nil }
            .filter { item in
                item.owner == .ours
                    || (item.owner == .undecided && now >= item.since + Self.decisionTime)
            }
            .sorted { ($0.opened, $0.chainID) < ($1.opened, $1.chainID) }
        let calm = items.filter { isCalm($0, at: now) }
        let raised = items.filter { !isCalm($0, at: now) }
        let told = (raised.filter { !$0.isTold } + raised.filter(\.isTold))
            .prefix(Report.symptomLimit)
        return (Array(told), calm.suffix(Report.recoveredLimit))
    }

    /// What `symptoms` amounts to, without all that it says: quick, for whoever looks often.
    package func outline(at now: Timestamp) -> [AlertKeeper.Key: Severity] {
        var outline: [AlertKeeper.Key: Severity] = [:]
        func add(_ verdict: Verdict, _ chainID: String, _ severity: Severity) {
            outline[AlertKeeper.Key(type: verdict.rawValue, resource: chainID)] = severity
        }
        let (raised, calm) = told(at: now)
        for item in raised {
            if let verdict = item.verdict { add(verdict, item.chainID, verdict.severity) }
        }
        for item in calm {
            if let verdict = item.verdict { add(verdict, item.chainID, .ok) }
        }
        for (chainID, notice) in report.notices {
            add(notice.finding.verdict, chainID, notice.finding.verdict.severity)
        }
        for thing in report.recovered.keys {
            let key = AlertKeeper.Key(type: thing.type, resource: thing.resource)
            outline[key] = outline[key] ?? .ok
        }
        return outline
    }

    /// The state of the chains that are broken, or were until lately.
    package func symptoms(at now: Timestamp) -> [Symptom] {
        let (raised, calm) = told(at: now)
        var symptoms = (raised + calm).map { symptom($0, at: now) }
        for (chainID, notice) in report.notices.sorted(by: { $0.key < $1.key }) {
            symptoms.append(Self.symptom(chainID, notice))
        }
        let known = Set(symptoms.map { Report.Thing(type: $0.type, resource: $0.resource) })
        for thing in report.recovered.keys.sorted() where !known.contains(thing) {
            symptoms.append(
                Symptom(
                    type: thing.type, resource: thing.resource, severity: .ok,
                    message: "the chain has calmed down"))
        }
        return symptoms
    }

    /// As `symptoms`, for those that are going to be told.
    package mutating func tell(at now: Timestamp) -> [Symptom] {
        let symptoms = symptoms(at: now)
        for symptom in symptoms where (symptom.severity ?? .ok) > .ok {
            breaks[.chain(ChainTable.key(symptom.resource))]?.isTold = true
        }
        return symptoms
    }

    /// That chains could not be broken lately, for want of room; `ok` for a while after that.
    package func overflowSymptom(_ node: String, at now: Timestamp) -> Symptom? {
        guard let isOverflowing = report.isOverflowing(at: now) else { return nil }
        var symptom = Symptom(
            type: Verdict.rateExceeded.rawValue, resource: CommandChains.resource(node, "chains"),
            severity: isOverflowing ? .critical : .ok,
            message: isOverflowing
                ? "\(Self.breakLimit) chains are broken, and no more can be: they are held to their "
                    + "limits, but not for loop.cooldown"
                : "there is room for broken chains again")
        symptom.value = Double(breaks.count)
        symptom.unit = "count"
        symptom.threshold = Double(Self.breakLimit)
        return symptom
    }

    /// Whether a chain is broken.
    package func isBroken(_ chainID: String) -> Bool {
        breaks[.chain(ChainTable.key(chainID))] != nil
    }

    private func isCalm(_ item: Break, at now: Timestamp) -> Bool {
        item.isTold && now >= max(item.lastPassed, item.since) + calmTime
    }

    private func symptom(_ item: Break, at now: Timestamp) -> Symptom {
        let isCalm = isCalm(item, at: now)
        let verdict = item.verdict ?? .iterationsExceeded
        var symptom = Symptom(
            type: verdict.rawValue, resource: item.chainID,
            severity: isCalm ? .ok : verdict.severity,
            message: isCalm
                ? "the chain is stopped: nothing has passed since \(item.lastPassed.inMilliseconds)"
                : "chain \(Name.quoted(item.chainID)): \(item.reason)")
        symptom.value = Double(item.value)
        symptom.unit = "count"
        symptom.threshold = Double(item.limit)
        symptom.details = Self.details(verdict, item.value, item.limit, item.path)
        symptom.details["state"] = .string(item.state.rawValue)
        symptom.details["until"] = .string(item.until.inMilliseconds.description)
        symptom.details["pairs"] = .array(
            item.pairs.map { .array([.string($0.first), .string($0.second)]) })
        if let record = counter.record(ChainTable.key(item.chainID)) {
            symptom.details["messages"] = .integer(Int64(record.count))
            symptom.details["tokens"] = .integer(Int64(clamping: record.tokens))
        }
        return symptom
    }

    private static func symptom(_ chainID: String, _ notice: Report.Notice) -> Symptom {
        let finding = notice.finding
        var symptom = Symptom(
            type: finding.verdict.rawValue, resource: chainID, severity: finding.verdict.severity,
            message: "chain \(Name.quoted(chainID)): \(finding.reason)")
        symptom.value = Double(finding.value)
        symptom.unit = "count"
        symptom.threshold = Double(finding.limit)
        symptom.details = details(finding.verdict, finding.value, finding.limit, notice.path)
        return symptom
    }

    private static func details(
        _ verdict: Verdict, _ value: Int, _ limit: Int, _ path: [String]
    ) -> JSON.Object {
        [
            "verdict": .string(verdict.rawValue), "count": .integer(Int64(value)),
            "limit": .integer(Int64(limit)),
            "path": .array(path.suffix(16).map(JSON.string)),
        ]
    }

    /// What is known at the moment, for heartbeats.
    package var summary: JSON.Object {
        var summary: JSON.Object = [
            "chains": .integer(Int64(counter.table.count)),
            "broken": .integer(Int64(breaks.count)),
        ]
        if counter.table.evicted > 0 {
            summary["chains_evicted"] = .integer(Int64(counter.table.evicted))
        }
        if report.overflow > 0 { summary["not_broken"] = .integer(Int64(report.overflow)) }
        return summary
    }
}
