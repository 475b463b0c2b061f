import Protocol

/// A part of a long list, as much of it as one message holds.
///
/// A request may say `limit`. An answer that leaves something out says `next`; a request that says the same
/// as `after` gets what follows.
struct Page: Sendable {
    /// Entries up to this cursor are left out.
    var after: String?
    var limit: Int
    /// Bytes the entries may have together.
    var budget: Int

    init(_ fields: Fields, _ budget: Int) throws(MessageError) {
        after = try fields.identifier("after")
        limit = Int(clamping: try fields.integer("limit") ?? .max)
        guard limit > 0 else { throw fields.error("limit", "\(limit) is not positive") }
        self.budget = budget
    }

    /// The entries that come next in the order of their `cursor` and fit, as the member `name`.
    func object<Element>(
        _ name: String, _ elements: some Sequence<Element>, cursor: (Element) -> String,
        _ entry: (Element) -> JSON.Object
    ) -> JSON.Object {
        let sorted = elements.map { (cursor: cursor($0), element: $0) }
            .filter { element in after.map { element.cursor > $0 } ?? true }
            .sorted { $0.cursor < $1.cursor }
        var entries: [JSON] = []
        var bytes = 0
        for (cursor, element) in sorted {
            let next = JSON.object(entry(element))
            bytes += next.encoded.count + 1
            guard entries.count < limit, bytes <= budget || entries.isEmpty else {
                let last = sorted[entries.count - 1].cursor
                assert(last < cursor, "a cursor names one entry")
                return [name: .array(entries), "next": .string(last)]
            }
            entries.append(next)
        }
        return [name: .array(entries)]
    }
}
