import Foundation
import Testing

@testable import Settings

/// No sequence of bytes may crash the reader, and whatever it refuses has a place and a reason.
@Suite struct FuzzTests {
    /// SplitMix64, so that a seed gives the same bytes everywhere.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    /// Pieces that mean something to YAML or to the schema.
    private static let pieces = [
        "\t", "\n", "\r", "\u{0}", "\u{FEFF}", "&a ", "*a", "!!str ", "<<: ", "---\n", "...\n",
        "? ",
        ": ", "- ", "[", "]", "{", "}", "|\n", ">\n", "\"", "'", "#", "%YAML 1.1\n", ".nan", "-0",
        "1e999", "5s", "\u{85}", "\u{2028}", "é", "𝄞", "~", "null", "true", "thermal:\n", "500M",
        "1d",
        "local:\n", "  shutdown_non_essential: [{unit: a.service}]\n", "loop: {watch: [\">\"]}\n",
        "nodes:\n",
        "  - match: {type: x, severity: warning}\n", "nats: {url: nats://a:b@c:1}\n", ",",
    ].map { Array($0.utf8) }

    private static func mutated(_ bytes: [UInt8], _ random: inout Generator) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...8, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            let end = min(bytes.count, place + Int.random(in: 0...24, using: &random))
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes.removeSubrange(place..<end)
            case 1: bytes.insert(contentsOf: Array(bytes[place..<end]), at: place)
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
            case 3: bytes.removeSubrange(place...)
            case 4: for index in place..<end { bytes[index] ^= 1 << (index % 8) }
            default:
                let piece = pieces.randomElement(using: &random) ?? []
                bytes.insert(contentsOf: piece, at: place)
            }
        }
        return bytes
    }

    private static func seedFiles() throws -> [[UInt8]] {
        [Array(GoodFileTests.everything.utf8)]
            + (BadFileTests.syntax + BadFileTests.shapes + BadValueTests.thermal
            + BadValueTests.policies + BadAgentTests.storage + BadAgentTests.mesh
            + BadAgentTests.loop + BadAgentTests.files + BadAgentTests.rights).map {
                Array($0.text.utf8)
            }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func noBytesCrashTheReader(_ seed: UInt64) throws {
        var random = Generator(state: seed)
        let files = try Self.seedFiles()
        var refused = 0
        for round in 0..<2_000 {
            // Half of the rounds start from the file that has everything.
            let start = round % 2 == 0 ? files[0] : files.randomElement(using: &random) ?? []
            let bytes = Self.mutated(start, &random)
            let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).count
            do throws(ConfigError) {
                _ = try ConfigLoader.parse(text: bytes, name: "f", environment: [:])
            } catch {
                refused += 1
                check(error, lines, bytes, seed: seed, round: round)
            }
        }
        // Most mutations break something; if none did, this would test nothing.
        #expect(refused > 500)
    }

    private func check(
        _ error: ConfigError, _ lines: Int, _ bytes: [UInt8], seed: UInt64, round: Int
    ) {
        let issues = error.issues
        let sound = issues.allSatisfy { issue in
            let text = issue.description
            // libyaml also counts CR, NEL, LS and PS as ends of lines.
            return (issue.line ?? 1) >= 1 && (issue.line ?? 1) <= lines + bytes.count
                && (issue.column ?? 1) >= 1 && !issue.message.isEmpty
                && !text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }
                && text.utf8.count < 1000
        }
        #expect(!issues.isEmpty && sound, "seed \(seed), round \(round): \(error)")
    }
}
