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
        _ link: NetworkLink, _ wanted: [ConfiguredPeer], _ routes: QuickRoutes,
        _ failover: [Config.FailoverRoute]
    ) -> [String: [String]] {
        guard routes != .none else { return [:] }
        var lost: [String: [String]] = [:]
        var asked = 0
        var known: [Bool: [IPPrefix]] = [:]
        for peer in wanted {
            for text in peer.allowedIPs {
                guard let range = IPPrefix(text), Self.isMeant(range, routes) else { continue }
                asked += 1
                guard asked <= Self.limit else { return lost }
                if isStandIn(range, failover) { continue }
                if routes == .automatic, leads(range, link) { continue }
                let isV6 = range.address.isV6
                guard let ranges = known[isV6] ?? existing(link, routes, isV6: isV6) else {
                    continue
                }
                known[isV6] = ranges
                if Self.isKnown(range, ranges, routes) { continue }
                lost[peer.publicKey, default: []].append(text)
            }
        }
        return lost
    }

    /// Whether `wg-quick` would make a route to a range. A range of everything has rules and a table of its
    /// own, unless the file names a table.
    static func isMeant(_ range: IPPrefix, _ routes: QuickRoutes) -> Bool {
        switch routes {
        case .none: false
        case .automatic: range.length > 0
        case .table: true
        }
    }

    /// Whether one of the routes that there are does for a range.
    static func isKnown(_ range: IPPrefix, _ ranges: [IPPrefix], _ routes: QuickRoutes) -> Bool {
        if case .table = routes { return ranges.contains(range) }
        return ranges.contains { $0.covers(range) }
    }

    /// The ranges to which there are routes already; `nil`: the kernel does not say.
    func existing(_ link: NetworkLink, _ routes: QuickRoutes, isV6: Bool) -> [IPPrefix]? {
        if case .table(let number) = routes {
            return network.ranges(inTable: number, isV6: isV6)
        }
        return network.routed(link, isV6: isV6)
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
