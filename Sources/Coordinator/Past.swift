import Immunity

/// What a process remembers from one term to the next, because no record holds it.
struct Past: Sendable {
    /// Known from heartbeats only.
    var nodes = Nodes()
    /// The last `started` record of its own that was durable: an audit without it is another one.
    var lead: Replay.Lead?
}
