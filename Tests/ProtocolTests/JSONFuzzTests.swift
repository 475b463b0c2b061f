import Foundation
import Testing

@testable import Protocol

/// A generator of our own, so that a failure can be replayed from its seed.
private struct Dice: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        // splitmix64, Steele, Lea and Flood 2014.
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

@Suite("JSON against Foundation")
struct JSONFuzzTests {
    /// A random value, whose names are unique also for who compares them as Foundation does.
    private static func value(_ dice: inout Dice, depth: Int = 0) -> JSON {
        switch Int.random(in: 0..<(depth < 5 ? 8 : 6), using: &dice) {
        case 0: return .null
        case 1: return .bool(.random(using: &dice))
        case 2: return .integer(Int64.random(in: -1000...1000, using: &dice))
        case 3: return .integer(Int64(truncatingIfNeeded: dice.next()))
        case 4:
            let number = Double(bitPattern: dice.next())
            return .number(number.isFinite ? number : 0.5)
        case 5: return .string(text(&dice))
        case 6:
            let count = Int.random(in: 0..<5, using: &dice)
            return .array((0..<count).map { _ in value(&dice, depth: depth + 1) })
        default:
            var object = JSON.Object()
            for index in 0..<Int.random(in: 0..<20, using: &dice) {
                object["\(index)" + text(&dice)] = value(&dice, depth: depth + 1)
            }
            return .object(object)
        }
    }

    private static func text(_ dice: inout Dice) -> String {
        let alphabet: [Unicode.Scalar] = [
            "a", "b", "z", "0", "\"", "\\", "/", "\n", "\u{1}", "\u{7f}", "é", "€", "😀", "\u{2028}",
        ]
        var text = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 0..<12, using: &dice) {
            text.append(alphabet[Int.random(in: 0..<alphabet.count, using: &dice)])
        }
        return String(text)
    }

    private static func foundation(_ bytes: [UInt8]) -> Any? {
        try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
    }

    /// Whether Foundation's value is ours.
    private static func agree(_ ours: JSON, _ theirs: Any) -> Bool {
        switch ours {
        case .null: theirs is NSNull
        case .bool(let value): (theirs as? NSNumber)?.boolValue == value
        case .integer(let value): (theirs as? NSNumber)?.int64Value == value
        case .number(let value): near(value, (theirs as? NSNumber)?.doubleValue)
        case .string(let value):
            (theirs as? String)?.unicodeScalars.elementsEqual(value.unicodeScalars) == true
        case .array(let elements):
            (theirs as? [Any]).map { theirs in
                theirs.count == elements.count && zip(elements, theirs).allSatisfy(agree)
            } ?? false
        case .object(let object):
            (theirs as? [String: Any]).map { theirs in
                theirs.count == object.members.count
                    && object.members.allSatisfy { member in
                        theirs[member.name].map { agree(member.value, $0) } ?? false
                    }
            } ?? false
        }
    }

    /// Foundation reads some numbers through a decimal and misses the nearest double by some units of
    /// the last place; ours are exact (they are read back bit for bit below).
    private static func near(_ ours: Double, _ theirs: Double?) -> Bool {
        guard let theirs else { return false }
        return ours == theirs || abs(ours - theirs) <= abs(ours) * 1e-12
    }

    private static func check(_ ours: JSON, _ theirs: Any, _ seed: UInt64, _ text: String) {
        guard !agree(ours, theirs) else { return }
        Issue.record("seed \(seed): Foundation reads something else in \(text)")
    }

    @Test("what we write, Foundation reads alike", arguments: 0..<20 as Range<UInt64>)
    func writing(seed: UInt64) throws {
        var dice = Dice(state: seed)
        for _ in 0..<100 {
            let value = Self.value(&dice)
            let bytes = value.encoded
            let theirs = try #require(Self.foundation(bytes), "seed \(seed): \(value.text)")
            Self.check(value, theirs, seed, value.text)
            #expect(try JSON.parse(bytes) == value, "seed \(seed): \(value.text)")
        }
    }

    /// Foundation accepts more than RFC 8259 here: it trims what is no JSON space, lets the last of
    /// several members with one name win, and reads numbers past the range of a double as infinite or
    /// through a decimal. So only one direction is a rule: what we accept it accepts, with that value.
    @Test(
        "what we accept after mutation, Foundation accepts alike",
        arguments: 0..<20 as Range<UInt64>)
    func mutations(seed: UInt64) {
        var dice = Dice(state: seed &+ 1000)
        var accepted = 0
        for _ in 0..<500 {
            var bytes = Self.value(&dice).encoded
            for _ in 0..<Int.random(in: 1...3, using: &dice) { Self.mutate(&bytes, &dice) }
            guard let ours = try? JSON.parse(bytes) else { continue }
            accepted += 1
            let text = String(decoding: bytes, as: UTF8.self)
            guard let theirs = Self.foundation(bytes) else {
                Issue.record("seed \(seed): only we accept \(text)")
                continue
            }
            Self.check(ours, theirs, seed, text)
        }
        // A fuzzer whose every text is refused would prove nothing.
        #expect(accepted > 20)
    }

    private static func mutate(_ bytes: inout [UInt8], _ dice: inout Dice) {
        let alphabet = Array(#"{}[]",:\u0123456789eE+-.tfn aé"#.utf8) + [0x00, 0x80, 0xFF, 0x09]
        let byte = alphabet[Int.random(in: 0..<alphabet.count, using: &dice)]
        guard !bytes.isEmpty else { return bytes.append(byte) }
        let index = Int.random(in: 0..<bytes.count, using: &dice)
        switch Int.random(in: 0..<4, using: &dice) {
        case 0: bytes[index] = byte
        case 1: bytes.insert(byte, at: index)
        case 2: bytes.remove(at: index)
        default: bytes.removeLast(Int.random(in: 0..<bytes.count, using: &dice))
        }
    }
}
