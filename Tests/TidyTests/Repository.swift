import Foundation

/// The files of this repository.
enum Repository {
    /// Found from where this file is.
    static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Paths from the root of all Swift files below a folder, sorted.
    static func swiftFiles(_ folder: String) -> [String] {
        let base = root.appending(path: folder)
        let all = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil)
        let files = (all?.allObjects ?? []).compactMap { $0 as? URL }
        return files.filter { $0.pathExtension == "swift" }
            .map { String($0.path(percentEncoded: false).dropFirst(rootLength)) }.sorted()
    }

    private static let rootLength = root.path(percentEncoded: false).count

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static let paths =
        swiftFiles("Sources") + swiftFiles("Tests") + swiftFiles("bench") + ["Package.swift"]

    /// Every file, by its path.
    static let sources: [String: SourceText] = {
        var sources: [String: SourceText] = [:]
        for path in paths { sources[path] = (try? text(path)).map(SourceText.init) }
        return sources
    }()

    static func manifest() throws -> Manifest { Manifest(try text("Package.swift")) }
}
