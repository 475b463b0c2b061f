/// Interfaces that did not say how they are. To ask them takes time, of which a look has only so much:
/// the others must not be blinded by them. Pure.
struct SickList: Sendable {
    /// What one look spends at most on waiting for answers that do not come.
    static let timeLimit: Duration = .seconds(3)
    /// As many looks in vain make an interface that may hang.
    static let hungLooks = 3

    private struct Entry {
        var failures = 0
        /// When it was asked last, in questions.
        var turn: UInt64 = 0
        var reason = ""
    }

    private var entries: [String: Entry] = [:]
    private var turn: UInt64 = 0

    /// How often it has not answered, in a row.
    func failures(_ name: String) -> Int { entries[name]?.failures ?? 0 }

    /// Why it did not answer when it was asked last.
    func reason(_ name: String) -> String? { entries[name]?.reason }

    /// The order in which to ask: those that are well before the others, and those whose last turn is
    /// longest ago.
    func order(_ names: [String]) -> [String] {
        names.enumerated().sorted { left, right in
            func rank(_ item: (offset: Int, element: String)) -> (Int, UInt64, Int) {
                guard let entry = entries[item.element] else { return (0, 0, item.offset) }
                return (1, entry.turn, item.offset)
            }
            return rank(left) < rank(right)
        }.map(\.element)
    }

    /// It did not answer; or, without a reason, it did.
    mutating func note(_ name: String, failure reason: String?) {
        guard let reason else {
            entries[name] = nil
            return
        }
        turn += 1
        entries[name, default: Entry()].failures += 1
        entries[name]?.turn = turn
        entries[name]?.reason = reason
    }

    /// Forgets all but these.
    mutating func keep(_ names: [String]) {
        guard !entries.isEmpty else { return }
        entries = entries.filter { names.contains($0.key) }
    }
}
