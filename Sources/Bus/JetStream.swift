internal import CNATS
internal import Protocol

/// The persistent half of NATS, as seen through one connection.
package struct JetStream: Sendable {
    let connection: Connection

    private var apiTimeout: Duration { connection.options.apiTimeout }

    /// Stores a message and waits for the server's word that it is stored.
    ///
    /// `messageID` lets the stream drop repetitions within its duplicate window.
    /// `expectedLastSequence` makes it refuse unless its last message has that sequence; 0 means
    /// an empty stream. After `timeout` or `notConnected` it is unknown whether it was stored;
    /// sent again with the same `messageID` it is stored once, but servers from 2.12 on answer
    /// `wrongLastSequence` instead of `duplicate` when there is an expectation, too: read the
    /// last message back then.
    /// - Throws: `jetStream(code)`, `noResponders` (no stream has this subject), `timeout`, and
    ///   what `Connection.publish` throws.
    package func publish(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)] = [],
        messageID: String? = nil, expectedLastSequence: UInt64? = nil,
        timeout: Duration? = nil
    ) async throws(BusError) -> PubAck {
        let headers = PublishHeaders.join(headers, messageID, expectedLastSequence)
        let answer = try await connection.request(
            subject, payload, headers: headers, timeout: timeout ?? apiTimeout)
        return try answer.withPayload { bytes throws(BusError) in
            try PubAck.read(bytes, subject)
        }
    }

    /// Calls the API: `$JS.API.` + `verb`, with a JSON argument.
    func api(
        _ verb: String, _ argument: JSON? = nil, timeout: Duration? = nil
    ) async throws(BusError) -> JSON.Object {
        let answer: BusMessage
        do throws(BusError) {
            answer = try await connection.request(
                "$JS.API.\(verb)", argument?.encoded ?? [], timeout: timeout ?? apiTimeout)
        } catch  where error.code == .noResponders {
            throw BusError(
                .jetStream(JetStreamCode.notEnabled),
                "\(verb): JetStream is not enabled on this server; start nats-server with -js")
        }
        let object = try answer.withPayload { bytes throws(BusError) -> JSON.Object in
            guard let object = try? JSON.parse(bytes).object else {
                throw BusError(.protocolError, "\(verb): the server's answer is not a JSON object")
            }
            return object
        }
        if let error = object["error"]?.object { throw Self.failure(error, verb) }
        return object
    }

    static func failure(_ error: JSON.Object, _ what: String) -> BusError {
        let code = Int(error["err_code"]?.integer ?? error["code"]?.integer ?? 0)
        let text = error["description"]?.string ?? "no description"
        return BusError(.jetStream(code), "\(what): \(text) (JetStream error \(code))")
    }
}

extension Connection {
    package var jetStream: JetStream { JetStream(connection: self) }
}

/// The headers that steer storing.
enum PublishHeaders {
    static let messageID = "Nats-Msg-Id"
    /// cnats has an option for it, which cannot say 0.
    static let expectedLastSequence = "Nats-Expected-Last-Sequence"
    static let expectedLastMessageID = "Nats-Expected-Last-Msg-Id"

    static func join(
        _ headers: [(String, String)], _ messageID: String?, _ expectedLastSequence: UInt64?
    ) -> [(String, String)] {
        guard messageID != nil || expectedLastSequence != nil else { return headers }
        var joined = headers
        if let messageID { joined.append((Self.messageID, messageID)) }
        if let expectedLastSequence {
            joined.append((Self.expectedLastSequence, String(expectedLastSequence)))
        }
        return joined
    }
}

/// The server's word that a message is stored.
package struct PubAck: Sendable, Equatable {
    /// Where in the stream.
    package var sequence: UInt64
    /// The stream had a message with this id already; `sequence` is that one's.
    package var duplicate: Bool

    package init(sequence: UInt64, duplicate: Bool = false) {
        self.sequence = sequence
        self.duplicate = duplicate
    }

    /// Reads `{"stream":"S","seq":7,"duplicate":true}`, or the error in its place.
    ///
    /// Acks come in at the rate of the audit, so the usual form is read without building JSON.
    static func read(_ bytes: UnsafeRawBufferPointer, _ what: String) throws(BusError) -> PubAck {
        if let ack = quick(bytes) { return ack }
        guard let object = try? JSON.parse(bytes).object else {
            throw BusError(.protocolError, "\(what): the stream's answer is not a JSON object")
        }
        if let error = object["error"]?.object { throw JetStream.failure(error, what) }
        guard let sequence = object["seq"]?.integer, sequence > 0 else {
            throw BusError(.protocolError, "\(what): the stream's answer has no sequence")
        }
        return PubAck(
            sequence: UInt64(sequence), duplicate: object["duplicate"]?.bool ?? false)
    }

    /// `{"stream":"S", "seq":7}` with nothing after the number; anything else is left to the parser.
    private static func quick(_ bytes: UnsafeRawBufferPointer) -> PubAck? {
        guard bytes.count > 3, bytes[bytes.count - 1] == UInt8(ascii: "}") else { return nil }
        var index = bytes.count - 2
        var sequence: UInt64 = 0
        var scale: UInt64 = 1
        while index > 0, case let digit = bytes[index] &- UInt8(ascii: "0"), digit <= 9 {
            guard scale < 1_000_000_000_000_000_000 else { return nil }
            sequence += UInt64(digit) * scale
            scale *= 10
            index -= 1
        }
        let key: StaticString = "\"seq\":"
        guard sequence > 0, index + 1 >= key.utf8CodeUnitCount else { return nil }
        let found = UnsafeRawBufferPointer(
            rebasing: bytes[(index + 1 - key.utf8CodeUnitCount)...index])
        guard found.elementsEqual(UnsafeBufferPointer(start: key.utf8Start, count: 6)) else {
            return nil
        }
        return PubAck(sequence: sequence)
    }
}
