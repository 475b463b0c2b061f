package import Protocol

extension Envelope {
    /// Gives the value of a header; `nil` when there is none.
    package typealias Headers = (_ name: String) -> String?

    /// What could be read of a message for whoever only listens.
    package struct Heard: Sendable, Equatable {
        /// One for each chain that it names; more than one when header and payload disagree.
        package var envelopes: [Envelope] = []
        /// What is wrong with it; what can be read counts all the same.
        package var flaw: MessageError?
    }

    /// Reads the envelope of a message that may be refused.
    ///
    /// - Returns: `nil` for a message of no chain.
    /// - Throws: `MessageError` naming the field, for one that says something impossible.
    package static func read(
        headers: @escaping Headers, payload: UnsafeRawBufferPointer
    ) throws(MessageError) -> Envelope? {
        let object = try members(of: payload, isNamed: headers("Skos-Chain-Id") != nil)
        var fields = EnvelopeFields(headers, object, isStrict: true)
        guard let id = try fields.chainIDs().first else { return nil }
        return try Envelope(id, &fields, payload)
    }

    /// Reads what can be read of a message that has been sent already.
    package static func hear(
        headers: @escaping Headers, payload: UnsafeRawBufferPointer
    ) -> Heard {
        var heard = Heard()
        var object: JSON.Object?
        do throws(MessageError) {
            object = try members(of: payload, isNamed: headers("Skos-Chain-Id") != nil)
        } catch { heard.flaw = error }
        var fields = EnvelopeFields(headers, object, isStrict: false)
        do throws(MessageError) {
            for id in try fields.chainIDs() {
                heard.envelopes.append(try Envelope(id, &fields, payload))
            }
        } catch { heard.flaw = heard.flaw ?? error }
        heard.flaw = heard.flaw ?? fields.flaw
        return heard
    }

    /// Reads a question of `skos.chain.check`: a JSON object, or headers beside any payload, which may be
    /// the very message that is to be sent.
    ///
    /// - Throws: `MessageError` naming the field; also for a question about no chain.
    package init(
        question payload: UnsafeRawBufferPointer, headers: ChainHeaders
    ) throws(MessageError) {
        var object: JSON.Object?
        if headers.isEmpty || payload.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
            object = try Fields(message: payload).object
        }
        var fields = EnvelopeFields(headers.value, object, isStrict: true)
        guard let id = try fields.chainIDs().first else {
            throw MessageError(field: "chain_id", reason: "is missing")
        }
        self = try Envelope(id, &fields, payload)
    }

    private init(
        _ id: EnvelopeFields.ChainID, _ fields: inout EnvelopeFields,
        _ payload: UnsafeRawBufferPointer
    ) throws(MessageError) {
        self.init(chainID: id.text)
        messageID = try fields.identifier("Skos-Message-Id", "message_id") ?? id.spanID
        parentID = try fields.identifier("Skos-Parent-Id", "parent_id")
        depth = try fields.count("Skos-Depth", "depth")
        iteration = try fields.count("Skos-Iteration", "iteration")
        tokens = try fields.count("Skos-Tokens", "tokens") ?? 0
        from = try fields.agent("Skos-From", "from")
        to = try fields.agent("Skos-To", "to")
        let path = try fields.path()
        pathCount = path.count
        self.path = Array(path.suffix(Self.pathLimit))
        content = fields.object.map { Content($0) } ?? Content(payload: payload)
    }

    /// The members of a payload that is a JSON object and may belong to a chain (`isNamed`: a header says
    /// so); `nil` for any other payload, which is nobody's business here.
    private static func members(
        of payload: UnsafeRawBufferPointer, isNamed: Bool
    ) throws(MessageError) -> JSON.Object? {
        let payload = payload.withoutMark
        guard let first = payload.first(where: { $0 > 0x20 }), first == UInt8(ascii: "{") else {
            return nil
        }
        let mayNameOne = payload.contains("\"chain_id\"") || payload.contains("\"traceparent\"")
        guard mayNameOne || isNamed else { return nil }
        guard payload.count <= payloadLimit else {
            if isNamed { return nil }
            throw MessageError(
                field: "",
                reason:
                    "\(payload.count) bytes is more than the \(payloadLimit) that are looked at; "
                    + "put the chain into headers (Skos-Chain-Id …)")
        }
        do throws(JSONError) {
            let json = try JSON.parse(payload, depthLimit: Limits.messageDepth)
            return json.object
        } catch {
            // Such as NaN from Python's json, or half a character: what is plain is plain all the same.
            let loose = LooseMembers(payload).object
            if isNamed || loose["chain_id"]?.string != nil { return loose }
            throw MessageError(
                field: "",
                reason: "it is no valid JSON, and its chain cannot be read: \(error.description)")
        }
    }
}

/// The parts of an envelope, each from its header or else from its member.
private struct EnvelopeFields {
    struct ChainID {
        var text: String
        /// The message's own id, when a `traceparent` names the chain.
        var spanID: String?
    }

    let headers: Envelope.Headers
    let object: JSON.Object?
    private let fields: Fields
    /// Whether an odd part is an error; else it is left out.
    private let isStrict: Bool
    /// The first part that was left out.
    private(set) var flaw: MessageError?

    init(_ headers: @escaping Envelope.Headers, _ object: JSON.Object?, isStrict: Bool) {
        self.headers = headers
        self.object = object
        fields = Fields(object ?? JSON.Object())
        self.isStrict = isStrict
    }

    /// The chains that the message names; none when it belongs to none.
    mutating func chainIDs() throws(MessageError) -> [ChainID] {
        var ids: [String] = []
        do throws(MessageError) {
            let name = "Skos-Chain-Id"
            if let text = headers(name) { ids.append(try checked(name, text)) }
        } catch { try leaveOut(error) }
        do throws(MessageError) {
            let limit = Envelope.identifierBytes
            if let text = try fields.identifier("chain_id", limit: limit) {
                guard !text.isEmpty else { throw fields.error("chain_id", "is empty") }
                if !ids.contains(text) { ids.append(text) }
            }
        } catch { try leaveOut(error) }
        if ids.count > 1 {
            let (header, member) = (Name.quoted(ids[0]), Name.quoted(ids[1]))
            try leaveOut(
                fields.error(
                    "chain_id", "is \(member), and the header Skos-Chain-Id says \(header)"))
        }
        guard ids.isEmpty else { return ids.map { ChainID(text: $0) } }
        // One that is not valid is to be ignored.
        let trace =
            object?["traceparent"]?.string.flatMap(TraceParent.init)
            ?? headers("traceparent").flatMap(TraceParent.init)
        return trace.map { [ChainID(text: $0.traceID, spanID: $0.spanID)] } ?? []
    }

    mutating func identifier(
        _ header: String, _ name: String
    ) throws(MessageError) -> String? {
        do throws(MessageError) {
            if let text = headers(header) { return try checked(header, text) }
            return try fields.identifier(name, limit: Envelope.identifierBytes)
        } catch {
            try leaveOut(error)
            return nil
        }
    }

    mutating func agent(_ header: String, _ name: String) throws(MessageError) -> String? {
        let text = try identifier(header, name)
        guard text?.isEmpty == true else { return text }
        try leaveOut(fields.error(name, "is empty"))
        return nil
    }

    /// A number of hops, messages or tokens.
    mutating func count(_ header: String, _ name: String) throws(MessageError) -> Int? {
        let most = Envelope.counts.upperBound
        do throws(MessageError) {
            if let text = headers(header) {
                guard let value = Int64(text), Envelope.counts.contains(value) else {
                    throw MessageError(
                        field: header,
                        reason: "\(Name.quoted(text)) is not a whole number from 0 to \(most)")
                }
                return Int(value)
            }
            guard let value = try whole(name) else { return nil }
            guard Envelope.counts.contains(value) else {
                throw fields.error(name, "\(value) is not a whole number from 0 to \(most)")
            }
            return Int(value)
        } catch {
            try leaveOut(error)
            return nil
        }
    }

    /// A whole number, also one that is written as 3.0.
    private func whole(_ name: String) throws(MessageError) -> Int64? {
        guard case .number(let value)? = object?[name] else { return try fields.integer(name) }
        guard let whole = Int64(exactly: value) else {
            throw fields.error(
                name, "\(value) is not a whole number from 0 to \(Envelope.counts.upperBound)")
        }
        return whole
    }

    mutating func path() throws(MessageError) -> [String] {
        do throws(MessageError) {
            var names: [String]
            if let text = headers("Skos-Path") {
                let parts =
                    text.isEmpty ? [] : text.split(separator: ",", omittingEmptySubsequences: false)
                names = parts.map { part in
                    let end = part.lastIndex { $0 != " " }.map(part.index(after:))
                    return String(part[..<(end ?? part.startIndex)].drop { $0 == " " })
                }
            } else {
                names = try fields.strings("path") ?? []
            }
            for place in names.indices.suffix(Envelope.pathLimit) {
                _ = try checked("path[\(place)]", names[place])
            }
            return names
        } catch {
            try leaveOut(error)
            return []
        }
    }

    private mutating func leaveOut(_ error: MessageError) throws(MessageError) {
        guard !isStrict else { throw error }
        flaw = flaw ?? error
    }

    /// The name of an agent, a message or a chain.
    private func checked(_ name: String, _ text: String) throws(MessageError) -> String {
        if let flaw = Self.flaw(of: text) { throw MessageError(field: name, reason: flaw) }
        return text
    }

    private static func flaw(of text: String) -> String? {
        guard !text.isEmpty else { return "is empty" }
        guard text.utf8.count <= Envelope.identifierBytes else {
            return "is longer than \(Envelope.identifierBytes) bytes"
        }
        let isPrintable = text.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
        }
        return isPrintable ? nil : "\(Name.quoted(text)) contains control characters"
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes without the mark that some programs put before UTF-8.
    fileprivate var withoutMark: UnsafeRawBufferPointer {
        starts(with: [0xEF, 0xBB, 0xBF])
            ? UnsafeRawBufferPointer(rebasing: dropFirst(3)) : self
    }

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
