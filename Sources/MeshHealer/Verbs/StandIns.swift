import Platform
import Settings

/// The routes that stand in for a tunnel's own while a peer is lost, where a file calls for a route to the
/// same place: `wg-quick` finds that place taken, gives up and removes the tunnel. They step aside while
/// the tunnel is made, and take their places again; then the way back to the tunnel's own is as it was.
struct StandIns {
    private let routes: [NetworkRoute]

    /// Takes those away that are in the way of a tunnel that is about to be made.
    init(_ name: String, _ toolkit: MeshToolkit) {
        guard case .success(let conf) = toolkit.configuration(name), conf.isForQuick else {
            routes = []
            return
        }
        let links = (try? toolkit.network.links()) ?? []
        let standing = toolkit.config.local.mesh.routes.compactMap { Self.standing($0, links) }
        let wanted = Self.wanted(conf)
        routes = standing.filter { route in
            wanted.contains { $0.isSamePlace(as: route) }
                && (try? NetworkRoutes.remove(route)) != nil
        }
    }

    /// The route of a setting, where it is in force.
    private static func standing(
        _ setting: Config.FailoverRoute, _ links: [NetworkLink]
    ) -> NetworkRoute? {
        guard let prefix = IPPrefix(setting.prefix),
            let link = links.first(where: { $0.name == setting.device }),
            let route = try? NetworkRoutes.exact(
                prefix, metric: setting.metric, table: setting.table),
            route.device == link.index, route.gateway == IPAddress(setting.via)
        else { return nil }
        return route
    }

    /// The routes that `wg-quick` makes of a file.
    private static func wanted(_ conf: WireGuardConf) -> [NetworkRoute] {
        var table = 254
        if case .table(let number) = conf.routes { table = number }
        return conf.peers.flatMap(\.allowedIPs).compactMap { IPPrefix($0) }
            .filter { LostRoutes.isMeant($0, conf.routes) }
            .map { NetworkRoute(prefix: $0, gateway: nil, device: 0, metric: 0, table: table) }
    }

    /// Gives them their places again, whatever has become of the tunnel.
    ///
    /// - Returns: which of them have none now, and why.
    func putBack() -> [String] {
        routes.compactMap { route in
            do throws(NetlinkFailure) {
                try NetworkRoutes.replace(route)
                return nil
            } catch { return "the route that stood in for \(route.prefix) is lost: \(error)" }
        }
    }

    /// What is to be said of them; `nil`: nothing.
    var meaning: String? {
        guard !routes.isEmpty else { return nil }
        let prefixes = routes.map { "\($0.prefix)" }.sorted().joined(separator: ", ")
        return "what stands in for \(prefixes) stepped aside meanwhile"
    }
}
