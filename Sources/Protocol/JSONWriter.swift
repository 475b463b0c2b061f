extension JSON {
    /// The value as compact JSON text in UTF-8.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        write(to: &bytes)
        return bytes
    }

    /// The value as compact JSON text.
    package var text: String { String(decoding: encoded, as: UTF8.self) }

    /// Appends the value as compact JSON text.
    package func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .bool(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): bytes.append(contentsOf: String(value).utf8)
        case .number(let value): JSON.writeNumber(value, to: &bytes)
        case .string(let value): JSON.writeString(value, to: &bytes)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let object): object.write(to: &bytes)
        }
    }

    /// The value over several lines with two spaces of indentation, for people.
    package var pretty: String {
        var bytes: [UInt8] = []
        writePretty(to: &bytes, indentation: 0)
        return String(decoding: bytes, as: UTF8.self)
    }

    private func writePretty(to bytes: inout [UInt8], indentation: Int) {
        let inner = [UInt8](repeating: 0x20, count: indentation + 2)
        switch self {
        case .array(let elements) where !elements.isEmpty:
            bytes.append(contentsOf: "[\n".utf8)
            for (index, element) in elements.enumerated() {
                bytes.append(contentsOf: inner)
                element.writePretty(to: &bytes, indentation: indentation + 2)
                bytes.append(contentsOf: (index == elements.count - 1 ? "\n" : ",\n").utf8)
            }
            bytes.append(contentsOf: inner.dropLast(2))
            bytes.append(UInt8(ascii: "]"))
        case .object(let object) where !object.isEmpty:
            bytes.append(contentsOf: "{\n".utf8)
            for (index, member) in object.members.enumerated() {
                bytes.append(contentsOf: inner)
                JSON.writeString(member.name, to: &bytes)
                bytes.append(contentsOf: ": ".utf8)
                member.value.writePretty(to: &bytes, indentation: indentation + 2)
                bytes.append(
                    contentsOf: (index == object.members.count - 1 ? "\n" : ",\n").utf8)
            }
            bytes.append(contentsOf: inner.dropLast(2))
            bytes.append(UInt8(ascii: "}"))
        default: write(to: &bytes)
        }
    }

    /// JSON has no infinities; a value that cannot be written becomes `null` rather than bad text.
    private static func writeNumber(_ value: Double, to bytes: inout [UInt8]) {
        guard value.isFinite else {
            bytes.append(contentsOf: "null".utf8)
            return
        }
        bytes.append(contentsOf: value.description.utf8)
    }

    static func writeString(_ value: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        var value = value
        value.withUTF8 { text in
            // Whole runs of what stands for itself are appended at once.
            var start = 0
            for index in text.indices where text[index] < 0x20 || isEscaped(text[index]) {
                bytes.append(contentsOf: text[start..<index])
                writeEscape(of: text[index], to: &bytes)
                start = index + 1
            }
            bytes.append(contentsOf: text[start...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func isEscaped(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private static func writeEscape(of byte: UInt8, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0..<0x20:
            bytes.append(contentsOf: "u00".utf8)
            bytes.append(hexDigit(byte >> 4))
            bytes.append(hexDigit(byte & 15))
        default: bytes.append(byte)
        }
    }

    private static func hexDigit(_ digit: UInt8) -> UInt8 {
        digit < 10 ? digit + UInt8(ascii: "0") : digit + UInt8(ascii: "a") - 10
    }
}

extension JSON.Object {
    /// Appends the object as compact JSON text.
    package func write(to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "{"))
        for (index, member) in members.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            JSON.writeString(member.name, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            member.value.write(to: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
