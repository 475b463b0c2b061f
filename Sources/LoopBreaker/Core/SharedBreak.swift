import Protocol

/// A breaker as the agents of a fleet tell each other of it: an entry of the bucket `SKOS_CHAINS`.
struct SharedBreak: Sendable, Equatable {
    /// The longest that another agent's word is believed: its clock may be wrong.
    static let longest: Duration = .seconds(86_400)

    var chainID: String
    var pair: Pair?
    var state: Break.State
    var until: Timestamp
    var since: Timestamp
    var opened: Timestamp
    var verdict: Verdict?
    var reason: String
    var value: Int
    var limit: Int
    /// The node whose agent tells people of it.
    var node: String
    /// The node whose agent wrote this: any may let a trial through.
    var writer: String
    var contents: [Content]
    var pairs: [Pair]
    /// Of a pair: whether only the like of `contents` is stopped.
    var isForLikeOnly = false
    /// While it is half open: the chain whose message is the trial, and whether that is still to come.
    var trial: String?
    var awaitsTrial = false

    /// What this node has to say of a breaker; who tells people of it goes on to do so.
    init(_ item: Break, node: String) {
        chainID = item.chainID
        pair = item.pair
        state = item.state
        until = item.until
        since = item.since
        opened = item.opened
        verdict = item.verdict
        reason = item.reason
        value = item.value
        limit = item.limit
        self.node = item.owner == .other ? item.teller : node
        writer = node
        contents = item.contents
        pairs = item.pairs
        isForLikeOnly = item.isForLikeOnly
        guard item.state == .halfOpen, !item.trialChain.isEmpty else { return }
        trial = item.trialChain
        awaitsTrial = item.awaitsTrial
    }

    /// Reads an entry.
    ///
    /// - Throws: `MessageError` naming the field.
    init(decoding bytes: [UInt8]) throws(MessageError) {
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(bytes) } catch {
            throw MessageError(field: "", reason: error.description)
        }
        guard case .object(let object) = json else {
            throw MessageError(field: "", reason: "a JSON object is expected, not \(json.kind)")
        }
        let fields = Fields(object)
        let limit = Envelope.identifierBytes
        chainID = try fields.required(
            "chain_id", try fields.identifier("chain_id", limit: limit))
        state = try fields.required("state", try fields.choice("state", Break.State.self))
        until = try fields.required("until", try fields.timestamp("until"))
        let since = try fields.timestamp("since") ?? until
        self.since = since
        opened = try fields.timestamp("opened") ?? since
        verdict = try fields.choice("verdict", Verdict.self)
        reason = try fields.string("reason") ?? "broken"
        value = Int(try fields.integer("value") ?? 0)
        self.limit = Int(try fields.integer("limit") ?? 0)
        let node = try fields.name("node") ?? ""
        self.node = node
        writer = try fields.name("by") ?? node
        pair = try Self.pair(try fields.strings("pair"), "pair")
        contents = (try fields.strings("contents") ?? []).prefix(8).compactMap(Content.init(text:))
        isForLikeOnly = try fields.bool("like_only") ?? false
        trial = try fields.identifier("trial", limit: limit)
        awaitsTrial = try fields.bool("awaited") ?? false
        pairs = []
        for (index, element) in (fields.object["pairs"]?.array ?? []).prefix(8).enumerated() {
            let names = element.array?.compactMap(\.string)
            if let pair = try Self.pair(names, "pairs[\(index)]") { pairs.append(pair) }
        }
    }

    private static func pair(_ names: [String]?, _ field: String) throws(MessageError) -> Pair? {
        guard let names else { return nil }
        let isFine =
            names.count == 2
            && names.allSatisfy { name in
                (1...Envelope.identifierBytes).contains(name.utf8.count)
            }
        guard isFine else {
            throw MessageError(field: field, reason: "two names of agents are expected")
        }
        return Pair(names[0], names[1])
    }

    var object: JSON.Object {
        var object: JSON.Object = ["chain_id": .string(chainID)]
        if let pair { object["pair"] = Self.json(pair) }
        object["state"] = .string(state.rawValue)
        object["until"] = .string(until.inMilliseconds.description)
        object["since"] = .string(since.inMilliseconds.description)
        object["opened"] = .string(opened.inMilliseconds.description)
        object["verdict"] = verdict.map { .string($0.rawValue) }
        object["reason"] = .string(reason)
        // Nothing was counted of what was broken by hand.
        if limit > 0 {
            object["value"] = .integer(Int64(value))
            object["limit"] = .integer(Int64(limit))
        }
        object["node"] = .string(node)
        if writer != node { object["by"] = .string(writer) }
        if !contents.isEmpty { object["contents"] = .array(contents.map { .string($0.text) }) }
        if !pairs.isEmpty { object["pairs"] = .array(pairs.map(Self.json)) }
        if isForLikeOnly { object["like_only"] = true }
        object["trial"] = trial.map(JSON.string)
        if awaitsTrial { object["awaited"] = true }
        return object
    }

    private static func json(_ pair: Pair) -> JSON {
        .array([.string(pair.first), .string(pair.second)])
    }

    /// The key in the bucket: what a chain's id is when it can be one, or else a hash of it.
    static func key(chainID: String, pair: Pair?) -> String {
        if let pair { return "pair.\(hash("\(pair.first)\u{0}\(pair.second)"))" }
        return isToken(chainID) ? "chain.\(chainID)" : "hash.\(hash(chainID))"
    }

    /// The last token of the subject on which changes of a chain are told.
    static func subjectToken(_ chainID: String) -> String {
        isToken(chainID) ? chainID : "hash-\(hash(chainID))"
    }

    /// `check` is the subject that programs ask on.
    private static func isToken(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count) && text != "check" && !text.hasPrefix("hash-")
            && text.utf8.allSatisfy { byte in
                (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte)
                    || (0x30...0x39).contains(byte) || byte == 0x5F || byte == 0x2D
            }
    }

    private static func hash(_ text: String) -> String {
        [StableHash.basis, 0x9E37_79B9_7F4A_7C15].map { basis in
            let digits = String(StableHash.of(text, basis: basis), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

extension Content {
    /// As others read it: hexadecimal numbers.
    var text: String {
        [exact, similar, UInt64(words), UInt64(numbers)].map { String($0, radix: 16) }
            .joined(separator: "-")
    }

    /// `nil` for what is none.
    init?(text: String) {
        let numbers = text.split(separator: "-").map { UInt64($0, radix: 16) }
        guard (3...4).contains(numbers.count), let exact = numbers[0], let similar = numbers[1],
            let words = numbers[2], let last = numbers[numbers.count - 1]
        else { return nil }
        self.init(
            exact: exact, similar: similar,
            numbers: numbers.count > 3 ? UInt32(clamping: last) : 0,
            words: UInt16(clamping: words))
    }
}

extension ChainJudge {
    /// Takes over what the shared bucket says to the agent of a node.
    mutating func apply(
        _ shared: SharedBreak, revision: UInt64, on node: String, at now: Timestamp
    ) {
        let key: BreakKey =
            shared.pair.map(BreakKey.pair) ?? .chain(ChainTable.key(shared.chainID))
        var known = breaks[key]
        // An older word than ours, or our own.
        if let known, known.revision >= revision { return }
        let owner: Break.Owner = shared.node == node ? .ours : .other
        // The echo of what we said ourselves: what has happened since then we know better.
        if shared.writer == node, var item = known {
            // Of one that has closed since, and broke again; times are told in milliseconds.
            guard shared.since + .milliseconds(1) >= item.opened else { return }
            item.revision = revision
            item.owner = owner
            breaks[key] = item
            return
        }
        guard shared.state != .closed else {
            var item = known ?? Break(shared, key, at: now)
            item.owner = known?.owner == .ours ? .ours : owner
            breaks[key] = nil
            if case .chain(let chain) = key { counter.forget(chain) }
            report.recovered(item, at: now)
            return
        }
        if known == nil, makeRoom(at: now) { known = Break(shared, key, at: now) }
        guard var item = known else { return }
        if item.owner == .ours, owner == .other { report.recovered(item, at: now) }
        if shared.state == .open, shared.since > item.since { item.isTold = false }
        if shared.state == .open, item.state == .halfOpen { item.reopenings += 1 }
        item.contents = shared.contents
        item.isForLikeOnly = shared.isForLikeOnly
        item.trialChain = shared.trial ?? ""
        item.awaitsTrial = shared.state == .halfOpen && shared.awaitsTrial
        item.owner = owner
        item.teller = shared.node
        item.state = shared.state
        item.until = min(shared.until, now + SharedBreak.longest)
        item.since = min(shared.since, now)
        item.reason = shared.reason
        item.verdict = shared.verdict
        item.value = shared.value
        item.limit = shared.limit
        item.attempts = 0
        item.claimedAt = nil
        item.revision = revision
        breaks[key] = item
    }

    /// The bucket has taken over what a breaker of ours was. Its watch may have told so before.
    mutating func stored(_ was: Break, revision: UInt64) {
        guard let item = breaks[was.key], item.revision <= revision else { return }
        breaks[was.key]?.revision = revision
        breaks[was.key]?.storedCommands = max(item.storedCommands, was.commands)
        if item.owner == .undecided { breaks[was.key]?.owner = .ours }
    }

    /// Somebody else was faster with the same news; what they say comes by itself.
    mutating func lost(_ key: BreakKey) {
        if breaks[key]?.owner == .undecided { breaks[key]?.owner = .other }
    }

    /// There is nobody to ask who tells people.
    mutating func alone(_ key: BreakKey) {
        if breaks[key]?.owner == .undecided { breaks[key]?.owner = .ours }
    }
}

extension Break {
    /// A breaker that another agent tells of.
    fileprivate init(_ shared: SharedBreak, _ key: BreakKey, at now: Timestamp) {
        self.init(key, chainID: shared.chainID, nil, at: min(shared.opened, now), until: now)
        since = min(shared.since, now)
        lastPassed = since
        verdict = shared.verdict
        reason = shared.reason
        value = shared.value
        limit = shared.limit
        contents = shared.contents
        pairs = shared.pairs
        state = shared.state
        // By whoever opened it, before this agent has heard of it.
        isTold = true
    }
}
