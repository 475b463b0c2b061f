/// Why a text is not acceptable JSON, and where.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    /// Bytes before the offending one.
    package var offset: Int
    package var reason: String

    package var description: String { "not valid JSON at byte \(offset): \(reason)" }
}

extension JSON {
    /// Deepest nesting that is accepted. Messages from outside may have half of it
    /// (`Limits.messageDepth`), so that what SKOS wraps them in can always be read back.
    package static let depthLimit = 64

    /// Reads exactly one JSON value. Strict: no trailing text, no duplicate member names, no NaN, no
    /// numbers outside the range of a double, valid UTF-8 only, nesting up to `depthLimit`.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, depthLimit: Int = JSON.depthLimit
    ) throws(JSONError) -> JSON {
        var parser = JSONParser(bytes: bytes, depthLimit: depthLimit)
        return try parser.document()
    }

    /// Reads exactly one JSON value; see `parse(_: UnsafeRawBufferPointer)`.
    package static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSON {
        let result: Result<JSON, JSONError> = bytes.withUnsafeBytes { buffer in
            do throws(JSONError) { return .success(try parse(buffer)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Reads exactly one JSON value; see `parse(_: UnsafeRawBufferPointer)`.
    package static func parse(_ text: String) throws(JSONError) -> JSON {
        try parse([UInt8](text.utf8))
    }
}

/// A recursive descent over the bytes; recursion is bounded by `depthLimit`.
private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    let depthLimit: Int
    var position = 0
    var depth = 0

    init(bytes: UnsafeRawBufferPointer, depthLimit: Int) {
        self.bytes = bytes
        self.depthLimit = depthLimit
    }

    mutating func document() throws(JSONError) -> JSON {
        let value = try value()
        skipSpace()
        guard position == bytes.count else { throw error("text after the value") }
        return value
    }

    func error(_ reason: String) -> JSONError { JSONError(offset: position, reason: reason) }

    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    mutating func value() throws(JSONError) -> JSON {
        skipSpace()
        switch current {
        case UInt8(ascii: "{"):
            try enter()
            defer { depth -= 1 }
            return try object()
        case UInt8(ascii: "["):
            try enter()
            defer { depth -= 1 }
            return try array()
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case let byte? where byte == UInt8(ascii: "-") || (0x30...0x39).contains(byte):
            return try number()
        case nil: throw error("the text ends where a value is expected")
        default: throw error("a value is expected")
        }
    }

    mutating func enter() throws(JSONError) {
        guard depth < depthLimit else {
            throw error("nested deeper than \(depthLimit) levels")
        }
        depth += 1
    }

    mutating func word(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
        let end = position + word.utf8CodeUnitCount
        guard end <= bytes.count else { throw error("a value is expected") }
        for index in 0..<word.utf8CodeUnitCount
        where bytes[position + index] != word.utf8Start[index] {
            throw error("a value is expected")
        }
        position = end
        return value
    }

    mutating func object() throws(JSONError) -> JSON {
        position += 1
        var members: [(name: String, value: JSON)] = []
        skipSpace()
        if current == UInt8(ascii: "}") {
            position += 1
            return .object(JSON.Object())
        }
        // Most objects have more than one member: saves growing by one, two, four.
        members.reserveCapacity(8)
        // Names are compared one by one while there are few, through a set when there are many, so
        // that a hostile message of 10,000 members does not cost 10,000².
        var many: Set<String> = []
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw error("a member name is expected") }
            let start = position
            let name = try string()
            let isKnown: Bool
            if members.count < 16 {
                isKnown = members.contains { $0.name == name }
            } else {
                if many.isEmpty { many = Set(members.map(\.name)) }
                isKnown = !many.insert(name).inserted
            }
            guard !isKnown else {
                position = start
                throw error("the member \(Name.quoted(name)) stands twice")
            }
            skipSpace()
            guard current == UInt8(ascii: ":") else { throw error("':' is expected") }
            position += 1
            members.append((name, try value()))
            skipSpace()
            switch current {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "}"):
                position += 1
                return .object(JSON.Object(uniqueMembers: members))
            default: throw error("',' or '}' is expected")
            }
        }
    }

    mutating func array() throws(JSONError) -> JSON {
        position += 1
        var elements: [JSON] = []
        skipSpace()
        if current == UInt8(ascii: "]") {
            position += 1
            return .array(elements)
        }
        while true {
            elements.append(try value())
            skipSpace()
            switch current {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "]"):
                position += 1
                return .array(elements)
            default: throw error("',' or ']' is expected")
            }
        }
    }

    // MARK: Strings

    mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        var all: UInt8 = 0
        while let byte = current {
            all |= byte
            switch byte {
            case UInt8(ascii: "\""):
                let text = try utf8(start..<position, isASCII: all < 0x80)
                position += 1
                return text
            case UInt8(ascii: "\\"): return try escapedString(from: start)
            case 0..<0x20: throw error("a control character inside a string")
            default: position += 1
            }
        }
        throw error("the text ends inside a string")
    }

    func utf8(_ range: Range<Int>, isASCII: Bool) throws(JSONError) -> String {
        let slice = UnsafeRawBufferPointer(rebasing: bytes[range])
        if isASCII {
            // Nothing to validate; a third of the time of the general way.
            return String(unsafeUninitializedCapacity: slice.count) { target in
                UnsafeMutableRawBufferPointer(target).copyMemory(from: slice)
                return slice.count
            }
        }
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw JSONError(offset: range.lowerBound, reason: "not valid UTF-8")
        }
        return text
    }

    mutating func escapedString(from start: Int) throws(JSONError) -> String {
        var buffer = [UInt8](bytes[start..<position])
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: buffer, as: UTF8.self) else {
                    throw JSONError(offset: start, reason: "not valid UTF-8")
                }
                position += 1
                return text
            case UInt8(ascii: "\\"):
                position += 1
                try escape(into: &buffer)
            case 0..<0x20: throw error("a control character inside a string")
            default:
                buffer.append(byte)
                position += 1
            }
        }
        throw error("the text ends inside a string")
    }

    mutating func escape(into buffer: inout [UInt8]) throws(JSONError) {
        guard let byte = current else { throw error("the text ends inside a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): buffer.append(byte)
        case UInt8(ascii: "b"): buffer.append(0x08)
        case UInt8(ascii: "f"): buffer.append(0x0C)
        case UInt8(ascii: "n"): buffer.append(0x0A)
        case UInt8(ascii: "r"): buffer.append(0x0D)
        case UInt8(ascii: "t"): buffer.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try unicodeEscape()
            buffer.append(contentsOf: String(Character(scalar)).utf8)
        default:
            position -= 1
            throw error("an unknown escape")
        }
    }

    /// The scalar of `\uXXXX`, or of a surrogate pair written as two of them.
    mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
        let first = try fourHexDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard (0xD800..<0xDC00).contains(first), current == UInt8(ascii: "\\"),
            position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "u")
        else { throw error("half of a surrogate pair") }
        position += 2
        let second = try fourHexDigits()
        guard (0xDC00..<0xE000).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw error("half of a surrogate pair") }
        return scalar
    }

    mutating func fourHexDigits() throws(JSONError) -> UInt32 {
        guard position + 4 <= bytes.count else { throw error("the text ends inside a string") }
        var value: UInt32 = 0
        for _ in 0..<4 {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 + UInt32(byte - 0x30)
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 + UInt32(byte - 0x57)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 + UInt32(byte - 0x37)
            default: throw error("four hexadecimal digits are expected")
            }
            position += 1
        }
        return value
    }

    // MARK: Numbers

    mutating func number() throws(JSONError) -> JSON {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") { position += 1 } else { try digits() }
        var isInteger = true
        if current == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            try digits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else {
            position = start
            throw error("a number outside the range of 64-bit floating point")
        }
        return .number(number)
    }

    mutating func digits() throws(JSONError) {
        let start = position
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            position += 1
        }
        guard position > start else { throw error("a digit is expected") }
    }
}
