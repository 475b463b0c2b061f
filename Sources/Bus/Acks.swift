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
    package var metadata: Metadata? { reply.flatMap { Metadata(reply: $0) } }

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
    init?(reply: String) {
        // In bytes: splitting a text by characters was most of the time of reading a stream.
        guard reply.utf8.starts(with: "$JS.ACK.".utf8) else { return nil }
        let tokens = reply.utf8.split(
            separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard tokens.count == 9 || tokens.count >= 11 else { return nil }
        let first = tokens.count == 9 ? 2 : 4
        let numbers = tokens[(first + 2)...].prefix(5).map(Self.number)
        guard let delivered = numbers[0], let stream = numbers[1], let consumer = numbers[2],
            let time = numbers[3], let pending = numbers[4]
        else { return nil }
        self.init(
            stream: String(Substring(tokens[first])),
            consumer: String(Substring(tokens[first + 1])),
            streamSequence: stream, consumerSequence: consumer, delivered: delivered,
            timestampNanoseconds: Int64(clamping: time), pending: pending)
    }

    private static func number(_ digits: Substring.UTF8View) -> UInt64? {
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
