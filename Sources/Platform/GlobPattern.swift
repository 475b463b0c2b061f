/// A shell pattern (`*`, `?`, `[a-z]`, `[!a-z]`, `\` before a byte taken as it is) over bytes: names on
/// Linux need not be text. Matching takes no more than length of pattern times length of name, however
/// either is made.
package struct GlobPattern: Sendable, Hashable {
    private enum Token: Sendable, Hashable {
        case byte(UInt8)
        /// `?`
        case any
        case set([ClosedRange<UInt8>], isNegated: Bool)
        /// `*`; `**` when it may cross slashes.
        case star(crossesSlashes: Bool)
    }

    /// The pattern as it was written.
    package let text: String
    private let tokens: [Token]
    /// Whether a slash is something that only itself and `**` match.
    private let isPath: Bool

    /// A pattern for names, in which a slash is a byte like others.
    package init(name text: String) { self.init(text, isPath: false) }

    /// A pattern for paths: `*`, `?` and `[…]` stop at a slash, `**` does not.
    package init(path text: String) { self.init(text, isPath: true) }

    private init(_ text: String, isPath: Bool) {
        self.text = text
        self.isPath = isPath
        tokens = Self.parse(Array(text.utf8), isPath: isPath)
    }

    /// Whether all of `name` matches.
    package func matches(_ name: String) -> Bool {
        var name = name
        return name.withUTF8 { matches($0) }
    }

    /// Whether all of `name` matches.
    package func matches(_ name: [UInt8]) -> Bool { name.withUnsafeBufferPointer { matches($0) } }

    /// Whether all of `name` matches.
    package func matches(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
        var (place, token) = (0, 0)
        // Where to go on after a mismatch: behind the last star, which then takes one byte more. An
        // earlier one need not be tried again: whatever it would take, the last one can take as well.
        var star: (place: Int, token: Int)?
        var wideStar: (place: Int, token: Int)?
        while true {
            if token < tokens.count, case .star(let crosses) = tokens[token] {
                token += 1
                if crosses {
                    (wideStar, star) = ((place, token), nil)
                } else {
                    star = (place, token)
                }
                continue
            }
            if place < name.count, token < tokens.count, accepts(tokens[token], name[place]) {
                place += 1
                token += 1
                continue
            }
            if place == name.count && token == tokens.count { return true }
            if let last = star, last.place < name.count, !(isPath && name[last.place] == slash) {
                star = (last.place + 1, last.token)
                (place, token) = (last.place + 1, last.token)
            } else if let last = wideStar, last.place < name.count {
                (wideStar, star) = ((last.place + 1, last.token), nil)
                (place, token) = (last.place + 1, last.token)
            } else {
                return false
            }
        }
    }

    private func accepts(_ token: Token, _ byte: UInt8) -> Bool {
        switch token {
        case .byte(let wanted): byte == wanted
        case .any: !(isPath && byte == slash)
        case .set(let ranges, let isNegated):
            !(isPath && byte == slash) && ranges.contains { $0.contains(byte) } != isNegated
        case .star: false
        }
    }

    private static func parse(_ bytes: [UInt8], isPath: Bool) -> [Token] {
        var tokens: [Token] = []
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "*"):
                let start = index
                while index < bytes.count, bytes[index] == UInt8(ascii: "*") { index += 1 }
                tokens.append(.star(crossesSlashes: !isPath || index - start > 1))
                continue
            case UInt8(ascii: "?"): tokens.append(.any)
            case UInt8(ascii: "\\") where index + 1 < bytes.count:
                index += 1
                tokens.append(.byte(bytes[index]))
            case UInt8(ascii: "["):
                if let (set, end) = set(bytes, from: index + 1) {
                    tokens.append(set)
                    index = end
                } else {
                    // Not closed: the shell takes it as it is, too.
                    tokens.append(.byte(bytes[index]))
                }
            case let byte: tokens.append(.byte(byte))
            }
            index += 1
        }
        return tokens
    }

    /// The set that begins behind a `[`, and where its `]` is.
    private static func set(_ bytes: [UInt8], from start: Int) -> (Token, Int)? {
        var index = start
        let isNegated = index < bytes.count && (bytes[index] == 0x21 || bytes[index] == 0x5E)
        if isNegated { index += 1 }
        let first = index
        var ranges: [ClosedRange<UInt8>] = []
        while index < bytes.count {
            let low = bytes[index]
            if low == UInt8(ascii: "]") && index > first {
                return (.set(ranges, isNegated: isNegated), index)
            }
            if index + 2 < bytes.count, bytes[index + 1] == UInt8(ascii: "-"),
                bytes[index + 2] != UInt8(ascii: "]")
            {
                // A range the wrong way round matches nothing.
                if low <= bytes[index + 2] { ranges.append(low...bytes[index + 2]) }
                index += 3
            } else {
                ranges.append(low...low)
                index += 1
            }
        }
        return nil
    }
}

private let slash = UInt8(ascii: "/")
