import Immunity
import Protocol

/// What a process remembers from one term to the next, because no record holds it.
struct Past: Sendable {
    /// The last `started` record of its own that was durable: an audit without it is another one.
    private(set) var lead: Replay.Lead?
    /// The hashes of those it has tried to write since: any may be stored and its ack lost.
    private var claims: Set<String> = []
    /// Known from heartbeats only.
    private var nodes = Nodes()
    private var heardUntil: Timestamp?

    mutating func claims(_ hash: String) { claims.insert(hash) }

    mutating func leads(_ lead: Replay.Lead) {
        self.lead = lead
        claims = []
    }

    /// Whether a `started` record is of this process.
    func isOwn(_ other: Replay.Lead) -> Bool { other == lead || claims.contains(other.hash) }

    /// Keeps what was known from heartbeats when a term ended.
    mutating func keep(_ nodes: Nodes, at now: Timestamp) {
        self.nodes = nodes
        heardUntil = now
    }

    /// What is known when the next one begins.
    func nodes(at now: Timestamp, timeout: Duration) -> Nodes {
        var nodes = nodes
        if let heardUntil { nodes.resume(after: max(.zero, now - heardUntil), timeout: timeout) }
        return nodes
    }
}
