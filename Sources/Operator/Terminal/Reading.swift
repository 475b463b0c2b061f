import Protocol

/// Reading the coordinator's answers. They come from a peer of perhaps another version, so nothing is
/// taken for granted: what is missing shows as nothing.
extension JSON.Object {
    func text(_ name: String) -> String { self[name]?.string ?? "" }

    func integer(_ name: String) -> Int { Int(clamping: self[name]?.integer ?? 0) }

    func flag(_ name: String) -> Bool { self[name]?.bool ?? false }

    func object(_ name: String) -> JSON.Object { self[name]?.object ?? JSON.Object() }

    func list(_ name: String) -> [JSON.Object] {
        (self[name]?.array ?? []).compactMap(\.object)
    }

    func strings(_ name: String) -> [String] { (self[name]?.array ?? []).compactMap(\.string) }

    func time(_ name: String) -> Timestamp? { self[name]?.string.flatMap { Timestamp($0) } }

    /// A time as people read it; empty when there is none.
    func timeText(_ name: String) -> String { time(name).map(Text.time) ?? "" }

    /// A number of seconds as people write it; empty when there is none.
    func secondsText(_ name: String) -> String {
        guard let seconds = self[name]?.double, abs(seconds) < 1e9 else { return "" }
        return Text.short(.milliseconds(Int64(seconds * 1000)))
    }
}

/// The colours of words that say how something is.
enum Mood {
    static func colour(_ word: String) -> Style.Colour? {
        switch word {
        case "online", "closed", "ok", "resolved", "succeeded": .green
        case "late", "warning", "half_open", "verifying", "clearing", "acting", "deciding": .yellow
        case "offline", "critical", "emergency", "open", "escalated", "failed", "fail": .red
        default: nil
        }
    }

    static func cell(_ word: String) -> Table.Cell { Table.Cell(word, colour(word)) }
}
