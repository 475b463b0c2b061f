package import Protocol

/// Notices that a peer has moved. A peer that is expected to be anywhere is never said to have. Pure.
///
/// WireGuard moves a peer only to where something of it comes from. So what comes from it once it is at a
/// new place comes from there, and the move is over. Where somebody has written the wrong place into the
/// interface nothing comes, and it lasts.
package struct EndpointWatch: Sendable {
    /// A move that is being talked about.
    package struct Move: Sendable, Equatable {
        package var from: String
        package var to: String
    }

    private var last: (endpoint: String, received: UInt64)?
    private(set) package var home: String?
    private(set) package var move: Move?
    /// When it was heard last at the place where it is.
    private(set) package var heardAt: Timestamp?

    package init() {}

    /// Takes the facts of one look; returns the move there is to talk about.
    package mutating func observe(_ facts: PeerFacts, at now: Timestamp) -> Move? {
        let isHeard = last.map { facts.endpoint == $0.endpoint && facts.received > $0.received }
        if last?.endpoint != facts.endpoint { heardAt = nil }
        if isHeard == true { heardAt = now }
        last = facts.endpoint.map { ($0, facts.received) }
        guard let endpoint = facts.endpoint, !facts.isRoaming else {
            move = nil
            return nil
        }
        guard let home, endpoint != home, endpoint != facts.configuredEndpoint, isHeard != true
        else {
            self.home = endpoint
            move = nil
            return nil
        }
        move = Move(from: home, to: endpoint)
        return move
    }
}
