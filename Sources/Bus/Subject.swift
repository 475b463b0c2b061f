/// Which texts may go into the protocol line of a subject.
///
/// cnats 3.4.1 sends whatever it is given, so a line break in a subject would inject a second
/// command into the connection, and a blank would turn the rest into a reply subject. Therefore
/// every subject passes through here before it reaches cnats.
package enum Subject {
    /// The longest subject accepted, in bytes. SKOS' own stay under 256 (NATS' advice); reply
    /// subjects of JetStream carry stream, consumer and five numbers and can be longer.
    package static let lengthLimit = 512

    /// What a subject is going to be used for.
    enum Use: Sendable {
        /// Tokens of `[A-Za-z0-9_-]`; the first may be a system token such as `$JS`.
        case publish
        /// As `publish`, with `*` for a token and `>` for the last ones.
        case subscribe
        /// A subject that another client chose: anything that cannot break the protocol line.
        case reply
    }

    /// Throws `invalidArgument` when `subject` must not be sent.
    static func check(_ subject: String, _ use: Use) throws(BusError) {
        var copy = subject
        let flaw = copy.withUTF8 { Self.flaw(in: $0, use) }
        guard let flaw else { return }
        throw BusError(
            .invalidArgument,
            "subject \(quoted(subject)) refused: \(flaw); use tokens of A-Z a-z 0-9 _ - joined by dots"
        )
    }

    /// Whether a text can stand as one token of a subject.
    package static func isToken(_ text: String) -> Bool {
        var copy = text
        return copy.withUTF8 { bytes in
            guard !bytes.isEmpty, bytes.count <= lengthLimit else { return false }
            for byte in bytes where !isTokenByte(byte) { return false }
            return true
        }
    }

    private static func flaw(in bytes: UnsafeBufferPointer<UInt8>, _ use: Use) -> String? {
        guard !bytes.isEmpty else { return "it is empty" }
        guard bytes.count <= lengthLimit else { return "it is longer than \(lengthLimit) bytes" }
        var start = 0
        for index in 0...bytes.count {
            guard index == bytes.count || bytes[index] == UInt8(ascii: ".") else { continue }
            let token = UnsafeBufferPointer(rebasing: bytes[start..<index])
            if let flaw = flaw(inToken: token, first: start == 0, last: index == bytes.count, use) {
                return flaw
            }
            start = index + 1
        }
        return nil
    }

    private static func flaw(
        inToken token: UnsafeBufferPointer<UInt8>, first: Bool, last: Bool, _ use: Use
    ) -> String? {
        guard let initial = token.first else { return "it has an empty token" }
        if use == .subscribe, token.count == 1 {
            if initial == UInt8(ascii: "*") { return nil }
            if initial == UInt8(ascii: ">") {
                return last ? nil : "'>' is only allowed as the last token"
            }
        }
        var rest = token[...]
        if first, initial == UInt8(ascii: "$"), token.count > 1 { rest = rest.dropFirst() }
        for byte in rest where !isTokenByte(byte) {
            if use == .reply, isReplyByte(byte) { continue }
            return "byte 0x\(String(byte, radix: 16)) is not allowed"
        }
        return nil
    }

    @inline(__always)
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// Printable ASCII other than blank and the wildcards.
    private static func isReplyByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: "*") && byte != UInt8(ascii: ">")
    }

    /// The subject as an error message can show it: printable and short.
    private static func quoted(_ subject: String) -> String {
        var text = "'"
        for scalar in subject.unicodeScalars.prefix(80) {
            text +=
                scalar.value < 0x20 || scalar.value == 0x7f
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
        return text + (subject.unicodeScalars.count > 80 ? "…'" : "'")
    }
}
