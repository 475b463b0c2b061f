import Protocol

/// What a message says about the chain it belongs to.
///
/// Each part is read from its header (`Skos-Chain-Id`, `Skos-Depth` …) or else from the member of that
/// name in a JSON payload (`chain_id`, `depth` …); the chain's id where nothing else names it from a W3C
/// `traceparent`.
package struct Envelope: Sendable, Equatable {
    /// Bytes of an id: as long as what an alert is about may be, since chains become that.
    package static let identifierBytes = Limits.resourceBytes
    /// Agents of a path that are kept, the latest; longer ones count in full.
    package static let pathLimit = 64
    /// Bytes of a payload that are looked at for an envelope; the NATS server's usual limit.
    package static let payloadLimit = 1 << 20
    /// Hops, messages and tokens that a message may claim.
    static let counts: ClosedRange<Int64> = 0...1_000_000_000_000_000

    /// The chain; the same in all its messages.
    package var chainID: String
    /// The name of this message, when it has one.
    package var messageID: String?
    /// The message that caused this one.
    package var parentID: String?
    /// Hops from the first message, as the sender counts them.
    package var depth: Int?
    /// Messages of the chain so far, as the sender counts them.
    package var iteration: Int?
    /// The agents that the chain went through, oldest first; the last is the sender.
    package var path: [String] = []
    /// How many agents the path names, also those that are not kept.
    package var pathCount = 0
    /// Tokens that this step has used.
    package var tokens = 0
    package var from: String?
    package var to: String?
    /// What the message says beside its envelope; `nil`: too little to compare.
    package var content: Content?

    package init(chainID: String) { self.chainID = chainID }

    /// Who sends, also when only the path says so.
    package var sender: String? { from ?? path.last }

    /// The two agents between which the message goes, in the order of their names.
    package var pair: Pair? {
        guard let sender, let to else { return nil }
        return Pair(sender, to)
    }
}

/// Two agents, whichever of them speaks.
package struct Pair: Sendable, Hashable, Comparable {
    package let first: String
    package let second: String

    package init(_ one: String, _ other: String) {
        first = min(one, other)
        second = max(one, other)
    }

    package static func < (left: Pair, right: Pair) -> Bool {
        (left.first, left.second) < (right.first, right.second)
    }

    /// For people.
    package var text: String { "\(first)–\(second)" }
}

/// A W3C `traceparent`: `00-<trace-id>-<parent-id>-<flags>`, in lower-case hexadecimal digits.
struct TraceParent: Equatable {
    let traceID: String
    let spanID: String

    /// `nil` for one that is not valid, which the standard says is to be ignored.
    init?(_ text: String) {
        guard text.utf8.count <= 512 else { return nil }
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts[0].utf8.count == 2, parts[0] != "ff",
            parts[1].utf8.count == 32, parts[2].utf8.count == 16, parts[3].utf8.count == 2,
            parts[0] != "00" || parts.count == 4
        else { return nil }
        let digits = parts[..<4].joined().utf8
        let isHexadecimal = digits.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x66).contains($0)
        }
        guard isHexadecimal, parts[1].contains(where: { $0 != "0" }),
            parts[2].contains(where: { $0 != "0" })
        else { return nil }
        traceID = String(parts[1])
        spanID = String(parts[2])
    }
}
