import Platform
import Settings

/// Which routes into a tunnel have gone that its configuration file calls for.
struct LostRoutes: Sendable {
    /// Ranges that are asked for at most, of all peers of one interface.
    static let limit = 256

    let network: any MeshNetwork

    /// The ranges that are not routed into the tunnel, by peer. Only a file for `wg-quick` calls for
    /// routes. What another route stands in for while a peer is lost is not lost, nor what somebody has
    /// put another route in front of.
    func find(
        _ link: NetworkLink, _ wanted: [ConfiguredPeer], _ failover: [Config.FailoverRoute]
    ) -> [String: [String]] {
        var lost: [String: [String]] = [:]
        var asked = 0
        var routed: [Bool: [IPPrefix]] = [:]
        for peer in wanted {
            for text in peer.allowedIPs {
                // A range of everything has rules and a table of its own.
                guard let range = IPPrefix(text), range.length > 0 else { continue }
                asked += 1
                guard asked <= Self.limit else { return lost }
                if leads(range, link) || isStandIn(range, failover) { continue }
                let isV6 = range.address.isV6
                guard let ranges = routed[isV6] ?? network.routed(link, isV6: isV6) else {
                    continue
                }
                routed[isV6] = ranges
                if ranges.contains(where: { $0.covers(range) }) { continue }
                lost[peer.publicKey, default: []].append(text)
            }
        }
        return lost
    }

    /// Whether the kernel sends what is for a range into the tunnel, or keeps it.
    private func leads(_ range: IPPrefix, _ link: NetworkLink) -> Bool {
        switch network.way(to: range.address, mark: 0) {
        case .device(let index, _): index == link.index
        case .local, nil: true
        case .nowhere: false
        }
    }

    private func isStandIn(_ range: IPPrefix, _ routes: [Config.FailoverRoute]) -> Bool {
        routes.compactMap { IPPrefix($0.prefix) }.contains {
            $0.covers(range) || range.covers($0)
        }
    }
}
