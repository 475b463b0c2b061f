/// The headers of a message that may be about its chain.
///
/// Their names are those of HTTP, where case makes no difference: libraries and bridges change it.
package struct ChainHeaders: Sendable {
    private var values: [(name: String, value: String)] = []

    package init(_ headers: [(name: String, value: String)]) {
        values = headers.filter { header in
            Self.isSame(header.name.utf8.prefix(5), "skos-".utf8[...])
                || Self.isSame(header.name.utf8[...], "traceparent".utf8[...])
        }
    }

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
