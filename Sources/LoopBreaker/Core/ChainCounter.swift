import Protocol

/// Counts what chains do, and measures what one more message would make of them.
///
/// Hops are counted here: a message is one hop further than the message that caused it, where that is
/// known, or else than the last message that reached its sender. What the message claims counts only
/// when it is more.
struct ChainCounter: Sendable {
    /// The like of a content counts as a repeat for ten minutes.
    static let repeatTicks: UInt32 = 10 * 60 * 100
    static let minuteTicks: UInt32 = 60 * 100

    private(set) var table: ChainTable

    init(limit: Int, detailLimit: Int, at now: Timestamp) {
        table = ChainTable(limit: limit, detailLimit: detailLimit, at: now)
    }

    /// Whether a chain was heard of by a time; `nil`: it is not known.
    func isOlder(_ key: UInt64, than time: Timestamp, at now: Timestamp) -> Bool? {
        guard let place = table.place(of: key) else { return nil }
        // Far less than what ticks can tell apart.
        let limit = table.ticks(max(time, now + .seconds(-30 * 86_400)))
        return Int32(bitPattern: table.record(at: place).firstSeen &- limit) <= 0
    }

    /// Remembers that there is such a chain, of which nothing has been sent yet.
    mutating func touch(_ key: UInt64, at now: Timestamp) {
        let ticks = table.ticks(now)
        let place = table.makePlace(for: key, at: ticks)
        table.change(place) { record, _ in record.see(at: ticks) }
    }

    /// The clock was put right by so much.
    mutating func shift(by step: Duration) { table.shift(by: step) }

    func record(_ key: UInt64) -> ChainRecord? {
        table.place(of: key).map { table.record(at: $0) }
    }

    func detail(_ key: UInt64) -> ChainDetail? { record(key).flatMap(storedOrEarly) }

    /// What the chain said last, of all that can be compared; `nil`: nothing.
    func lastSaid(_ key: UInt64) -> Content? { detail(key)?.said.last?.content }

    /// Whether a chain is known only since its program asked, and has sent nothing yet.
    func hasOnlyAsked(_ key: UInt64) -> Bool { record(key)?.count == 0 }

    mutating func forget(_ key: UInt64) {
        if let place = table.place(of: key) { table.remove(place) }
    }

    mutating func sweep(at now: Timestamp) { table.sweep(at: now) }

    /// What the chain would be with this message.
    func measure(_ envelope: Envelope, _ key: UInt64, at now: Timestamp) -> Measure {
        var measure = Measure()
        let record = record(key)
        let detail = detail(key)
        let ticks = table.ticks(now)
        let from = ChainTable.hash(envelope.sender)
        let to = ChainTable.hash(envelope.to)
        let parent = ChainTable.hash(envelope.parentID)
        let cause = detail?.messages.elements.first { parent != 0 && $0.hash == parent }
        let sender = detail?.agents.first { from != 0 && $0.hash == from }
        let counted = (cause?.depth ?? sender?.depth).map { Int($0) + 1 } ?? 0
        measure.depth = max(envelope.depth ?? 0, counted, envelope.pathCount - 1)
        measure.iteration = max(Int(record?.count ?? 0) + 1, envelope.iteration ?? 0)
        let (tokens, overflow) = Int(clamping: record?.tokens ?? 0)
            .addingReportingOverflow(envelope.tokens)
        measure.tokens = overflow ? .max : tokens
        let isSameMinute = detail.map { ticks &- $0.minute < Self.minuteTicks } ?? false
        measure.rate = isSameMinute ? Int(detail?.inMinute ?? 0) + 1 : 1
        measure.children =
            parent != 0 ? Int(cause?.children ?? 0) + 1 : Int(sender?.sent ?? 0) + 1
        measure.stale = Int(detail?.stale ?? 0)
        guard let content = envelope.content else { return measure }
        var isNew = true
        for said in detail?.said.elements ?? []
        where ticks &- said.at <= Self.repeatTicks && said.content.isLike(content) {
            // Piece 5 of something is not piece 4 again.
            let isSame = said.content.numbers == content.numbers
            if isSame { isNew = false }
            guard said.from == from else { continue }
            if isSame { measure.repeats += 1 }
            // Back where it was, with the same on its lips. A known cause tells whether the chain has
            // come back, or somebody only asks for one thing after the other.
            let isFurther = cause?.depth == nil || measure.depth > Int(said.depth)
            if from != 0, to != 0, said.to == to, sender?.depth != nil, isFurther {
                measure.rounds += 1
            }
        }
        measure.stale = isNew ? 0 : measure.stale + 1
        return measure
    }

    /// The detail of a chain, also of one that is too young to have one in the table.
    private func storedOrEarly(_ record: ChainRecord) -> ChainDetail? {
        table.detail(of: record) ?? Self.detail(fromStepsOf: record)
    }

    /// Counts a message.
    mutating func add(
        _ envelope: Envelope, _ key: UInt64, _ measure: Measure, at now: Timestamp
    ) {
        let ticks = table.ticks(now)
        let place = table.makePlace(for: key, at: ticks)
        let before = table.record(at: place)
        if before.count >= ChainRecord.stepLimit, before.detail < 0,
            let detail = Self.detail(fromStepsOf: before)
        {
            table.makeDetail(place, detail)
        }
        let step = ChainRecord.Step(envelope, measure)
        table.change(place) { record, detail in
            record.count = record.count == .max ? .max : record.count + 1
            record.depth = max(record.depth, UInt32(clamping: measure.depth))
            record.tokens = UInt64(measure.tokens)
            record.see(at: ticks)
            switch record.count {
            case 1: record.first = step
            case 2: record.second = step
            default: detail?.add(step, envelope, stale: measure.stale, at: ticks)
            }
        }
    }

    /// What the first messages amount to.
    private static func detail(fromStepsOf record: ChainRecord) -> ChainDetail? {
        guard record.count > 0 else { return nil }
        var detail = ChainDetail(owner: record.key)
        let steps = [record.first, record.second].prefix(Int(record.count))
        for step in steps { detail.add(step, nil, stale: 0, at: record.firstSeen) }
        if steps.count == 2, steps[0].content.words > 0,
            steps[0].content.isLike(steps[1].content),
            steps[0].content.numbers == steps[1].content.numbers
        {
            detail.stale = 1
        }
        // Messages that are no longer known one by one.
        detail.inMinute = min(record.count, UInt32(ChainRecord.stepLimit))
        return detail
    }
}

extension ChainRecord.Step {
    init(_ envelope: Envelope, _ measure: Measure) {
        depth = UInt16(clamping: measure.depth)
        from = ChainTable.hash(envelope.sender)
        to = ChainTable.hash(envelope.to)
        message = ChainTable.hash(envelope.messageID)
        parent = ChainTable.hash(envelope.parentID)
        if let content = envelope.content { self.content = content }
    }
}

extension ChainDetail {
    /// Takes a message over. Names come with the envelope, when there is one.
    mutating func add(
        _ step: ChainRecord.Step, _ envelope: Envelope?, stale: Int, at ticks: UInt32
    ) {
        lastUsed = ticks
        self.stale = UInt32(clamping: stale)
        if inMinute > 0, ticks &- minute < ChainCounter.minuteTicks {
            inMinute += 1
        } else {
            (minute, inMinute) = (ticks, 1)
        }
        let from = step.from == 0 ? nil : place(of: step.from, envelope?.sender)
        let to = step.to == 0 ? nil : place(of: step.to, envelope?.to)
        if let from { agents[from].sent += 1 }
        if let to {
            agents[to].depth = UInt32(step.depth)
            agents[to].sent = 0
        }
        if let from, let to, from != to {
            edges.append(Edge(from: UInt8(from), to: UInt8(to)))
        }
        if step.parent != 0 { addChild(of: step.parent) }
        if step.message != 0 { addMessage(step.message, depth: UInt32(step.depth)) }
        if step.content.words > 0 {
            said.append(
                Said(
                    from: step.from, to: step.to, at: ticks, content: step.content,
                    depth: step.depth))
        }
    }

    private mutating func addChild(of parent: UInt32) {
        if let place = messages.elements.firstIndex(where: { $0.hash == parent }) {
            messages.change(place) { $0.children += 1 }
        } else {
            messages.append(Message(hash: parent, depth: nil, children: 1))
        }
    }

    private mutating func addMessage(_ hash: UInt32, depth: UInt32) {
        if let place = messages.elements.firstIndex(where: { $0.hash == hash }) {
            // Sent again, or known as a parent before it was seen.
            messages.change(place) { $0.depth = max($0.depth ?? 0, depth) }
        } else {
            messages.append(Message(hash: hash, depth: depth))
        }
    }

    /// The names of the agents the chain went through lately, oldest first.
    var path: [String] {
        var path: [String] = []
        for edge in edges.inOrder {
            let (from, to) = (agents[Int(edge.from)].name, agents[Int(edge.to)].name)
            if path.last != from, !from.isEmpty { path.append(from) }
            if !to.isEmpty { path.append(to) }
        }
        return path
    }

    /// The pairs between which the chain goes to and fro, the busiest first; those that were passed more
    /// than once, or else the last.
    var pairs: [Pair] {
        var counts: [Pair: Int] = [:]
        var last: Pair?
        for edge in edges.inOrder {
            let (from, to) = (agents[Int(edge.from)].name, agents[Int(edge.to)].name)
            guard !from.isEmpty, !to.isEmpty else { continue }
            last = Pair(from, to)
            counts[Pair(from, to), default: 0] += 1
        }
        let busy = counts.filter { $0.value > 1 }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        let pairs = busy.prefix(Self.pairLimit).map(\.key)
        return pairs.isEmpty ? last.map { [$0] } ?? [] : pairs
    }

    static let pairLimit = 8

    /// The different things that were said lately, at most eight.
    var contents: [Content] {
        said.inOrder.reversed().reduce(into: []) { contents, said in
            guard contents.count < 8, !contents.contains(where: said.content.isLike) else { return }
            contents.append(said.content)
        }
    }
}
