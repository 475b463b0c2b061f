package import Protocol

/// What a message says about the chain it belongs to.
///
/// It is read from headers (`Skos-Chain-Id`, `Skos-Depth` …), from members of the same names in a JSON
/// payload (`chain_id`, `depth` …), or, for the chain's id alone, from a W3C `traceparent`. What stands
/// in a header counts more than the member of the payload.
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

extension Envelope {
    /// Gives the value of a header; `nil` when there is none.
    package typealias Headers = (_ name: String) -> String?

    /// Reads the envelope of a message.
    ///
    /// - Returns: `nil` for a message of no chain.
    /// - Throws: `MessageError` naming the field, for one that says something impossible.
    package static func read(
        headers: @escaping Headers, payload: UnsafeRawBufferPointer
    ) throws(MessageError) -> Envelope? {
        if let id = headers("Skos-Chain-Id") {
            var envelope = try Envelope(HeaderFields(headers), chainID: id)
            envelope.content = Content(payload: payload)
            return envelope
        }
        if let members = try members(of: payload) {
            return try Envelope(members)
        }
        guard let trace = headers("traceparent").flatMap(TraceParent.init) else { return nil }
        var envelope = try Envelope(HeaderFields(headers), chainID: trace.traceID)
        envelope.messageID = envelope.messageID ?? trace.spanID
        envelope.content = Content(payload: payload)
        return envelope
    }

    /// The members of a payload that is a JSON object with a chain; `nil` for any other payload, which
    /// is nobody's business here.
    private static func members(
        of payload: UnsafeRawBufferPointer
    ) throws(MessageError) -> JSON.Object? {
        guard let first = payload.first(where: { $0 > 0x20 }), first == UInt8(ascii: "{"),
            payload.contains("\"chain_id\"") || payload.contains("\"traceparent\"")
        else { return nil }
        guard payload.count <= payloadLimit else {
            throw MessageError(
                field: "",
                reason:
                    "\(payload.count) bytes is more than the \(payloadLimit) that are looked at; "
                    + "put the chain into headers (Skos-Chain-Id …)")
        }
        guard case .object(let object)? = try? JSON.parse(payload, depthLimit: Limits.messageDepth)
        else { return nil }
        if let id = object["chain_id"], id != .null { return object }
        // One that is not valid is to be ignored.
        return object["traceparent"]?.string.flatMap(TraceParent.init) == nil ? nil : object
    }

    /// Reads a JSON object, such as a request of `skos.chain.check`.
    ///
    /// - Throws: `MessageError` naming the field; also for an object without a chain.
    package init(_ object: JSON.Object) throws(MessageError) {
        let fields = Fields(object)
        let trace = try fields.string("traceparent").flatMap(TraceParent.init)
        let named = try fields.identifier("chain_id", limit: Self.identifierBytes)
        let id = try fields.required("chain_id", named ?? trace?.traceID)
        try self.init(checked: id, fields)
        messageID =
            try fields.identifier("message_id", limit: Self.identifierBytes)
            ?? trace?.spanID
        parentID = try fields.identifier("parent_id", limit: Self.identifierBytes)
        depth = try fields.count("depth")
        iteration = try fields.count("iteration")
        tokens = try fields.count("tokens") ?? 0
        from = try fields.agent("from")
        to = try fields.agent("to")
        try take(path: try fields.strings("path") ?? [])
        content = Content(object)
    }

    private init(_ fields: HeaderFields, chainID: String) throws(MessageError) {
        let id = try fields.checked("Skos-Chain-Id", chainID)
        try self.init(checked: id, Fields(JSON.Object()))
        messageID = try fields.identifier("Skos-Message-Id")
        parentID = try fields.identifier("Skos-Parent-Id")
        depth = try fields.count("Skos-Depth")
        iteration = try fields.count("Skos-Iteration")
        tokens = try fields.count("Skos-Tokens") ?? 0
        from = try fields.identifier("Skos-From")
        to = try fields.identifier("Skos-To")
        try take(path: fields.list("Skos-Path"))
    }

    private init(checked id: String, _ fields: Fields) throws(MessageError) {
        guard !id.isEmpty else { throw fields.error("chain_id", "is empty") }
        self.init(chainID: id)
    }

    private mutating func take(path: [String]) throws(MessageError) {
        pathCount = path.count
        self.path = Array(path.suffix(Self.pathLimit))
        for (index, name) in self.path.enumerated() {
            if let flaw = flaw(ofIdentifier: name) {
                throw MessageError(
                    field: "path[\(index + pathCount - self.path.count)]", reason: flaw)
            }
        }
    }
}

/// What is wrong with the name of an agent, a message or a chain.
private func flaw(ofIdentifier text: String) -> String? {
    guard !text.isEmpty else { return "is empty" }
    guard text.utf8.count <= Envelope.identifierBytes else {
        return "is longer than \(Envelope.identifierBytes) bytes"
    }
    let isPrintable = text.unicodeScalars.allSatisfy {
        $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
    }
    return isPrintable ? nil : "\(Name.quoted(text)) contains control characters"
}

/// Reads the fields of an envelope that came in headers.
private struct HeaderFields {
    let headers: Envelope.Headers

    init(_ headers: @escaping Envelope.Headers) { self.headers = headers }

    func checked(_ name: String, _ text: String) throws(MessageError) -> String {
        if let flaw = flaw(ofIdentifier: text) { throw MessageError(field: name, reason: flaw) }
        return text
    }

    func identifier(_ name: String) throws(MessageError) -> String? {
        guard let text = headers(name) else { return nil }
        return try checked(name, text)
    }

    func count(_ name: String) throws(MessageError) -> Int? {
        guard let text = headers(name) else { return nil }
        guard let value = Int64(text), Envelope.counts.contains(value) else {
            throw MessageError(
                field: name,
                reason: "\(Name.quoted(text)) is not a whole number from 0 to "
                    + "\(Envelope.counts.upperBound)")
        }
        return Int(value)
    }

    func list(_ name: String) -> [String] {
        guard let text = headers(name), !text.isEmpty else { return [] }
        return text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            String(part.drop { $0 == " " })
        }
    }
}

extension Fields {
    /// A number of hops, messages or tokens.
    fileprivate func count(_ name: String) throws(MessageError) -> Int? {
        guard let value = try integer(name) else { return nil }
        guard Envelope.counts.contains(value) else {
            throw error(
                name, "\(value) is not a whole number from 0 to \(Envelope.counts.upperBound)")
        }
        return Int(value)
    }

    fileprivate func agent(_ name: String) throws(MessageError) -> String? {
        guard let text = try identifier(name, limit: Envelope.identifierBytes) else { return nil }
        guard !text.isEmpty else { throw error(name, "is empty") }
        return text
    }
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

extension UnsafeRawBufferPointer {
    /// Whether an ASCII text stands somewhere in the bytes.
    fileprivate func contains(_ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        guard count >= length else { return false }
        let wanted = UnsafeBufferPointer(start: text.utf8Start, count: length)
        // The second byte is rarer than the quote before it.
        for index in 0...(count - length)
        where self[index + 1] == wanted[1] && self[index] == wanted[0] {
            if self[index..<(index + length)].elementsEqual(wanted) { return true }
        }
        return false
    }
}
