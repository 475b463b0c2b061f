/// Swift source without what is not code: the contents of comments and string literals are replaced by
/// spaces, lines stay where they are. Code inside interpolations goes, too.
struct SourceText {
    let original: String
    let code: [UInt8]

    init(_ original: String) {
        self.original = original
        var lexer = Lexer(bytes: Array(original.utf8))
        code = lexer.blanked()
    }

    var lines: [Substring] {
        String(decoding: code, as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
    }

    /// The line of a place in the code, counted from 1.
    func line(at offset: Int) -> Int { code[..<offset].count { $0 == 0x0A } + 1 }

    /// Where a word stands that is not part of a longer one.
    func places(ofWord word: String) -> [Int] {
        let word = Array(word.utf8)
        var places: [Int] = []
        var start = 0
        while let found = code[start...].firstIndex(of: word[0]), found + word.count <= code.count {
            if code[found..<found + word.count].elementsEqual(word), !isWordPart(found - 1),
                !isWordPart(found + word.count)
            {
                places.append(found)
            }
            start = found + 1
        }
        return places
    }

    private func isWordPart(_ index: Int) -> Bool {
        guard code.indices.contains(index) else { return false }
        let byte = code[index]
        return byte == UInt8(ascii: "_") || (0x30...0x39).contains(byte)
            || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte >= 0x80
    }

    /// The place after the bracket that closes the one at `start`.
    func end(ofBracketAt start: Int) -> Int? {
        let pairs: [UInt8: UInt8] = [0x28: 0x29, 0x5B: 0x5D, 0x7B: 0x7D]
        guard let closing = pairs[code[start]] else { return nil }
        var depth = 0
        for index in start..<code.count {
            if code[index] == code[start] { depth += 1 }
            if code[index] == closing {
                depth -= 1
                if depth == 0 { return index + 1 }
            }
        }
        return nil
    }
}

private struct Lexer {
    let bytes: [UInt8]
    var output: [UInt8] = []
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func blanked() -> [UInt8] {
        while position < bytes.count { step() }
        return output
    }

    private func has(_ text: String, at index: Int) -> Bool {
        bytes[min(index, bytes.count)...].starts(with: text.utf8)
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where position < bytes.count {
            output.append(bytes[position] == 0x0A ? 0x0A : 0x20)
            position += 1
        }
    }

    private mutating func step() {
        let starters: [UInt8] = [UInt8(ascii: "/"), UInt8(ascii: "#"), UInt8(ascii: "\"")]
        guard starters.contains(bytes[position]) else {
            output.append(bytes[position])
            position += 1
            return
        }
        if has("//", at: position) {
            while position < bytes.count, bytes[position] != 0x0A { blank() }
        } else if has("/*", at: position) {
            blockComment()
        } else if let hashes = stringStart() {
            string(hashes)
        } else {
            output.append(bytes[position])
            position += 1
        }
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            if has("/*", at: position) {
                depth += 1
                blank(2)
            } else if has("*/", at: position) {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && position < bytes.count
    }

    /// How many `#` a string literal begins with, if one begins here.
    private func stringStart() -> Int? {
        var index = position
        while index < bytes.count, bytes[index] == UInt8(ascii: "#") { index += 1 }
        guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { return nil }
        return index - position
    }

    private mutating func string(_ hashes: Int) {
        let marks = String(repeating: "#", count: hashes)
        let quote = has("\"\"\"", at: position + hashes) ? "\"\"\"" : "\""
        blank(hashes + quote.utf8.count)
        while position < bytes.count {
            if has(quote + marks, at: position) { return blank(hashes + quote.utf8.count) }
            if has("\\" + marks + "(", at: position) {
                blank(hashes + 1)
                interpolation()
            } else if has("\\" + marks, at: position) {
                blank(hashes + 2)
            } else {
                blank()
            }
        }
    }

    /// From the opening to the closing parenthesis.
    private mutating func interpolation() {
        var depth = 0
        repeat {
            if let hashes = stringStart() {
                string(hashes)
                continue
            }
            if bytes[position] == UInt8(ascii: "(") { depth += 1 }
            if bytes[position] == UInt8(ascii: ")") { depth -= 1 }
            blank()
        } while depth > 0 && position < bytes.count
    }
}
