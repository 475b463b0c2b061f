/// The targets that Package.swift declares, as far as the arrows between them go.
struct Manifest {
    enum Kind { case code, tests, library }

    struct Target {
        var name: String
        var kind: Kind
        var dependencies: [String]
        /// Its folder.
        var path: String
    }

    private(set) var targets: [Target] = []

    subscript(name: String) -> Target? { targets.first { $0.name == name } }

    /// How a target is declared, what it is, and where its folder is unless it says so.
    private static let forms: [(call: String, kind: Kind, folder: String)] = [
        ("room", .code, "Sources/"), ("tests", .tests, "Tests/"),
        ("library", .library, "Sources/System/"), (".executableTarget", .code, "Sources/"),
        (".target", .code, "Sources/"), (".testTarget", .tests, "Tests/"),
        (".systemLibrary", .library, "Sources/System/"),
    ]

    init(_ text: String) {
        let source = SourceText(text)
        let original = Array(text.utf8)
        // Declarations are found in the code, and read from the original, which has the strings.
        for form in Self.forms {
            let word = form.call.first == "." ? String(form.call.dropFirst()) : form.call
            for start in source.places(ofWord: word) {
                let isMember = start > 0 && source.code[start - 1] == UInt8(ascii: ".")
                let open = start + word.utf8.count
                guard isMember == (form.call.first == "."), open < source.code.count,
                    source.code[open] == UInt8(ascii: "("),
                    let end = source.end(ofBracketAt: open)
                else { continue }
                let call = String(decoding: original[open..<end], as: UTF8.self)
                // The helper functions' own declarations have no name in quotes in front.
                guard let name = Self.name(call) else { continue }
                let path = Self.string(after: "path:", call) ?? form.folder + name
                // C of our own around a library counts as that library.
                let isLibrary = path.hasPrefix("Sources/System/")
                targets.append(
                    Target(
                        name: name, kind: isLibrary ? .library : form.kind,
                        dependencies: Self.dependencies(call), path: path))
            }
        }
    }

    private static func name(_ call: String) -> String? {
        let head = call.dropFirst().drop { $0.isWhitespace }
        if head.first == "\"" { return quoted(head).first }
        return head.hasPrefix("name:") ? string(after: "name:", call) : nil
    }

    private static func dependencies(_ call: String) -> [String] {
        let rest: Substring
        if let range = call.firstRange(of: "dependencies:") {
            rest = call[range.upperBound...]
        } else {
            guard !call.dropFirst().drop(while: \.isWhitespace).hasPrefix("name:") else {
                return []
            }
            rest = call[...]
        }
        guard let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]")
        else { return [] }
        return quoted(rest[open..<close])
    }

    private static func string(after label: String, _ call: String) -> String? {
        guard let range = call.firstRange(of: label) else { return nil }
        let rest = call[range.upperBound...].drop(while: \.isWhitespace)
        return rest.first == "\"" ? quoted(rest).first : nil
    }

    private static func quoted(_ text: Substring) -> [String] {
        text.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }
}
