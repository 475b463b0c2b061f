internal import CNATS
internal import Glibc
internal import Protocol

extension BusMessage {
    /// What JetStream says about a message a consumer delivered.
    package struct Metadata: Sendable, Equatable {
        package var stream: String
        package var consumer: String
        package var streamSequence: UInt64
        package var consumerSequence: UInt64
        /// 1 at the first delivery.
        package var delivered: UInt64
        /// When the stream stored it, in nanoseconds since the epoch.
        package var timestampNanoseconds: Int64
        /// How many messages the consumer has still to deliver.
        package var pending: UInt64
    }

    /// `nil` for messages that did not come from a consumer.
    package var metadata: Metadata? {
        natsMsg_GetReply(raw).flatMap { reply in
            Metadata(reply: UnsafeRawBufferPointer(start: reply, count: strlen(reply)))
        }
    }

    /// Done with it: the consumer will not deliver it again. One publish; the server does not answer.
    /// - Throws: `invalidArgument` for a message that did not come from a consumer, and as `publish`.
    package func ack() throws(BusError) { try answer("+ACK") }

    /// Not done: deliver it again, at once or after `delay`.
    package func nak(delay: Duration? = nil) throws(BusError) {
        guard let delay else { return try answer("-NAK") }
        try answer("-NAK {\"delay\":\(max(0, delay.wholeNanoseconds))}")
    }

    /// Will never be done: do not deliver it again.
    package func term() throws(BusError) { try answer("+TERM") }

    /// Still busy with it: `ackWait` begins anew.
    package func inProgress() throws(BusError) { try answer("+WPI") }

    private func answer(_ word: String) throws(BusError) {
        guard let reply = natsMsg_GetReply(raw), strncmp(reply, "$JS.ACK.", 8) == 0 else {
            throw BusError(.invalidArgument, "\(subject): only messages of a consumer can be acked")
        }
        let status = connection.write {
            natsConnection_PublishString(connection.handle, reply, word)
        }
        guard status == NATS_OK else { throw connection.failure(status, "ack of \(subject)") }
    }
}

extension BusMessage.Metadata {
    /// Reads the reply subject of a consumer's message: `$JS.ACK.` + stream, consumer, deliveries,
    /// stream sequence, consumer sequence, time, pending; with domain and account hash before the
    /// stream on servers that know them, and then more tokens after it (ADR-15).
    init?(reply: UnsafeRawBufferPointer) {
        // In bytes, and without an array of the tokens: this is done for each alert and each record.
        guard reply.starts(with: "$JS.ACK.".utf8) else { return nil }
        let dot = UInt8(ascii: ".")
        let dots = reply.count { $0 == dot }
        guard dots == 8 || dots >= 10 else { return nil }
        var rest = reply[...]
        func token() -> Slice<UnsafeRawBufferPointer> {
            let end = rest.firstIndex(of: dot) ?? rest.endIndex
            defer { rest = rest[min(end + 1, rest.endIndex)...] }
            return rest[..<end]
        }
        for _ in 0..<(dots == 8 ? 2 : 4) { _ = token() }
        let (stream, consumer) = (token(), token())
        guard let delivered = Self.number(token()), let streamSequence = Self.number(token()),
            let consumerSequence = Self.number(token()), let time = Self.number(token()),
            let pending = Self.number(token())
        else { return nil }
        self.init(
            stream: String(decoding: stream, as: UTF8.self),
            consumer: String(decoding: consumer, as: UTF8.self),
            streamSequence: streamSequence, consumerSequence: consumerSequence,
            delivered: delivered, timestampNanoseconds: Int64(clamping: time), pending: pending)
    }

    private static func number(_ digits: Slice<UnsafeRawBufferPointer>) -> UInt64? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            let (product, isTooBig) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooBigNow) = product.addingReportingOverflow(
                UInt64(byte - UInt8(ascii: "0")))
            guard !isTooBig, !isTooBigNow else { return nil }
            value = sum
        }
        return value
    }
}
