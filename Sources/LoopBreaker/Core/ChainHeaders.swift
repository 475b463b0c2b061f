/// The headers of a message that may be about its chain.
///
/// Their names are those of HTTP, where case makes no difference: libraries and bridges change it.
package struct ChainHeaders: Sendable {
    private var values: [(name: String, value: String)] = []
    /// Whether a header about a chain was taken for the value of an empty one before it: cnats 3.4.1 looks
    /// for a value beyond the end of the line.
    package let areCut: Bool

    package init(_ headers: [(name: String, value: String)]) {
        values = headers.filter { Self.isOfChain($0.name.utf8[...]) }
        areCut = headers.contains { header in
            let line = header.value.utf8.prefix(64)
            return line.firstIndex(of: 0x3A).map { Self.isOfChain(line[..<$0]) } ?? false
        }
    }

    private static func isOfChain(_ name: Substring.UTF8View) -> Bool {
        isSame(name.prefix(5), "skos-".utf8[...]) || isSame(name, "traceparent".utf8[...])
    }

    /// Whether no header is about a chain.
    package var isEmpty: Bool { values.isEmpty }

    /// The value of a header; that of the very name first.
    package func value(_ name: String) -> String? {
        guard !values.isEmpty else { return nil }
        let header =
            values.first { $0.name == name }
            ?? values.first { Self.isSame($0.name.utf8[...], name.utf8[...]) }
        return header?.value
    }

    private static func isSame(_ one: Substring.UTF8View, _ other: Substring.UTF8View) -> Bool {
        func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }
        return one.elementsEqual(other) { lower($0) == lower($1) }
    }
}
