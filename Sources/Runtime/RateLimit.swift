/// Lets a few of something through in each span of time and counts the rest: so that whoever sends
/// rubbish fills neither the disk nor the reader's patience.
package struct RateLimit: Sendable {
    private let limit: Int
    private let span: Duration
    private var begin: Duration?
    private var count = 0
    /// How many were held back since the last one that was let through.
    private var held = 0

    /// Lets `limit` through in each `span`.
    package init(_ limit: Int, per span: Duration) {
        precondition(limit > 0 && span > .zero, "something must get through")
        self.limit = limit
        self.span = span
    }

    /// Returns how many were held back before this one, or `nil` when this one is held back, too.
    package mutating func pass(at uptime: Duration) -> Int? {
        if begin.map({ uptime - $0 >= span }) ?? true {
            begin = uptime
            count = 0
        }
        guard count < limit else {
            held += 1
            return nil
        }
        count += 1
        defer { held = 0 }
        return held
    }
}
