import Platform

/// One line of a file in `tmpfiles.d`: the type, and the path as patterns for its names.
struct TmpfilesLine {
    var kind = TmpfilesRules.Rule.Kind.own
    /// `nil`: it names no path.
    var names: [GlobPattern]?
    /// What made no sense, and what became of it.
    var oddity: String?

    /// Types whose path is a pattern; that of the others is taken as it is.
    private static let globTypes = Set("wxXrRzZtThHaAe".utf8)
    private static let literalTypes = Set("dDvqQfFpLcbC".utf8)
    private static let modifiers = Set("+!-=~^$?".utf8)

    /// - `line`: neither empty nor a comment, without blanks at both ends.
    init(_ line: ArraySlice<UInt8>) {
        let type = line.prefix { !Self.isBlank($0) }
        let letter = type.first ?? 0
        switch letter {
        case UInt8(ascii: "x"): kind = .ignore
        case UInt8(ascii: "X"): kind = .ignoreItself
        default: kind = .own
        }
        let isKnown = Self.globTypes.contains(letter) || Self.literalTypes.contains(letter)
        if !isKnown || !type.dropFirst().allSatisfy(Self.modifiers.contains) {
            oddity = "\(Self.shown(type)) is no type of line; its path is left alone"
        }
        let rest = line.dropFirst(type.count).drop(while: Self.isBlank)
        if rest.isEmpty {
            oddity = "\(Self.shown(type)) names no path"
        } else {
            read(rest, isGlob: !Self.literalTypes.contains(letter))
        }
    }

    /// Reads the path.
    private mutating func read(_ rest: ArraySlice<UInt8>, isGlob: Bool) {
        guard let word = TmpfilesWord.read(rest) else {
            return cut(TmpfilesWord.plainPrefix(rest), "the quotes or escapes of its path are odd")
        }
        guard word.first == UInt8(ascii: "/") || word.first == UInt8(ascii: "%") else {
            oddity = "\(Self.shown(word[...])) is no absolute path"
            return
        }
        switch TmpfilesPath.patterns(word, isGlob: isGlob) {
        case .whole(let names): self.names = names
        case .beginning(let prefix, let reason): cut(prefix, reason)
        }
    }

    /// Leaves all alone that begins with a part of the path.
    private mutating func cut(_ prefix: [UInt8], _ reason: String) {
        let parts = prefix.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        let whole = parts.dropLast().filter { !$0.isEmpty && $0 != "." }
        names = (whole.map(TmpfilesPath.literal) + [TmpfilesPath.literal(parts.last ?? "") + "*"])
            .map { GlobPattern(name: $0) }
        // All of it, and also when it begins with less than the directory that is cleaned: who knows what
        // the rest would have said.
        kind = .ignore
        oddity = "\(reason); what begins with \(Self.shown(prefix[...])) is left alone"
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private static func shown(_ bytes: ArraySlice<UInt8>) -> String {
        let text = String(decoding: bytes.prefix(64), as: UTF8.self)
        return "\"" + text + (bytes.count > 64 ? "…" : "") + "\""
    }
}

/// A word of a line: blanks end it, quotes hold it together, and a backslash stands before what C knows.
enum TmpfilesWord {
    /// The first word; `nil` when its quotes are not closed or a backslash stands before anything else.
    static func read(_ line: ArraySlice<UInt8>) -> [UInt8]? {
        var word: [UInt8] = []
        var quote: UInt8?
        var rest = line
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\") {
                guard let bytes = escaped(&rest) else { return nil }
                word += bytes
            } else if byte == quote {
                quote = nil
            } else if quote == nil, byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                quote = byte
            } else if quote == nil, TmpfilesLine.isBlank(byte) {
                return word
            } else {
                word.append(byte)
            }
        }
        return quote == nil ? word : nil
    }

    /// The beginning of a word that stands for itself, whatever the rest means.
    static func plainPrefix(_ line: ArraySlice<UInt8>) -> [UInt8] {
        let special = Set("\"'\\*?[%".utf8)
        let opening =
            line.first.map { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "'") } ?? false
        return Array(
            line.dropFirst(opening ? 1 : 0)
                .prefix { !special.contains($0) && !TmpfilesLine.isBlank($0) && $0 < 0x80 })
    }

    private static let letters: [UInt8: UInt8] = [
        UInt8(ascii: "a"): 0x07, UInt8(ascii: "b"): 0x08, UInt8(ascii: "f"): 0x0C,
        UInt8(ascii: "n"): 0x0A, UInt8(ascii: "r"): 0x0D, UInt8(ascii: "t"): 0x09,
        UInt8(ascii: "v"): 0x0B, UInt8(ascii: "s"): 0x20, UInt8(ascii: "\\"): 0x5C,
        UInt8(ascii: "\""): 0x22, UInt8(ascii: "'"): 0x27,
    ]

    /// What stands behind a backslash.
    private static func escaped(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
        guard let byte = rest.first else { return nil }
        if let letter = letters[byte] {
            rest.removeFirst()
            return [letter]
        }
        let (digits, radix): (Int, Int)
        switch byte {
        case UInt8(ascii: "x"): (digits, radix) = (2, 16)
        case UInt8(ascii: "u"): (digits, radix) = (4, 16)
        case UInt8(ascii: "U"): (digits, radix) = (8, 16)
        case UInt8(ascii: "0")...UInt8(ascii: "7"): (digits, radix) = (3, 8)
        default: return nil
        }
        if radix == 16 { rest.removeFirst() }
        guard rest.count >= digits,
            let value = UInt32(String(decoding: rest.prefix(digits), as: UTF8.self), radix: radix),
            value > 0
        else { return nil }
        rest.removeFirst(digits)
        guard digits > 3 else { return UInt8(exactly: value).map { [$0] } }
        return Unicode.Scalar(value).map { Array(String(Character($0)).utf8) }
    }
}

/// The path of a line, as patterns for its names.
enum TmpfilesPath {
    enum Outcome {
        case whole([GlobPattern])
        /// Only so much of it can be told, and why.
        case beginning([UInt8], String)
    }

    /// Specifiers that are directories, as they are for the system's own `systemd-tmpfiles`.
    private static let directories: [UInt8: String] = [
        UInt8(ascii: "T"): "/tmp", UInt8(ascii: "V"): "/var/tmp", UInt8(ascii: "t"): "/run",
        UInt8(ascii: "S"): "/var/lib", UInt8(ascii: "C"): "/var/cache",
        UInt8(ascii: "L"): "/var/log",
        UInt8(ascii: "h"): "/root",
    ]
    /// Those that stand for a part of a name, such as the boot's id: whatever they are, none has a slash.
    private static let partsOfNames = Set("aAbBgGHlmMoqUuvwW".utf8)

    static func patterns(_ word: [UInt8], isGlob: Bool) -> Outcome {
        var text: [UInt8] = []
        var index = 0
        while index < word.count {
            let byte = word[index]
            index += 1
            guard byte == UInt8(ascii: "%"), index < word.count else {
                if !isGlob, special.contains(byte) { text.append(UInt8(ascii: "\\")) }
                text.append(byte)
                continue
            }
            let specifier = word[index]
            index += 1
            if specifier == UInt8(ascii: "%") {
                text.append(specifier)
            } else if let directory = directories[specifier] {
                text += Array(directory.utf8)
            } else if partsOfNames.contains(specifier) {
                text.append(UInt8(ascii: "*"))
            } else {
                let name = String(decoding: [UInt8(ascii: "%"), specifier], as: UTF8.self)
                return .beginning(plain(text), "\(name) is not known")
            }
        }
        return split(text)
    }

    private static let special = Set("*?[\\".utf8)

    /// Cuts a pattern at its slashes.
    private static func split(_ text: [UInt8]) -> Outcome {
        var names: [GlobPattern] = []
        var beginning: [UInt8] = []
        for part in text.split(separator: UInt8(ascii: "/")) where part != [UInt8(ascii: ".")] {
            let isUp = part == Array("..".utf8)[...]
            guard !isUp, !isOdd(Array(part)), let name = String(validating: part, as: UTF8.self)
            else {
                return .beginning(
                    plain(beginning + [UInt8(ascii: "/")] + (isUp ? [] : part)),
                    "its path is not understood")
            }
            beginning += [UInt8(ascii: "/")] + part
            names.append(GlobPattern(name: name))
        }
        return .whole(names)
    }

    /// Whether a pattern says something that patterns here do not know: classes such as `[:alpha:]`, a set
    /// or a backslash that goes on behind the slash, and characters of more than one byte.
    private static func isOdd(_ part: [UInt8]) -> Bool {
        if part.contains(where: { $0 >= 0x80 }), part.contains(where: { "?[".utf8.contains($0) }) {
            return true
        }
        var index = 0
        while index < part.count {
            switch part[index] {
            case UInt8(ascii: "\\"):
                guard index + 1 < part.count else { return true }
                index += 1
            case UInt8(ascii: "["):
                let rest = part[(index + 1)...]
                guard rest.dropFirst().contains(UInt8(ascii: "]")) else { return true }
                let set = rest.prefix { $0 != UInt8(ascii: "]") }
                if set.contains(UInt8(ascii: "[")) || set.contains(UInt8(ascii: "\\")) {
                    return true
                }
            default: break
            }
            index += 1
        }
        return false
    }

    /// The beginning of a pattern that stands for itself.
    private static func plain(_ pattern: [UInt8]) -> [UInt8] {
        Array(pattern.prefix { !special.contains($0) && $0 < 0x80 })
    }

    /// A name as a pattern that only it matches.
    static func literal(_ name: String) -> String {
        name.reduce(into: "") { text, character in
            if "*?[\\".contains(character) { text += "\\" }
            text.append(character)
        }
    }
}
