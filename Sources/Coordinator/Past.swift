import Immunity

/// What a process remembers from one term to the next: what no record holds, and which terms were its own.
struct Past: Sendable {
    /// Known from heartbeats only.
    var nodes = Nodes()
    /// The last `started` record of its own that was durable.
    private(set) var lead: Replay.Lead?
    /// The hashes of the last `started` records it has tried to write, durable or not.
    private var claims: [String] = []

    /// How many of them are kept.
    private static let claimLimit = 64

    mutating func claims(_ hash: String) {
        claims.append(hash)
        if claims.count > Self.claimLimit { claims.removeFirst() }
    }

    mutating func leads(_ lead: Replay.Lead) { self.lead = lead }

    /// Whether another coordinator has taken over since this one led.
    func isDeposed(by other: Replay.Lead?) -> Bool {
        guard let lead, let other else { return false }
        return other != lead && !claims.contains(other.hash)
    }
}
