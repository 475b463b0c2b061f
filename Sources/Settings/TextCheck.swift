/// Whether a text is something that libyaml may see: not too long, UTF-8, no control characters.
/// Otherwise the one issue that says so is added.
func isReadableText(_ text: [UInt8], issues: inout IssueList) -> Bool {
    guard text.count <= YAMLReader.sizeLimit else {
        issues.add(.fallback, "", "is larger than \(YAMLReader.sizeLimit >> 20) MiB")
        return false
    }
    if text.starts(with: [0xFF, 0xFE]) || text.starts(with: [0xFE, 0xFF]) {
        issues.add(.file(line: 1, column: 1), "", "is UTF-16; save it as UTF-8")
        return false
    }
    var line = 1
    var column = 1
    var decoder = UTF8()
    var bytes = text.makeIterator()
    while true {
        switch decoder.decode(&bytes) {
        case .emptyInput: return true
        case .error:
            issues.add(.file(line: line, column: column), "", "is not UTF-8 from here on")
            return false
        case .scalarValue("\n"):
            line += 1
            column = 1
        case .scalarValue(let scalar):
            guard isPrintable(scalar) else {
                let code = String(scalar.value, radix: 16, uppercase: true)
                issues.add(
                    .file(line: line, column: column), "",
                    "has a control character here (U+\(String(repeating: "0", count: max(0, 4 - code.count)))\(code)); remove it"
                )
                return false
            }
            column += 1
        }
    }
}

/// The characters that YAML 1.2 allows in a file (its rule `c-printable`).
private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09, 0x0A, 0x0D, 0x20...0x7E, 0x85, 0xA0...0xD7FF, 0xE000...0xFFFD: true
    case 0x10000...0x10FFFF: true
    default: false
    }
}
