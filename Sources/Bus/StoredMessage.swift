internal import Protocol

/// A message as a stream keeps it.
package struct StoredMessage: Sendable, Equatable {
    package var subject: String
    package var sequence: UInt64
    package var payload: [UInt8]
    package var headers: [Header]
    /// When the stream stored it.
    package var timestampNanoseconds: Int64

    package struct Header: Sendable, Equatable {
        package var name: String
        package var value: String
    }

    /// The first value of a header; names are case-sensitive.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    init(_ answer: JSON.Object) throws(BusError) {
        func broken(_ what: String) -> BusError {
            BusError(.protocolError, "stored message: the server's answer has no readable \(what)")
        }
        guard let message = answer["message"]?.object, let subject = message["subject"]?.string
        else {
            throw broken("subject")
        }
        guard let sequence = message["seq"]?.integer, sequence > 0 else { throw broken("seq") }
        guard let time = message["time"]?.string.flatMap({ Timestamp($0) }) else {
            throw broken("time")
        }
        guard let payload = Base64.decode(message["data"]?.string ?? "") else {
            throw broken("data")
        }
        guard let headers = Base64.decode(message["hdrs"]?.string ?? "") else {
            throw broken("hdrs")
        }
        self.subject = subject
        self.sequence = UInt64(sequence)
        self.payload = payload
        self.headers = Self.parse(headers)
        timestampNanoseconds = time.nanoseconds
    }

    /// `NATS/1.0`, then lines `name: value`, each ended by CR LF.
    static func parse(_ bytes: [UInt8]) -> [Header] {
        var headers: [Header] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")).dropFirst() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let value = line[(colon + 1)...].drop { $0 == UInt8(ascii: " ") }
            headers.append(
                Header(
                    name: String(decoding: line[..<colon], as: UTF8.self),
                    value: String(decoding: value, as: UTF8.self)))
        }
        return headers
    }
}

/// RFC 4648 section 4, as Go writes it: with padding.
enum Base64 {
    private static let values: [UInt8] = {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        var values = [UInt8](repeating: 255, count: 256)
        for (value, byte) in alphabet.utf8.enumerated() { values[Int(byte)] = UInt8(value) }
        return values
    }()

    /// `nil` when `text` is not Base64.
    static func decode(_ text: String) -> [UInt8]? {
        var bytes = Array(text.utf8)
        guard bytes.count.isMultiple(of: 4) else { return nil }
        for _ in 0..<2 where bytes.last == UInt8(ascii: "=") { bytes.removeLast() }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count / 4 * 3 + 2)
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            let value = values[Int(byte)]
            guard value < 64 else { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return result
    }
}

extension JetStream {
    /// The message with a sequence; `nil` when the stream has none. Read from the stream's leader.
    /// - Throws: `jetStream(code)`, `timeout`.
    package func getMessage(
        _ stream: String, sequence: UInt64
    ) async throws(BusError) -> StoredMessage? {
        try await get(stream, ["seq": .integer(Int64(clamping: sequence))])
    }

    /// The last message of a subject; `nil` when there is none. Read from the stream's leader.
    /// - Throws: `jetStream(code)`, `timeout`.
    package func getMessage(
        _ stream: String, lastBySubject subject: String
    ) async throws(BusError) -> StoredMessage? {
        try Subject.check(subject, .subscribe)
        return try await get(stream, ["last_by_subj": .string(subject)])
    }

    private func get(_ stream: String, _ which: JSON) async throws(BusError) -> StoredMessage? {
        try Self.checkName(stream, "stream")
        do throws(BusError) {
            return try StoredMessage(try await api("STREAM.MSG.GET.\(stream)", which))
        } catch  where error.code == .jetStream(JetStreamCode.messageNotFound) {
            return nil
        }
    }
}
