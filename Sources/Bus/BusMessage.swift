internal import CNATS
internal import Glibc
internal import Synchronization

/// A received message.
///
/// `@unchecked Sendable`: cnats' message does not change after it was received, except that
/// headers are parsed at the first look, which `headerState` guards.
package final class BusMessage: @unchecked Sendable {
    let raw: OpaquePointer
    let connection: Connection
    private let headerState = Mutex(HeaderState())

    private struct HeaderState {
        var isParsed = false
        var isCut = false
    }

    /// Takes the message over; it is destroyed with this object.
    init(adopting raw: OpaquePointer, _ connection: Connection) {
        self.raw = raw
        self.connection = connection
        #if DEBUG
            Live.messageCount.add(1, ordering: .relaxed)
        #endif
    }

    deinit {
        connection.letGo(raw)
        #if DEBUG
            Live.messageCount.subtract(1, ordering: .relaxed)
        #endif
    }

    package var subject: String { natsMsg_GetSubject(raw).map { String(cString: $0) } ?? "" }

    /// Where an answer goes; for messages of a JetStream consumer, where the ack goes.
    package var reply: String? { natsMsg_GetReply(raw).map { String(cString: $0) } }

    /// A copy of the payload.
    package var payload: [UInt8] { withPayload { [UInt8]($0) } }

    /// Number of bytes of the payload.
    package var count: Int { Int(natsMsg_GetDataLength(raw)) }

    /// Lends the payload without copying it. The pointer must not leave `body`.
    package func withPayload<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: natsMsg_GetData(raw), count: count))
    }

    /// The first value of a header; names are case-sensitive.
    package func header(_ name: String) -> String? {
        headerState.withLock { state in
            parse(&state)
            var value: UnsafePointer<CChar>?
            guard natsMsgHeader_Get(raw, name, &value) == NATS_OK else { return nil }
            return value.map { String(cString: $0) }
        }
    }

    /// Whether there are headers that cannot be read: 3.4.1 stops at one with an empty value, and knows
    /// neither that nor what comes after it.
    package var hasLostHeaders: Bool {
        headerState.withLock { state in
            parse(&state)
            return state.isCut
        }
    }

    /// The first look parses; when it fails, what came before the fault is there from the second on.
    private func parse(_ state: inout HeaderState) {
        guard !state.isParsed else { return }
        state.isParsed = true
        var value: UnsafePointer<CChar>?
        state.isCut = natsMsgHeader_Get(raw, "Status", &value) == NATS_PROTOCOL_ERROR
    }

    /// All headers, sorted by name; a name with several values appears several times.
    package var headers: [(name: String, value: String)] {
        headerState.withLock { state in
            parse(&state)
            var names: UnsafeMutablePointer<UnsafePointer<CChar>?>?
            var count: CInt = 0
            guard natsMsgHeader_Keys(raw, &names, &count) == NATS_OK, let names else { return [] }
            defer { free(names) }
            var result: [(name: String, value: String)] = []
            for index in 0..<Int(count) {
                guard let name = names[index] else { continue }
                for value in values(of: name) { result.append((String(cString: name), value)) }
            }
            return result.sorted { $0.name < $1.name }
        }
    }

    private func values(of name: UnsafePointer<CChar>) -> [String] {
        var values: UnsafeMutablePointer<UnsafePointer<CChar>?>?
        var count: CInt = 0
        guard natsMsgHeader_Values(raw, name, &values, &count) == NATS_OK, let values else {
            return []
        }
        defer { free(values) }
        return (0..<Int(count)).compactMap { values[$0].map { String(cString: $0) } }
    }

    /// The most bytes (headers and payload) the server takes in an answer.
    package var maxAnswer: Int { connection.maxPayload }

    /// Answers the message, when it is a request; else does nothing.
    /// - Throws: as `Connection.publish`.
    package func respond(
        _ payload: [UInt8], headers: [(String, String)] = []
    ) throws(BusError) {
        guard let reply else { return }
        try Subject.check(reply, .reply)
        try connection.send(reply, payload, headers: headers, reply: nil)
    }

    /// Sends the payload on to another subject of the same connection, where answers go to whoever the
    /// sender of this message named.
    /// - Throws: as `Connection.publish`.
    package func pass(to subject: String, headers: [(String, String)]) throws(BusError) {
        try Subject.check(subject, .publish)
        let reply = reply
        if let reply { try Subject.check(reply, .reply) }
        try connection.send(subject, payload, headers: headers, reply: reply)
    }

    /// The code of a message that is about the connection instead of from a peer: 503 for "no
    /// responders", 404 and 408 for the end of a pull, 100 for a heartbeat; `nil` for all others.
    var status: Int? {
        guard count == 0, let text = header("Status") else { return nil }
        return Int(text.prefix(3))
    }
}
