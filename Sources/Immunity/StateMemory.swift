package import Protocol

/// What the state remembers beyond open incidents, and how much of it.
extension State {
    mutating func remember(_ report: Report, about key: IncidentKey) {
        if lastReports[key] == nil, lastReports.count >= Self.memoryLimit {
            // The older half goes; which of several with the same time does not depend on hashing.
            let sorted = lastReports.sorted { ($0.value.time, $0.key) < ($1.value.time, $1.key) }
            for (key, _) in sorted.prefix(Self.memoryLimit / 2) { lastReports[key] = nil }
        }
        lastReports[key] = report
    }

    /// Changes a breaker; when there are too many, those that are closed and were used longest ago are
    /// forgotten, with their counts and cooldowns.
    mutating func remember(_ key: BreakerKey, _ change: (inout Breaker) -> Void) {
        if breakers[key] == nil, breakers.count >= Self.memoryLimit {
            let sorted =
                breakers
                .map { (isOpen: $1.openUntil != nil ? 1 : 0, last: $1.lastUse, key: $0) }
                .sorted { ($0.isOpen, $0.last, $0.key) < ($1.isOpen, $1.last, $1.key) }
            for entry in sorted.prefix(Self.memoryLimit / 2) { breakers[entry.key] = nil }
        }
        change(&breakers[key, default: Breaker()])
    }

    // MARK: Numbers

    /// The number for the next id on a node: the time in seconds, or one more than the last.
    package func nextStamp(node: String, at now: Timestamp) -> Int64 {
        max(now.seconds, (stamps[node] ?? stampFloor) &+ 1)
    }

    /// Remembers the number that an id ends with.
    mutating func stamp(_ id: String, node: String, at time: Timestamp) {
        guard let colon = id.lastIndex(of: ":"), let stamp = Int64(id[id.index(after: colon)...])
        else { return }
        if stamps[node] == nil, stamps.count >= Self.memoryLimit {
            // Numbers in the past cannot be given again; those that are not are covered by the floor.
            for (node, value) in stamps where value < time.seconds {
                stampFloor = max(stampFloor, value)
                stamps[node] = nil
            }
            if stamps.count >= Self.memoryLimit {
                stampFloor = max(stampFloor, stamps.values.max() ?? .min)
                stamps = [:]
            }
        }
        stamps[node] = max(stamps[node] ?? .min, stamp)
    }
}

/// Places in a stream that have been seen: exact for the last few thousand. About older ones nothing is
/// known, so they do not count as seen.
package struct SequenceSet: Sendable, Equatable {
    package private(set) var highest: UInt64 = 0
    private var members: Set<UInt64> = []

    /// How many are kept; the lower half is dropped when there are twice as many.
    package static let limit = 4096

    package init() {}

    package init(highest: UInt64, members: some Sequence<UInt64>) {
        self.highest = highest
        self.members = Set(members)
    }

    package func contains(_ sequence: UInt64) -> Bool { members.contains(sequence) }

    package var sorted: [UInt64] { members.sorted() }

    mutating func insert(_ sequence: UInt64) {
        highest = max(highest, sequence)
        members.insert(sequence)
        if members.count >= 2 * Self.limit { members = Set(sorted.suffix(Self.limit)) }
    }
}
