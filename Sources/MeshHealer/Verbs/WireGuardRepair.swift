import Antibody
import Glibc
import Platform
import Protocol
import Runtime
import Settings

/// The steps that change a WireGuard interface. Each of them does one thing, and says why it cannot.
struct WireGuardRepair: Sendable {
    let toolkit: MeshToolkit

    // MARK: Endpoints

    /// The endpoints that peers are to have, as `address:port`, where the file says otherwise than
    /// what runs. Blocks while names are resolved.
    static func newEndpoints(
        _ peers: [WireGuardPeer], _ conf: WireGuardConf
    ) -> [(peer: String, endpoint: String)] {
        let written = Dictionary(
            conf.peers.map { ($0.publicKey, $0.endpoint) }, uniquingKeysWith: { first, _ in first })
        return peers.compactMap { peer in
            guard let endpoint = written[peer.publicKey] ?? nil,
                let colon = endpoint.lastIndex(of: ":"),
                let port = UInt16(endpoint[endpoint.index(after: colon)...])
            else { return nil }
            var host = endpoint[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            let addresses =
                IPAddress(String(host)).map { [$0] } ?? CommandPath.resolve(String(host)) ?? []
            let texts = addresses.map { $0.isV6 ? "[\($0)]:\(port)" : "\($0):\(port)" }
            // Where it is must not be among several where it may be.
            guard let first = texts.first, !texts.contains(peer.endpoint ?? "") else { return nil }
            let family = peer.endpointAddress?.isV6
            let same = zip(addresses, texts).first { $0.0.isV6 == family }?.1
            return (peer.publicKey, same ?? first)
        }
    }

    /// Sets the endpoints that the file says now, of these peers.
    func setEndpoints(_ name: String, _ ill: Set<String>) throws(VerbFailure) {
        let device = try device(name)
        let conf = try configuration(name)
        let peers = device.peers.filter { ill.contains($0.publicKey) }
        // Names may take their time, and others wait for their turn.
        let end = SteadyClock.sinceBoot() + .seconds(8)
        for (key, endpoint) in Self.newEndpoints(peers, conf) where SteadyClock.sinceBoot() < end {
            place(name, key, endpoint)
            try wg(["set", name, "peer", key, "endpoint", endpoint])
        }
    }

    private func place(_ name: String, _ peer: String, _ endpoint: String) {
        toolkit.place(EchoBook.Key(interface: name, peer: peer), at: endpoint)
    }

    // MARK: The file

    /// Why the file must not be given to `wg syncconf`; `nil`: it may.
    func syncObstacle(_ name: String, _ conf: WireGuardConf) -> String? {
        guard let written = conf.privateKey else {
            return "the configuration file holds no private key: the interface would lose its own"
        }
        guard let running = runningKey(name) else {
            return "the interface's own key cannot be compared with the file's"
        }
        return written == running
            ? nil : "the configuration file holds another private key than the interface"
    }

    /// The key of a running interface. Secret: only to be compared, or written into its own file.
    func runningKey(_ name: String) -> String? {
        // Asked about one that is not there, wg removes the socket that its program has left behind, by
        // which it is known to be lost.
        guard let link = try? toolkit.link(name), toolkit.network.isWireGuard(link) else {
            return nil
        }
        guard var output = try? toolkit.tool.run(["show", name, "private-key"]) else { return nil }
        defer { for index in output.indices { output[index] = 0 } }
        let text = String(decoding: output.prefix { $0 > 0x20 }, as: UTF8.self)
        return WireGuardKey.isKey(text) ? text : nil
    }

    /// Makes one peer run as the file says, and leaves everything else alone: the other peers, the port and
    /// the key. `ill`: it does not answer, so its endpoint is the file's, too.
    func synchronize(_ name: String, peer: String, isIll: Bool) throws(VerbFailure) {
        let conf = try configuration(name)
        let peers = try device(name).peers
        let running = peers.first { $0.publicKey == peer }
        let endpoint = isIll || running == nil ? newEndpoint(name, peer, running, conf) : nil
        let part = conf.peerPart(
            peer, endpoint: endpoint, without: Self.othersRanges(peer, peers, conf))
        guard !part.isEmpty else {
            throw MeshToolkit.permanent("the configuration file does not name the peer")
        }
        try give(part, to: "addconf", name)
    }

    /// The ranges that are written for several peers and that one of the others carries now: with whom
    /// they are is somebody's choice, and each can only be with one.
    private static func othersRanges(
        _ peer: String, _ running: [WireGuardPeer], _ conf: WireGuardConf
    ) -> Set<String> {
        var ranges: Set<String> = []
        for other in conf.peers where other.publicKey != peer {
            let carried = running.first { $0.publicKey == other.publicKey }?.allowedIPs ?? []
            ranges.formUnion(Set(other.allowedIPs).intersection(carried.map(\.description)))
        }
        return ranges
    }

    private func newEndpoint(
        _ name: String, _ peer: String, _ running: WireGuardPeer?, _ conf: WireGuardConf
    ) -> String? {
        let endpoint = Self.newEndpoints(
            [running ?? WireGuardPeer(publicKey: peer)], conf
        ).first?.endpoint
        if let endpoint { place(name, peer, endpoint) }
        return endpoint
    }

    /// Makes the interface run what the file says. Peers that are the same keep their sessions; those that
    /// are well keep the endpoint they have, which may be newer than the file; and those that the file does
    /// not name stay: somebody has added them.
    func synchronize(_ name: String, ill: Set<String>) throws(VerbFailure) {
        let conf = try configuration(name)
        if let obstacle = syncObstacle(name, conf) { throw MeshToolkit.permanent(obstacle) }
        let device = try device(name)
        let running = Dictionary(
            device.peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        var text = conf.interfacePart
        // What the file leaves open, the interface keeps: wg would choose another port, and drop the
        // mark on which wg-quick's rules depend.
        if !conf.has("listenport"), device.listenPort != 0 {
            text += "ListenPort = \(device.listenPort)\n"
        }
        if !conf.has("fwmark"), device.mark != 0 { text += "FwMark = \(device.mark)\n" }
        var named: Set<String> = []
        for peer in conf.peers where named.insert(peer.publicKey).inserted {
            let now = running[peer.publicKey]
            let isIll = now == nil || ill.contains(peer.publicKey)
            text += conf.peerPart(
                peer.publicKey,
                endpoint: isIll ? newEndpoint(name, peer.publicKey, now, conf) : nil,
                without: Self.othersRanges(peer.publicKey, device.peers, conf))
        }
        let others = device.peers.filter { !named.contains($0.publicKey) }
        if !others.isEmpty {
            let now = try runningConfiguration(name)
            for peer in others {
                text += now.peerPart(peer.publicKey)
            }
        }
        try give(text, to: "syncconf", name)
    }

    /// What runs, as a file. Secret.
    func runningConfiguration(_ name: String) throws(VerbFailure) -> WireGuardConf {
        do throws(WireGuardFailure) {
            return try WireGuardConf(try toolkit.tool.run(["showconf", name]))
        } catch { throw MeshToolkit.transient(error.reason) }
    }

    private func give(_ text: String, to verb: String, _ name: String) throws(VerbFailure) {
        let secret: SecretMemory
        do throws(FileFailure) { secret = try SecretMemory(Array(text.utf8)) } catch {
            throw MeshToolkit.transient("\(error)")
        }
        try secret.withPath { path throws(VerbFailure) in try wg([verb, name, path]) }
    }

    func setPort(_ name: String, _ port: Int) throws(VerbFailure) {
        try wg(["set", name, "listen-port", "\(port)"])
    }

    // MARK: What differs

    /// What runs otherwise than the file says and can be made to run so, of a peer or of an interface with
    /// all its peers.
    struct Difference: Sendable, Equatable {
        /// Peers to be given anew; those that are missing, too.
        var peers: Set<String> = []
        /// The port that the interface is to have.
        var port: Int?
        var routes: [IPPrefix] = []

        var isEmpty: Bool { peers.isEmpty && port == nil && routes.isEmpty }
    }

    func difference(_ link: NetworkLink, _ peer: String?) throws(VerbFailure) -> Difference {
        var difference = Difference()
        guard case .success(let conf) = toolkit.configuration(link.name), !conf.isSaved else {
            return difference
        }
        let device = try toolkit.device(link)
        let running = Dictionary(
            device.peers.map { ($0.publicKey, $0.allowedIPs.map(\.description)) },
            uniquingKeysWith: { first, _ in first })
        let written = conf.peers
        for finding in Drift.compare(running: running, configured: written)
        where finding.kind != "unknown" && !finding.peer.isEmpty
            && (peer == nil || finding.peer == peer)
        {
            difference.peers.insert(finding.peer)
        }
        if peer == nil, let port = conf.listenPort, port != 0, port != device.listenPort {
            difference.port = port
        }
        if link.isUp {
            let lost = LostRoutes(network: toolkit.network).find(
                link, written.filter { peer == nil || $0.publicKey == peer }, conf.routes,
                toolkit.config.local.mesh.routes)
            difference.routes = lost.values.joined().compactMap { IPPrefix($0) }.sorted()
        }
        return difference
    }

    /// Does what the file says: of one peer, or of what differs, or of everything where nothing does.
    func follow(_ name: String, _ peer: String?, _ ill: Set<String>) throws(VerbFailure) {
        if let peer { return try synchronize(name, peer: peer, isIll: ill.contains(peer)) }
        let difference = try difference(try link(name), nil)
        guard !difference.isEmpty else { return try synchronize(name, ill: ill) }
        if let port = difference.port { try setPort(name, port) }
        for peer in difference.peers.sorted() {
            try synchronize(name, peer: peer, isIll: ill.contains(peer))
        }
    }

    /// Puts back addresses and routes that the file calls for and that have gone.
    func restoreRoutes(_ name: String, _ peer: String?) throws(VerbFailure) {
        let link = try link(name)
        let ranges = try difference(link, peer).routes
        let conf = try configuration(name)
        try restoreAddresses(link, conf)
        try addRoutes(ranges, link, conf.routes)
    }

    private func restoreAddresses(
        _ link: NetworkLink, _ conf: WireGuardConf
    ) throws(VerbFailure) {
        do throws(NetlinkFailure) {
            let existing = Set(try NetworkAddresses.all(link.index))
            for text in conf.addresses {
                guard let address = NetworkAddress(text), !existing.contains("\(address)") else {
                    continue
                }
                try NetworkAddresses.add(address, to: link.index)
            }
        } catch { throw MeshToolkit.transient("\(error)") }
    }

    // MARK: The link

    /// Makes an interface anew by what starts it, which says why it fails and whether it goes on.
    /// `wg-quick` adds the rules of a full tunnel that are there already from before the interface was lost
    /// once more.
    ///
    /// - Returns: what else is to be said; `nil`: nothing.
    func make(
        _ name: String, _ start: () -> (failure: String?, running: pid_t?)
    ) throws(VerbFailure) -> String? {
        let rules = (try? NetworkRules.all()) ?? []
        toolkit.begin(name)
        let standIns = StandIns(name, toolkit)
        var (failure, running) = start()
        let strays = standIns.putBack()
        // A file without a key leaves it to a program that may have failed, unseen.
        if failure == nil, case .success(let conf) = toolkit.configuration(name),
            conf.privateKey == nil, runningKey(name) == nil
        {
            failure = "\(name) is there, and has been given no private key"
        }
        let made = failure == nil ? try? toolkit.link(name) : nil
        toolkit.end(name, made: made, running: running)
        if let failure {
            throw MeshToolkit.transient(([failure] + strays).joined(separator: "; "))
        }
        for rule in NetworkRules.doubled(rules, now: (try? NetworkRules.all()) ?? []) {
            try? NetworkRules.remove(rule)
        }
        let goesOn = running.map { _ in "what its file runs after that goes on" }
        let notes = [goesOn, standIns.meaning].compactMap { $0 } + strays
        return notes.isEmpty ? nil : notes.joined(separator: "; ")
    }

    /// Switches an interface on, and brings back the addresses and routes that went with it: those that
    /// were seen on it, and those of its file.
    func switchOn(_ name: String) throws(VerbFailure) {
        let link = try link(name)
        try set(link, up: true)
        _ = toolkit.remembered(name)?.restore(link)
        guard case .success(let conf) = toolkit.configuration(name), conf.isForQuick else { return }
        try restoreAddresses(link, conf)
        let ranges = conf.peers.flatMap(\.allowedIPs).compactMap { IPPrefix($0) }
        try addRoutes(ranges, link, conf.routes)
    }

    /// Adds the routes that `wg-quick` makes for allowed IPs, where they are missing. A route that
    /// somebody else has to the same place stays.
    private func addRoutes(
        _ ranges: [IPPrefix], _ link: NetworkLink, _ routes: QuickRoutes
    ) throws(VerbFailure) {
        var table = 254
        if case .table(let number) = routes { table = number }
        for isV6 in [false, true] {
            let wanted = ranges.filter {
                $0.address.isV6 == isV6 && LostRoutes.isMeant($0, routes)
            }
            guard !wanted.isEmpty else { continue }
            let lost = LostRoutes(network: toolkit.network)
            let existing = lost.existing(link, routes, isV6: isV6) ?? []
            for range in wanted.sorted() {
                if LostRoutes.isKnown(range, existing, routes) { continue }
                let route = NetworkRoute(
                    prefix: range, gateway: nil, device: link.index, metric: 0, table: table)
                do throws(NetlinkFailure) { _ = try NetworkRoutes.add(route) } catch {
                    throw MeshToolkit.transient("\(error)")
                }
            }
        }
    }

    /// Takes an interface down and up again; its routes and addresses are as before.
    func cycle(_ name: String) throws(VerbFailure) {
        let link = try link(name)
        let before = try snapshot(name)
        try set(link, up: false)
        try set(link, up: true)
        let failures = before.restore(link)
        guard failures.isEmpty else {
            throw MeshToolkit.transient(failures.joined(separator: ", "))
        }
    }

    /// What goes when the interface is taken down.
    func snapshot(_ name: String) throws(VerbFailure) -> LinkSnapshot {
        let link = try link(name)
        do throws(NetlinkFailure) { return try LinkSnapshot(link) } catch {
            throw MeshToolkit.transient("\(error)")
        }
    }

    /// Puts back what an interrupted action has left switched off, or without its routes.
    func recover(_ name: String, _ snapshot: LinkSnapshot) throws(VerbFailure) {
        guard let link = try toolkit.link(name) else { return }
        if !link.isUp { try set(link, up: true) }
        let failures = snapshot.restore(link)
        guard failures.isEmpty else {
            throw MeshToolkit.transient(failures.joined(separator: ", "))
        }
    }

    private func set(_ link: NetworkLink, up isUp: Bool) throws(VerbFailure) {
        do throws(NetlinkFailure) { try NetworkLinks.set(link.index, up: isUp) } catch {
            throw MeshToolkit.transient("\(error)")
        }
    }

    // MARK: Parts

    private func link(_ name: String) throws(VerbFailure) -> NetworkLink {
        guard let link = try toolkit.link(name) else {
            throw MeshToolkit.permanent("\(name) is not there")
        }
        return link
    }

    private func device(_ name: String) throws(VerbFailure) -> WireGuardDevice {
        try toolkit.device(try link(name))
    }

    private func configuration(_ name: String) throws(VerbFailure) -> WireGuardConf {
        switch toolkit.configuration(name) {
        case .success(let conf): return conf
        case .failure(let failure): throw MeshToolkit.permanent(failure.reason)
        }
    }

    private func wg(_ arguments: [String]) throws(VerbFailure) {
        do throws(WireGuardFailure) { _ = try toolkit.tool.run(arguments) } catch {
            throw MeshToolkit.transient(error.reason)
        }
    }
}
