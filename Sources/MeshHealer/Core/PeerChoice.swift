import Platform

/// Which peers are judged where there are more than there is room for. Pure.
///
/// From one look to the next they are the same ones, in whatever order an interface names its peers: who is
/// judged now and then only is never found to be lost.
struct PeerChoice {
    /// How many there is room for.
    var limit: Int
    /// Peers of whom something is raised, or whom routes of the node's own file depend on.
    var first: Set<EchoBook.Key> = []
    /// Peers that have been judged before.
    var known: Set<EchoBook.Key> = []

    /// The peers of each interface that are judged. Those about whom something is raised come first; then
    /// each interface has an equal share, of which those that are somewhere come before those that have
    /// never been seen, and those that are known before new ones.
    func judged(_ devices: [WireGuardDevice]) -> [String: [WireGuardPeer]] {
        guard devices.reduce(0, { $0 + $1.peers.count }) > limit else {
            return Dictionary(
                devices.map { ($0.name, $0.peers) }, uniquingKeysWith: { first, _ in first })
        }
        var places: [(isOther: Int, place: Int, name: String, peer: WireGuardPeer)] = []
        for device in devices {
            let ranked = device.peers.map { (rank: rank($0, device.name), peer: $0) }.sorted {
                ($0.rank, $0.peer.publicKey) < ($1.rank, $1.peer.publicKey)
            }
            for (place, one) in ranked.enumerated() {
                places.append((min(one.rank, 1), place, device.name, one.peer))
            }
        }
        places.sort { ($0.isOther, $0.place, $0.name) < ($1.isOther, $1.place, $1.name) }
        var judged: [String: [WireGuardPeer]] = [:]
        for one in places.prefix(limit) { judged[one.name, default: []].append(one.peer) }
        return judged
    }

    private func rank(_ peer: WireGuardPeer, _ name: String) -> Int {
        let key = EchoBook.Key(interface: name, peer: peer.publicKey)
        if first.contains(key) { return 0 }
        let isSomewhere = peer.endpoint != nil || peer.handshake > 0
        return (isSomewhere ? 1 : 3) + (known.contains(key) ? 0 : 1)
    }
}
