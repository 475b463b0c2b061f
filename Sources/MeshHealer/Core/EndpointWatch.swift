package import Protocol

/// Notices that a peer has moved. A peer that is expected to be anywhere is never said to have. Pure.
package struct EndpointWatch: Sendable {
    /// A place where it has answered for as long is its new home.
    package static let settleTime: Duration = .seconds(60)

    /// A move that is being talked about.
    package struct Move: Sendable, Equatable {
        package var from: String
        package var to: String
        package var since: Timestamp
    }

    private var home: String?
    private(set) package var move: Move?

    package init() {}

    /// Takes the facts of one look; returns the move there is to talk about.
    package mutating func observe(_ facts: PeerFacts, at now: Timestamp) -> Move? {
        guard let endpoint = facts.endpoint, !facts.isRoaming else {
            move = nil
            return nil
        }
        guard let home else {
            self.home = endpoint
            return nil
        }
        if endpoint == home || endpoint == facts.configuredEndpoint {
            self.home = endpoint
            move = nil
            return nil
        }
        if move?.to != endpoint { move = Move(from: home, to: endpoint, since: now) }
        // Long enough there, and well: that is where it is now. Many answer no echo, but all shake hands.
        if let move, facts.echo.lost == 0 || facts.handshake > move.since.seconds,
            now - move.since >= Self.settleTime
        {
            self.home = endpoint
            self.move = nil
        }
        return move
    }
}
