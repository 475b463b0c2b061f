import Protocol

/// Tells which peers come from wherever they are, where no configuration file says so: those that came
/// without an endpoint, and those that nobody keeps awake and that move from place to place. Pure.
struct GuestBook: Sendable {
    /// A site may move once in a while; who moves as often in as short a time travels.
    static let moveLimit = 2
    static let moveTime: Duration = .seconds(3600)

    private struct Entry {
        var endpoint: String?
        var movedAt: [Timestamp] = []
        var isGuest: Bool
    }

    private var entries: [EchoBook.Key: Entry] = [:]

    /// Takes where a peer is now, and says whether it is a guest.
    mutating func isGuest(
        _ key: EchoBook.Key, at endpoint: String?, isKeptAwake: Bool, now: Timestamp
    ) -> Bool {
        var entry = entries[key] ?? Entry(endpoint: endpoint, isGuest: endpoint == nil)
        if let endpoint, endpoint != entry.endpoint {
            if entry.endpoint != nil, !isKeptAwake { entry.movedAt.append(now) }
            entry.movedAt.removeAll { now - $0 > Self.moveTime }
            entry.isGuest = entry.isGuest || entry.movedAt.count >= Self.moveLimit
            entry.endpoint = endpoint
        }
        entries[key] = entry
        return entry.isGuest
    }

    /// Forgets all peers but these, and those of interfaces of which nothing is known now.
    mutating func keep(_ keys: Set<EchoBook.Key>, unread: Set<String>) {
        entries = entries.filter { keys.contains($0.key) || unread.contains($0.key.interface) }
    }
}
