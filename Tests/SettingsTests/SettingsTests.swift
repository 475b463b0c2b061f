import Testing

@testable import Settings

/// The lines a person would see for a text that stands in `config.yaml`.
func problems(_ text: String, environment: [String: String] = [:]) -> [String] {
    problems(Array(text.utf8), environment: environment)
}

func problems(_ bytes: [UInt8], environment: [String: String] = [:]) -> [String] {
    do throws(ConfigError) {
        _ = try ConfigLoader.parse(text: bytes, name: "config.yaml", environment: environment)
        return []
    } catch {
        return error.issues.map(\.description)
    }
}

func load(_ text: String, environment: [String: String] = [:]) throws -> LoadedConfig {
    try ConfigLoader.parse(text: Array(text.utf8), name: "config.yaml", environment: environment)
}

/// A file that is wrong, and every line it must get.
struct BadFile: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var text: String
    var lines: [String]

    init(_ name: String, _ text: String, _ lines: String...) {
        testDescription = name
        self.text = text
        self.lines = lines.map { "config.yaml:" + $0 }
    }
}
