internal import CNATS

/// A message with headers on its way out; cnats copies it while publishing.
final class OutgoingMessage {
    let raw: OpaquePointer
    private let connection: Connection

    /// - Throws: `invalidArgument` for a header that cannot be sent.
    init(
        _ connection: Connection, _ subject: String, reply: UnsafePointer<CChar>?,
        _ payload: [UInt8], headers: [(String, String)]
    ) throws(BusError) {
        var created: OpaquePointer?
        let status = payload.withUnsafeBytes { bytes in
            natsMsg_Create(
                &created, subject, reply, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                CInt(clamping: bytes.count))
        }
        guard status == NATS_OK, let created else {
            throw BusError(status, "message to \(subject)")
        }
        raw = created
        self.connection = connection
        for (name, value) in headers { try add(name, value) }
    }

    deinit { connection.letGo(raw) }

    private func add(_ name: String, _ value: String) throws(BusError) {
        guard Subject.isToken(name) else {
            throw BusError(
                .invalidArgument,
                "header name of \(name.utf8.count) bytes refused: use A-Z a-z 0-9 _ -")
        }
        // cnats 3.4.1 can send an empty value, but its receivers lose all headers after it.
        guard !value.isEmpty else {
            throw BusError(.invalidArgument, "header \(name) refused: its value is empty")
        }
        guard Self.isPrintable(value) else {
            throw BusError(
                .invalidArgument, "header \(name) refused: its value has a control character")
        }
        let status = natsMsgHeader_Add(raw, name, value)
        guard status == NATS_OK else { throw BusError(status, "header \(name)") }
    }

    private static func isPrintable(_ value: String) -> Bool {
        var copy = value
        return copy.withUTF8 { bytes in
            for byte in bytes where byte < 0x20 || byte == 0x7f { return false }
            return true
        }
    }
}
