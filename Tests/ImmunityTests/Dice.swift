/// A generator of our own, so that a run can be replayed from its seed: splitmix64 (Steele, Lea and
/// Flood 2014).
struct Dice: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func roll(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &self) }

    /// Whether something happens that happens `part` times of `whole`.
    mutating func chance(_ part: Int, of whole: Int) -> Bool { roll(1...whole) <= part }

    mutating func pick<T>(_ elements: [T]) -> T { elements[roll(0...elements.count - 1)] }
}
