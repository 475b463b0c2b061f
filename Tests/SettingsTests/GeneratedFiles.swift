import Foundation
import Protocol
import Testing

@testable import Settings

/// The files of the repository that the schema determines, or that must agree with it.
@Suite struct GeneratedFiles {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private static let isRegenerating =
        ProcessInfo.processInfo.environment["SKOS_REGENERATE"] == "1"
    private static let hint: Comment =
        "run: SKOS_REGENERATE=1 swift test --filter GeneratedFiles"

    private func text(of name: String) throws -> String {
        try String(contentsOf: Self.root.appending(path: name), encoding: .utf8)
    }

    @Test func theJSONSchemaIsTheCommittedOne() throws {
        let generated = configSchema().pretty + "\n"
        if Self.isRegenerating {
            let file = Self.root.appending(path: "config.schema.json")
            try generated.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try text(of: "config.schema.json") == generated, Self.hint)
    }

    @Test func theTablesOfTheDocumentationAreTheCommittedOnes() throws {
        let begin =
            "<!-- begin of the generated tables: SKOS_REGENERATE=1 swift test --filter GeneratedFiles -->\n"
        let end = "<!-- end of the generated tables -->\n"
        var document = try text(of: "docs/configuration.md")
        let first = try #require(document.range(of: begin))
        let last = try #require(document.range(of: end))
        let generated = settingsTables()
        if Self.isRegenerating {
            document.replaceSubrange(first.upperBound..<last.lowerBound, with: generated)
            let file = Self.root.appending(path: "docs/configuration.md")
            try document.write(to: file, atomically: true, encoding: .utf8)
        } else {
            #expect(document[first.upperBound..<last.lowerBound] == generated, Self.hint)
        }
    }

    // MARK: config.yaml

    @Test func theCommittedFileHoldsTheDefaults() throws {
        let loaded = try load(text(of: "config.yaml"))
        #expect(loaded.config == GoodFileTests.defaults)
        #expect(loaded.warnings.isEmpty)
    }

    /// Lines that start with a # and no space after it are settings.
    @Test func whatIsCommentedOutIsValidToo() throws {
        let lines = try text(of: "config.yaml").split(
            separator: "\n", omittingEmptySubsequences: false)
        let uncommented = lines.map { line -> String in
            let content = line.drop { $0 == " " }
            guard content.hasPrefix("#"), let next = content.dropFirst().first, next != " " else {
                return String(line)
            }
            return String(line.prefix(line.count - content.count) + content.dropFirst())
        }
        let config = try load(uncommented.joined(separator: "\n")).config
        #expect(config.nodeName == "nova")
        #expect(config.nodes?.keys.sorted() == ["lyra", "nova"])
        #expect(config.policySet.policies.count == 50)
        #expect(config.local.deniedActions == ["failover"])
        // What stands there as the default is the default.
        #expect(config.thermal == Config.Thermal())
        #expect(config.storage == Config.Storage())
        #expect(config.loop.relay == Config.Relay(source: "synthesis.in.>", target: "synthesis.>"))
        #expect(config.local.nonEssential.count == 3)
    }

    @Test func theCommittedFileMentionsEveryKey() throws {
        let text = try text(of: "config.yaml")
        for path in keyPaths(Schema.root) {
            let name = path.split(separator: ".").last ?? ""
            #expect(text.contains("\(name):"), "config.yaml does not show \(path)")
        }
    }

    @Test func theDocumentationsExamplesAreValid() throws {
        let document = try text(of: "docs/configuration.md")
        let examples = document.components(separatedBy: "```yaml\n").dropFirst()
        #expect(!examples.isEmpty)
        for example in examples {
            let yaml = try #require(example.components(separatedBy: "```").first)
            #expect(try load(yaml).warnings.isEmpty)
        }
    }

    // MARK: The schema itself

    @Test func theJSONSchemaKnowsEveryKey() throws {
        let root = try #require(configSchema().object)
        for path in keyPaths(Schema.root) {
            let names = path.split(separator: ".").map(String.init)
            #expect(property(root, names, in: root) != nil, "\(path)")
        }
    }

    /// Follows a path through `properties`, `items`, alternatives and references to definitions.
    private func property(
        _ schema: JSON.Object, _ path: [String], in root: JSON.Object
    ) -> JSON.Object? {
        if let name = schema["$ref"]?.string?.split(separator: "/").last,
            let definition = root["$defs"]?.object?[String(name)]?.object
        {
            return property(definition, path, in: root)
        }
        guard let name = path.first else { return schema }
        let rest = Array(path.dropFirst())
        if let inner = schema["properties"]?.object?[name]?.object,
            let found = property(inner, rest, in: root)
        {
            return found
        }
        let more =
            (schema["anyOf"]?.array ?? [])
            + [schema["items"], schema["additionalProperties"]].compactMap { $0 }
        return more.lazy.compactMap { $0.object.flatMap { property($0, path, in: root) } }.first
    }

    @Test func everyVariableAndKeyIsUnambiguous() {
        var variables: [String: String] = [:]
        for (path, key) in allKeys(Schema.root) {
            #expect(!key.doc.isEmpty && key.doc.hasSuffix("."), "\(path) needs a sentence")
            #expect(key.fallback == nil || key.otherwise.isEmpty, "\(path) has two defaults")
            if let variable = key.variable {
                #expect(variables.updateValue(path, forKey: variable) == nil, "\(variable)")
            }
        }
        #expect(variables.count == 13)
    }
}

/// Every key of a section and of what is inside it, with its path.
func allKeys(_ section: Section, _ prefix: String = "") -> [(path: String, key: Key)] {
    section.keys.flatMap { key in
        [(prefix + key.name, key)] + innerKeys(key.kind, prefix + key.name)
    }
}

private func innerKeys(_ kind: Kind, _ path: String) -> [(path: String, key: Key)] {
    switch kind {
    case .section(let section): allKeys(section, path + ".")
    case .list(let element, _, _, _): innerKeys(element, path)
    case .dictionary(_, let kind, _): innerKeys(kind, path)
    case .either(let kinds): kinds.flatMap { innerKeys($0, path) }
    default: []
    }
}

private func keyPaths(_ section: Section) -> [String] { allKeys(section).map(\.path) }
