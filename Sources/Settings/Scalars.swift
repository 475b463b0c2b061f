// Text to values and back: booleans, numbers, durations, sizes. Written by hand because the standard
// library also reads `nan`, `inf`, `0x1p3` and `1e999`, which no setting means.

/// `true` or `false` as YAML 1.2 writes them.
func parseFlag(_ text: String) -> Bool? {
    switch text {
    case "true", "True", "TRUE": true
    case "false", "False", "FALSE": false
    default: nil
    }
}

/// A whole number in JSON's syntax that fits an `Int`.
func parseInteger(_ text: String) -> Int? {
    guard isNumberSyntax(text), !text.utf8.contains(where: { [0x2E, 0x45, 0x65].contains($0) })
    else { return nil }
    return Int(text)
}

/// A finite number in JSON's syntax.
func parseNumber(_ text: String) -> Double? {
    guard isNumberSyntax(text), let value = Double(text), value.isFinite else { return nil }
    return value
}

/// Whether a text is `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
func isNumberSyntax(_ text: String) -> Bool {
    var rest = text.utf8[...]
    func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    /// Takes digits away; whether there was one.
    func digits() -> Bool {
        let count = rest.prefix(while: isDigit).count
        rest = rest.dropFirst(count)
        return count > 0
    }
    if rest.first == UInt8(ascii: "-") { rest.removeFirst() }
    if rest.first == UInt8(ascii: "0") { rest.removeFirst() } else if !digits() { return false }
    if rest.first == UInt8(ascii: ".") {
        rest.removeFirst()
        if !digits() { return false }
    }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
        rest.removeFirst()
        if let sign = rest.first, [0x2B, 0x2D].contains(sign) { rest.removeFirst() }
        if !digits() { return false }
    }
    return rest.isEmpty
}

/// A number as a person writes it: `75`, not `75.0`.
func numberText(_ value: Double) -> String {
    value == value.rounded() && value.magnitude < 1e15 ? String(Int64(value)) : "\(value)"
}

/// Nanoseconds of each unit, in the order in which a duration may combine them.
private let durationUnits: [(name: String, nanoseconds: Int64)] = [
    ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
    ("s", 1_000_000_000), ("ms", 1_000_000),
]

/// Decimals of a second that are read; more would be below a nanosecond.
private let decimalLimit = 9

/// Reads `5s`, `500ms`, `1h30m`, `30d`, or a plain number of seconds such as `5` or `0.5`.
///
/// Units come from the largest to the smallest, each at most once; numbers before a unit are whole.
package func parseDuration(_ text: String) -> Duration? {
    if let seconds = parseSeconds(text) { return seconds }
    var rest = text.utf8[...]
    var total: Int64 = 0
    var nextUnit = 0
    while !rest.isEmpty {
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        rest = rest.dropFirst(digits.count)
        let letters = rest.prefix { (0x61...0x7A).contains($0) }
        rest = rest.dropFirst(letters.count)
        guard let count = Int64(String(decoding: digits, as: UTF8.self)),
            let unit = durationUnits[nextUnit...].firstIndex(where: {
                $0.name.utf8.elementsEqual(letters)
            })
        else { return nil }
        nextUnit = unit + 1
        let (part, isTooLong) = count.multipliedReportingOverflow(
            by: durationUnits[unit].nanoseconds)
        let (sum, isTooLongTogether) = total.addingReportingOverflow(part)
        guard !isTooLong, !isTooLongTogether else { return nil }
        total = sum
    }
    return nextUnit > 0 ? .nanoseconds(total) : nil
}

/// Reads a plain number of seconds with up to nine decimals, exactly.
private func parseSeconds(_ text: String) -> Duration? {
    guard isNumberSyntax(text) else { return nil }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard let seconds = Int64(parts[0]), seconds >= 0, !text.hasPrefix("-") else { return nil }
    guard parts.count == 2 else { return .seconds(seconds) }
    guard parts[1].utf8.count <= decimalLimit,
        let fraction = Int64(
            parts[1] + String(repeating: "0", count: decimalLimit - parts[1].utf8.count))
    else { return nil }
    return .seconds(seconds) + .nanoseconds(fraction)
}

/// A duration as a person writes it, `1h30m` or `500ms`; `parseDuration` reads it back.
package func durationText(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = attoseconds / 1_000_000_000
    guard nanoseconds % 1_000_000 == 0 else {
        let fraction = String(nanoseconds)
        return "\(seconds)." + String(repeating: "0", count: decimalLimit - fraction.count)
            + fraction
    }
    let parts = [
        (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanoseconds / 1_000_000, "ms"),
    ]
    let text = parts.filter { $0.0 > 0 }.map { "\($0.0)\($0.1)" }.joined()
    return text.isEmpty ? "0s" : text
}

/// Bytes of each unit of sizes, from the largest to the smallest.
private let sizeUnits: [(name: String, bytes: Int64)] = [
    ("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10),
]

/// Reads `500M`, `1G`, or a plain number of bytes; the units are powers of 1024, as `du` and
/// `journalctl` have them.
package func parseSize(_ text: String) -> Int64? {
    let unit = sizeUnits.first { text.hasSuffix($0.name) }
    let digits = text.utf8.dropLast(unit == nil ? 0 : 1)
    guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }),
        let count = Int64(String(decoding: digits, as: UTF8.self))
    else { return nil }
    let (bytes, isTooLarge) = count.multipliedReportingOverflow(by: unit?.bytes ?? 1)
    return isTooLarge ? nil : bytes
}

/// A size as a person writes it, exactly; `parseSize` reads it back.
package func sizeText(_ bytes: Int64) -> String {
    guard bytes > 0, let unit = sizeUnits.first(where: { bytes % $0.bytes == 0 }) else {
        return String(bytes)
    }
    return "\(bytes / unit.bytes)\(unit.name)"
}
