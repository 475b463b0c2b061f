import Immunity
import Protocol

/// Bounds what a flood of messages that lead to nothing can write into the audit: a bucket of tokens for
/// each node, so that one noisy node does not hide what the others do wrong, and one for all together.
struct RejectionLimiter: Sendable {
    private struct Bucket {
        var tokens: Double
        var filledAt: Timestamp

        /// Takes a token out, if there is one.
        mutating func take(at now: Timestamp, perSecond: Double, burst: Double) -> Bool {
            let passed = max(0, (now - filledAt).inSeconds)
            tokens = min(burst, tokens + passed * perSecond)
            filledAt = now
            guard tokens >= 1 else { return false }
            tokens -= 1
            return true
        }
    }

    /// Records of all nodes each second in the long run, and at once.
    static let perSecond = 20.0
    static let burst = 500.0
    /// The same for one node.
    static let nodePerSecond = 2.0
    static let nodeBurst = 50.0
    /// Nodes that have a bucket of their own; when there are more, all begin anew.
    static let nodeLimit = 4096

    private var all = Bucket(tokens: burst, filledAt: Timestamp(nanoseconds: 0))
    private var nodes: [String: Bucket] = [:]

    mutating func allows(_ node: String, at now: Timestamp) -> Bool {
        if nodes[node] == nil, nodes.count >= Self.nodeLimit { nodes = [:] }
        var bucket = nodes[node] ?? Bucket(tokens: Self.nodeBurst, filledAt: now)
        defer { nodes[node] = bucket }
        // The node's first: what it may not write is not to use up what all may.
        return bucket.take(at: now, perSecond: Self.nodePerSecond, burst: Self.nodeBurst)
            && all.take(at: now, perSecond: Self.perSecond, burst: Self.burst)
    }
}

extension Event {
    /// The node that sent a message that leads to nothing, when this is the record of one.
    var futileSender: String? {
        switch self {
        case .rejected(let rejection): rejection.node
        case .alert(let event):
            switch event.effect {
            case .stale, .outOfOrder, .noPolicy: event.alert.node
            case .opened, .repeated, .worsened, .eased, .cleared, .returned: nil
            }
        // Of an action that no incident has asked for.
        case .result(let event): event.incident.isEmpty ? event.result.node : nil
        default: nil
        }
    }
}
