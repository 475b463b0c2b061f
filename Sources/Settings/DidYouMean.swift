/// The candidate a person most likely meant by a text, or `nil` when none is near.
package func nearest(to text: String, among candidates: [String]) -> String? {
    // Nothing that long is one of our names; also bounds the work a hostile file can cause.
    guard (1...80).contains(text.utf8.count) else { return nil }
    let folded = Array(text.lowercased().utf8.map { $0 == 0x2D ? 0x5F : $0 })
    var best: (distance: Int, candidate: String)?
    for candidate in candidates {
        let other = Array(candidate.utf8.map { $0 == 0x2D ? 0x5F : $0 })
        let isBeginning = folded.count >= 3 && other.starts(with: folded)
        let distance = isBeginning ? 1 : levenshtein(folded, other)
        let limit = max(1, min(folded.count, other.count) / 3)
        guard distance <= limit, distance < best?.distance ?? .max else { continue }
        best = (distance, candidate)
    }
    return best?.candidate
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one text to the
/// other.
func levenshtein(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for (row, byte) in left.enumerated() {
        var current = [row + 1]
        for (column, other) in right.enumerated() {
            var cost = min(
                last[column] + (byte == other ? 0 : 1), last[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, byte == right[column - 1], left[row - 1] == other {
                cost = min(cost, beforeLast[column - 1] + 1)
            }
            current.append(cost)
        }
        (beforeLast, last) = (last, current)
    }
    return last[right.count]
}

/// `; did you mean "x"?`, or nothing.
package func didYouMean(_ text: String, among candidates: [String]) -> String {
    nearest(to: text, among: candidates).map { "; did you mean \"\($0)\"?" } ?? ""
}
