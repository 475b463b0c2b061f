internal import CNATS

/// Why something on the bus did not work: what, where, and how to fix it.
package struct BusError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kinds of failure callers decide upon.
    package enum Code: Sendable, Equatable {
        /// Nobody listens at the address, or it cannot be reached.
        case refused
        /// The server did not accept the credentials.
        case authorization
        /// The server accepted the connection but not this operation.
        case notPermitted
        /// TLS could not be agreed upon, or the certificate is not trusted.
        case tls
        /// Something answers at the address, but it does not speak NATS.
        case notNATS
        /// No answer in time; whether the request took effect is unknown.
        case timeout
        /// Nobody is subscribed to the subject of a request.
        case noResponders
        /// The connection is down at the moment; cnats is reconnecting.
        case notConnected
        /// The connection was closed for good and has to be made anew.
        case closed
        /// The connection or subscription is being drained and takes nothing new.
        case draining
        /// A subject, header, URL or setting cannot be used as given.
        case invalidArgument
        /// More bytes than the server accepts in one message.
        case payloadTooLarge
        /// A bounded buffer or window is full; nothing was sent.
        case bufferFull
        /// An earlier message of an `OrderedPublisher` failed, and this one must not overtake it.
        case fenced
        /// JetStream refused, with its error code (see the constants of `JetStreamCode`).
        case jetStream(Int)
        /// The server has the stream, consumer or bucket, but this field of it differs.
        case configMismatch(field: String)
        /// There is no such message, stream, consumer or key.
        case notFound
        /// The peer answered with something that makes no sense.
        case protocolError
        /// The task that waited was cancelled.
        case cancelled
        /// Any other status of cnats.
        case library(Int)
    }

    package var code: Code
    /// What happened, where, and what to do about it.
    package var message: String
    /// The library's own words for it, when it had any.
    package var detail: String?

    package init(_ code: Code, _ message: String, detail: String? = nil) {
        self.code = code
        self.message = message
        self.detail = detail
    }

    package var description: String {
        guard let detail, !detail.isEmpty else { return message }
        return "\(message) (\(detail))"
    }

    /// JetStream's error code, when JetStream refused.
    package var jetStreamCode: Int? {
        if case .jetStream(let code) = code { code } else { nil }
    }
}

extension BusError {
    /// An expectation about the last message did not hold: somebody else wrote in between.
    package var isWrongSequence: Bool {
        switch jetStreamCode {
        case JetStreamCode.wrongLastSequence, JetStreamCode.wrongLastSequenceConstant,
            JetStreamCode.wrongLastMessageID:
            true
        default: false
        }
    }
}

/// JetStream's error codes that SKOS acts on (nats-server `server/errors.json`).
package enum JetStreamCode {
    package static let messageNotFound = 10037
    package static let notEnabledForAccount = 10039
    package static let consumerNotFound = 10014
    package static let streamNameInUse = 10058
    package static let streamNotFound = 10059
    package static let wrongLastMessageID = 10070
    package static let wrongLastSequence = 10071
    package static let notEnabled = 10076
    /// Clustered servers from 2.12 on answer this while another fenced publish is under way.
    package static let wrongLastSequenceConstant = 10164
}

extension BusError {
    /// Names a cnats status. `what` says which operation, e.g. `publish to skos.alert.nova`.
    init(_ status: natsStatus, _ what: String, detail: String? = nil) {
        let text =
            natsStatus_GetText(status).map { String(cString: $0) } ?? "status \(status.rawValue)"
        let (code, hint) = Self.meaning(of: status)
        let words = detail.map(Self.withoutPlace) ?? (hint == nil ? nil : text)
        self.init(code, "\(what): \(hint ?? text)", detail: words)
    }

    /// What cnats says without the place in its source, as in `(conn.c:1905): Authorization Violation`.
    static func withoutPlace(_ text: String) -> String {
        var parts: [Substring] = []
        var rest = text[...]
        while let start = rest.firstIndex(of: "(") {
            let inside = rest[rest.index(after: start)...]
            let end = inside.firstIndex(of: ")")
            let place = end.map { inside[..<$0].split(separator: ":") } ?? []
            guard let end, place.count == 2, place[0].hasSuffix(".c"), !place[0].contains("("),
                place[1].allSatisfy(\.isNumber)
            else {
                parts.append(rest[...start])
                rest = inside
                continue
            }
            parts.append(rest[..<start])
            rest = rest[rest.index(after: end)...].drop { $0 == ":" || $0 == " " }
        }
        return (parts + [rest]).joined()
    }

    private static func meaning(of status: natsStatus) -> (Code, String?) {
        switch status {
        case NATS_CONNECTION_CLOSED: (.closed, "the connection is closed; connect again")
        case NATS_NO_SERVER: (.refused, "no server answers; check the address and that NATS runs")
        case NATS_CONNECTION_DISCONNECTED, NATS_STALE_CONNECTION, NATS_IO_ERROR,
            NATS_NOT_YET_CONNECTED:
            (.notConnected, "not connected to the server at the moment")
        case NATS_CONNECTION_AUTH_FAILED:
            (
                .authorization,
                "the server refused the credentials; check user, password or creds file"
            )
        case NATS_NOT_PERMITTED:
            (.notPermitted, "the server's permissions do not allow it")
        case NATS_SSL_ERROR, NATS_SECURE_CONNECTION_WANTED, NATS_SECURE_CONNECTION_REQUIRED:
            (.tls, nil)
        case NATS_PROTOCOL_ERROR, NATS_LINE_TOO_LONG: (.protocolError, nil)
        case NATS_TIMEOUT: (.timeout, "no answer in time")
        case NATS_NO_RESPONDERS: (.noResponders, "nobody listens on that subject")
        case NATS_DRAINING: (.draining, nil)
        case NATS_INVALID_SUBJECT, NATS_INVALID_ARG, NATS_ADDRESS_MISSING,
            NATS_INVALID_QUEUE_NAME, NATS_INVALID_TIMEOUT:
            (.invalidArgument, nil)
        case NATS_MAX_PAYLOAD: (.payloadTooLarge, "the message is larger than the server accepts")
        case NATS_INSUFFICIENT_BUFFER:
            (.bufferFull, "the buffer is full: not connected, or the server reads too slowly")
        case NATS_INVALID_SUBSCRIPTION: (.closed, nil)
        default: (.library(Int(status.rawValue)), nil)
        }
    }
}
