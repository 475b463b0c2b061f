import Immunity
import Protocol

/// What a process remembers from one term to the next, because no record holds it.
struct Past: Sendable {
    /// The last `started` record of its own that was durable: an audit without it is another one.
    var lead: Replay.Lead?
    /// The hash of the last `started` record it has tried to write: it may be stored and the ack lost.
    var claim: String?
    private var nodes = Nodes()
    private var heardUntil: Timestamp?

    /// Keeps what was known from heartbeats when a term ended.
    mutating func keep(_ nodes: Nodes, at now: Timestamp) {
        self.nodes = nodes
        heardUntil = now
    }

    /// Whether a `started` record is of this process.
    func isOwn(_ other: Replay.Lead) -> Bool { other == lead || other.hash == claim }

    /// What is still known. After a time without listening in which every agent would have fallen silent it
    /// is nothing: taken for offline, they would be asked for nothing, and a human be called instead.
    func nodes(at now: Timestamp, timeout: Duration) -> Nodes {
        guard let heardUntil, now - heardUntil < timeout else { return Nodes() }
        return nodes
    }
}
