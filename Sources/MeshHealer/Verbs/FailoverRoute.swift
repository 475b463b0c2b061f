import Antibody
import Platform
import Protocol
import Settings

/// The action `failover_route`: routes of this node's own file move to their other way while a peer is
/// lost, and come back exactly as they were.
struct FailoverRoute: Verb {
    let name = "failover_route"
    let isReversible = true
    let family = "mesh_route"
    let toolkit: MeshToolkit

    var summary: String {
        "move the routes of local.mesh.routes to their other way while a peer is lost; parameter "
            + "resource: an interface, or an interface, a slash and a peer's public key"
    }

    // MARK: Planning

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let subject = try toolkit.subject(call.parameters)
        var wanted: [Config.FailoverRoute] = []
        for route in toolkit.config.local.mesh.routes where try isMeant(route, subject) {
            wanted.append(route)
        }
        guard !wanted.isEmpty else {
            throw MeshToolkit.permanent(
                "local.mesh.routes has no route for "
                    + "\(call.parameters["resource"]?.string ?? subject.interface)")
        }
        if let peace = try peace(subject) {
            return VerbPlan(
                undo: ["routes": [], "state": .string(peace)],
                effect: ["routes": [], "state": .string(peace)])
        }
        let links = try links()
        let held = call.active.flatMap(RouteRecord.all)
        var records: [RouteRecord] = []
        for setting in wanted {
            let new = try route(setting, links)
            let record = try record(new, setting.device, held, links)
            if let record { records.append(record) }
        }
        guard !records.isEmpty else {
            throw MeshToolkit.permanent("the routes take the other way already")
        }
        let effect: JSON.Object = [
            "routes": .array(records.map { .object($0.shown) })
        ]
        return VerbPlan(undo: ["routes": .array(records.map { .object($0.json) })], effect: effect)
    }

    /// Whether a route of the settings stands in for what is lost.
    private func isMeant(
        _ route: Config.FailoverRoute, _ subject: MeshToolkit.Subject
    ) throws(VerbFailure) -> Bool {
        guard route.interface.isEmpty || route.interface == subject.interface else { return false }
        if let peer = subject.peer { return route.peer.isEmpty || route.peer == peer }
        // A lost interface has lost all its peers.
        if !route.interface.isEmpty { return true }
        guard let link = try toolkit.link(subject.interface) else { return false }
        return try toolkit.device(link).peers.contains { $0.publicKey == route.peer }
    }

    /// A peer that answers has not been lost, or is back: why nothing is to be done; `nil`: something is.
    private func peace(_ subject: MeshToolkit.Subject) throws(VerbFailure) -> String? {
        guard let link = try toolkit.link(subject.interface), link.isUp else { return nil }
        let device = try toolkit.device(link)
        let peers = device.peers.filter { subject.peer == nil || $0.publicKey == subject.peer }
        let answers = toolkit.echo(peers, link.name, limit: .seconds(1))
        guard answers.values.contains(where: \.isAnswer) else {
            try MeshToolkit.checkAsked(answers)
            return nil
        }
        let peace = "it answers through \(subject.interface): its routes stay where they are"
        if let flaw = toolkit.flaw(link, device, subject.peer, asksFile: false) {
            throw MeshToolkit.permanent("\(peace); but \(flaw)")
        }
        return peace
    }

    /// The route that is to be, of a setting.
    private func route(
        _ setting: Config.FailoverRoute, _ links: [NetworkLink]
    ) throws(VerbFailure) -> NetworkRoute {
        guard let prefix = IPPrefix(setting.prefix) else {
            throw MeshToolkit.permanent("local.mesh.routes: \(setting.prefix) is no range")
        }
        let gateway = IPAddress(setting.via)
        guard setting.via.isEmpty || gateway?.isV6 == prefix.address.isV6 else {
            throw MeshToolkit.permanent(
                "local.mesh.routes: \(setting.via) is no address like \(prefix)")
        }
        guard let link = links.first(where: { $0.name == setting.device }) else {
            throw MeshToolkit.permanent(
                "the other way of \(prefix), \(setting.device), is not there")
        }
        guard link.isRunning else {
            throw MeshToolkit.transient("the other way of \(prefix), \(setting.device), is down")
        }
        return NetworkRoute(
            prefix: prefix, gateway: gateway, device: link.index, metric: setting.metric,
            table: setting.table)
    }

    /// Refuses a route that no packet would take, since another to the same place comes before it.
    private func checkMetric(
        _ new: NetworkRoute, _ links: [NetworkLink]
    ) throws(VerbFailure) {
        let all: [NetworkRoute]
        do throws(NetlinkFailure) {
            all = try NetworkRoutes.all(isV6: new.prefix.address.isV6)
        } catch { throw MeshToolkit.transient("\(error)") }
        let better = all.filter { $0.comesBefore(new) }
        guard let first = better.min(by: { $0.comesBefore($1) }) else { return }
        let device = links.first { $0.index == first.device }.map { " through \($0.name)" } ?? ""
        throw MeshToolkit.permanent(
            "local.mesh.routes: table \(new.table) has a route to \(new.prefix)\(device) with metric "
                + "\(first.metric), which comes before one with metric \(new.metric): the other way "
                + "would not be taken; write metric: \(first.metric)")
    }

    /// What to do, and what was before; `nil`: nothing, it is so already.
    private func record(
        _ new: NetworkRoute, _ device: String, _ held: [RouteRecord], _ links: [NetworkLink]
    ) throws(VerbFailure) -> RouteRecord? {
        try checkMetric(new, links)
        let current = try exact(new)
        let other = held.first { $0.new.isSamePlace(as: new) }
        if let current, current.isSameWay(as: new), other == nil { return nil }
        var record = RouteRecord(new: new, device: device, saved: nil, savedDevice: nil)
        if let other {
            // The state without any action is what the first of them has found.
            record.saved = other.saved
            record.savedDevice = other.savedDevice
        } else if let current {
            record.saved = current
            record.savedDevice = links.first { $0.index == current.device }?.name
        }
        return record
    }

    // MARK: Doing and undoing

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        if let peace = plan.undo["state"] { return ["routes": [], "state": peace] }
        let records = RouteRecord.all(in: plan.undo)
        guard !records.isEmpty else { throw MeshToolkit.permanent("the plan names no route") }
        let links = try links()
        for record in records {
            guard let new = record.new.through(record.device, links) else {
                throw MeshToolkit.transient("\(record.device) is not there any more")
            }
            try replace(new)
            let current = try exact(new)
            guard let current, current.isSameWay(as: new) else {
                throw MeshToolkit.transient("the route to \(new.prefix) did not take the other way")
            }
        }
        return ["routes": .array(records.map { .object($0.shown) })]
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        let others = remaining.flatMap(RouteRecord.all)
        let links = try links()
        var entries: [JSON] = []
        var failure: VerbFailure?
        for record in RouteRecord.all(in: undo) {
            let isHeld = others.contains { $0.new.isSamePlace(as: record.new) }
            do throws(VerbFailure) {
                let state = isHeld ? "held by another action" : try restore(record, links)
                var entry = record.shown
                entry["state"] = .string(state)
                entries.append(.object(entry))
            } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
        return ["routes": .array(entries)]
    }

    private func restore(
        _ record: RouteRecord, _ links: [NetworkLink]
    ) throws(VerbFailure) -> String {
        let current = try exact(record.new)
        let isOurs =
            record.new.through(record.device, links).map { current?.isSameWay(as: $0) == true }
            ?? false
        guard let saved = record.saved else {
            guard let current, isOurs else { return current == nil ? "unchanged" : "superseded" }
            do throws(NetlinkFailure) { try NetworkRoutes.remove(current) } catch {
                throw MeshToolkit.transient("\(error)")
            }
            return "removed"
        }
        if let current, !isOurs {
            // Somebody else's by now, or back already.
            return current.isSameWay(as: saved) ? "unchanged" : "superseded"
        }
        var old: NetworkRoute? = saved
        if let name = record.savedDevice { old = saved.through(name, links) }
        guard let old else {
            throw MeshToolkit.transient(
                "\(record.savedDevice ?? "the old way") of \(saved.prefix) is not there yet")
        }
        try replace(old)
        return "restored"
    }

    private func links() throws(VerbFailure) -> [NetworkLink] {
        do throws(NetlinkFailure) { return try toolkit.network.links() } catch {
            throw MeshToolkit.transient("\(error)")
        }
    }

    private func exact(_ route: NetworkRoute) throws(VerbFailure) -> NetworkRoute? {
        do throws(NetlinkFailure) {
            return try NetworkRoutes.exact(route.prefix, metric: route.metric, table: route.table)
        } catch { throw MeshToolkit.transient("\(error)") }
    }

    private func replace(_ route: NetworkRoute) throws(VerbFailure) {
        do throws(NetlinkFailure) { try NetworkRoutes.replace(route) } catch {
            throw MeshToolkit.transient("\(error)")
        }
    }
}

/// One route that an action has moved, as its journal keeps it.
struct RouteRecord: Sendable, Equatable {
    var new: NetworkRoute
    /// The interface of the other way; numbers change when an interface is made again.
    var device: String
    /// What was there before; `nil`: nothing.
    var saved: NetworkRoute?
    var savedDevice: String?

    static func all(in undo: JSON.Object) -> [RouteRecord] {
        (undo["routes"]?.array ?? []).compactMap { $0.object.flatMap(RouteRecord.init) }
    }

    init(new: NetworkRoute, device: String, saved: NetworkRoute?, savedDevice: String?) {
        self.new = new
        self.device = device
        self.saved = saved
        self.savedDevice = savedDevice
    }

    init?(_ object: JSON.Object) {
        guard let new = object["new"]?.string.flatMap(NetworkRoute.init(hex:)),
            let device = object["device"]?.string
        else { return nil }
        self.new = new
        self.device = device
        if let text = object["saved"]?.string {
            guard let route = NetworkRoute(hex: text) else { return nil }
            saved = route
        }
        savedDevice = object["saved_device"]?.string
    }

    var json: JSON.Object {
        var object = shown
        object["new"] = .string(new.hex)
        object["saved"] = saved.map { .string($0.hex) }
        return object
    }

    /// The members that people read.
    var shown: JSON.Object {
        var object: JSON.Object = [
            "prefix": .string("\(new.prefix)"), "metric": .integer(Int64(new.metric)),
            "table": .integer(Int64(new.table)), "device": .string(device),
        ]
        object["via"] = new.gateway.map { .string("\($0)") }
        object["saved_device"] = savedDevice.map(JSON.string)
        object["saved_via"] = (saved?.gateway).map { .string("\($0)") }
        return object
    }
}
