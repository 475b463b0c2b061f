import Protocol

/// The members of something that is nearly a JSON object: their names, texts and numbers, as far as they
/// are plain. For messages that other libraries write and strict readers refuse.
struct LooseMembers {
    /// Members that are kept beside those of an envelope.
    private static let limit = 256
    private static let envelope: Set = [
        "chain_id", "message_id", "parent_id", "depth", "iteration", "path", "tokens", "from", "to",
        "traceparent",
    ]

    private(set) var object = JSON.Object()
    private var kept = 0
    private let bytes: UnsafeRawBufferPointer
    private var place = 0

    /// Reads what begins with `{`; linear in its length.
    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        skipSpace()
        guard take(UInt8(ascii: "{")) else { return }
        while readMember() {}
    }

    private mutating func readMember() -> Bool {
        skipSpace()
        guard let name = string() else { return false }
        skipSpace()
        guard take(UInt8(ascii: ":")) else { return false }
        skipSpace()
        let start = place
        skipValue()
        if let name = Self.parsed(name)?.string { keep(name, slice(start, place)) }
        skipSpace()
        return take(UInt8(ascii: ","))
    }

    private mutating func keep(_ name: String, _ value: UnsafeRawBufferPointer) {
        if Self.envelope.contains(name) {
            // Of two that differ it is not known which is meant.
            let parsed = Self.parsed(value) ?? .null
            object[name] = object[name].map { $0 == parsed ? parsed : .null } ?? parsed
        } else if kept < Self.limit, value.first == UInt8(ascii: "\""), value.count > 1 {
            kept += 1
            let text = String(decoding: value[1..<(value.count - 1)], as: UTF8.self)
            object[name] = Self.parsed(value) ?? .string(text)
        }
    }

    private static func parsed(_ bytes: UnsafeRawBufferPointer) -> JSON? {
        try? JSON.parse(bytes, depthLimit: Limits.messageDepth)
    }

    private func slice(_ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }

    private mutating func skipSpace() {
        while place < bytes.count, bytes[place] <= 0x20 { place += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard place < bytes.count, bytes[place] == byte else { return false }
        place += 1
        return true
    }

    /// A text with its quotes; `nil` when there is none.
    private mutating func string() -> UnsafeRawBufferPointer? {
        let start = place
        guard take(UInt8(ascii: "\"")) else { return nil }
        while place < bytes.count {
            let byte = bytes[place]
            place += 1
            if byte == UInt8(ascii: "\"") { return slice(start, place) }
            if byte == UInt8(ascii: "\\") { place = min(place + 1, bytes.count) }
        }
        return nil
    }

    /// Goes to the comma or the bracket after a value, however deep it is.
    private mutating func skipValue() {
        var depth = 0
        while place < bytes.count {
            switch bytes[place] {
            case UInt8(ascii: "\""):
                if string() == nil { return }
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { return }
                depth -= 1
            case UInt8(ascii: ","):
                if depth == 0 { return }
            default: break
            }
            place += 1
        }
    }
}
