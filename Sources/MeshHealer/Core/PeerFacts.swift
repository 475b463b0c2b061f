package import Protocol

/// What is known of one peer when it is judged.
package struct PeerFacts: Sendable, Equatable {
    /// Seconds since the epoch; 0: never.
    package var handshake: Int64 = 0
    package var received: UInt64 = 0
    package var sent: UInt64 = 0
    /// `nil`: none is known.
    package var endpoint: String?
    /// The endpoint of its configuration file, when that names one.
    package var configuredEndpoint: String?
    /// It comes to us from wherever it is: it has no place that it should be at.
    package var isRoaming = false
    /// Routes of this node move to their other way while it is lost.
    package var isWanted = false
    package var echo = EchoRecord()
    package var underlay = Underlay.unknown
    /// Why packets to the peer's address do not reach the tunnel; `nil`: they do.
    package var routeFault: String?

    package init() {}
}

/// The way to a peer's endpoint, outside of the tunnel.
package enum Underlay: Sendable, Equatable {
    case unknown
    /// Out of this interface.
    case there(String)
    /// There is none, and why.
    case gone(String)
}

/// What has come of the echoes to one address so far.
package struct EchoRecord: Sendable, Equatable {
    /// The address that is asked; empty: there is none, and why stands in `obstacle`.
    package var target = ""
    /// Why no echo can be made.
    package var obstacle: String?
    /// Why this process could not even try the last time, which says nothing of the peer; `nil`: it could.
    package var ownTrouble: String?
    /// The last answer, by an echo to this very address.
    package var answeredAt: Timestamp?
    package var milliseconds: Double?
    /// The first echo at all.
    package var firstSentAt: Timestamp?
    /// The first of the echoes that were not answered since.
    package var lostSince: Timestamp?
    /// When the last one was sent that was not answered.
    package var lastLostAt: Timestamp?
    /// How many were not answered since the last that was.
    package var lost = 0
    /// Why the last one did not even leave; `nil`: it did.
    package var notSent: String?

    package init() {}

    package init(target: String) { self.target = target }

    /// Takes one outcome. `milliseconds` with an answer only.
    package mutating func take(
        sentAt: Timestamp, milliseconds: Double?, notSent: String? = nil
    ) {
        firstSentAt = firstSentAt ?? sentAt
        self.notSent = notSent
        ownTrouble = nil
        if let milliseconds {
            self.milliseconds = milliseconds
            answeredAt = sentAt
            lostSince = nil
            lost = 0
        } else {
            lostSince = lostSince ?? sentAt
            lastLostAt = sentAt
            lost += 1
        }
    }
}

/// What is wrong with a peer.
package enum PeerFault: String, Sendable, CaseIterable {
    /// Nothing comes from it.
    case unreachable = "peer_unreachable"
    /// We hear it, and it does not hear us.
    case oneWay = "peer_one_way"
    /// The tunnel is alive, and what is inside does not come through.
    case filtered = "peer_filtered"
}

/// What a look at a peer has found.
package struct PeerVerdict: Sendable, Equatable {
    package enum State: Sendable, Equatable {
        case healthy
        /// It does not answer, and that is no fault: it comes and goes as it likes.
        case away
        /// Not known now, and why: nothing is raised or cleared, and what was raised lasts.
        case unknown(String)
        case faulty(PeerFault)
    }

    package var state: State
    /// Where it is, as far as can be told from here: `underlay`, `local_send`, `local_route` or
    /// `remote`; with a fault only.
    package var cause: String?
    /// What it means, in a sentence; with a fault only.
    package var meaning = ""
    /// The handshake is so old that the tunnel cannot carry anything.
    package var isDead = false
    /// Healthy by its handshake alone: what is inside of the tunnel may still be filtered.
    package var isByHandshake = false
    /// Unknown for as long as it is configured as it is: what was raised is said no more.
    package var isMoot = false
    /// Members for the alert's details.
    package var evidence = JSON.Object()

    package init(_ state: State) { self.state = state }
}
