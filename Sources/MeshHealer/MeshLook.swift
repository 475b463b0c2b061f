import Antibody
import Platform
import Protocol
import Runtime
import Settings
import Synchronization

/// How the mesh healer looks at its node: what is there, what runs, and what is written.
extension MeshModule {
    /// How often an interface is looked for in vain before it is taken as removed: a program that was
    /// killed may leave its traces a little later.
    private static let missLimit = 10

    /// Looks at all interfaces. Blocks for a few seconds at most.
    func look(at now: Timestamp) throws(NetlinkFailure) -> [InterfaceLook] {
        // Before and after: what is being made when the links are listed is known to be.
        var unfinished = toolkit.unfinished
        let links = try network.links()
        unfinished.formUnion(toolkit.unfinished)
        let config = state.withLock { $0.config }
        let named = links.filter { matches($0.name, config.mesh.interfaces) }
        let found = named.filter { isSick($0) || network.isWireGuard($0) }
        let names = Set(found.map(\.name))
        let devices = read(found)
        let quickRuns = quickRuns(named, found, at: now)
        let young = note(found, unfinished, quickRuns, config, at: now)
        var looks: [InterfaceLook] = []
        let judged = judged(devices, config)
        for link in found {
            var look = InterfaceLook(name: link.name, link: link)
            look.isUnfinished = young.contains(link.name)
            switch devices[link.name] {
            case .success(let device):
                fill(&look, link, device, config, links, judged[link.name] ?? [], at: now)
            case .failure(let failure):
                look.failure = failure.reason
                look.isDenied = failure.isDenied
                if link.isUp, !failure.isDenied { guess(link.name) }
                look.isHung = link.isUp && isHung(link.name, at: now)
            case nil: look.failure = "there was no time to ask it"
            }
            looks.append(look)
        }
        looks += lapsed(
            named.filter { !names.contains($0.name) }, unfinished.union(quickRuns), at: now)
        noteLeftBehind(links, config, at: now)
        looks += missing(links, quickRuns, config, at: now)
        toolkit.note(presences: state.withLock { $0.seen.compactMapValues(\.presence) }, at: now)
        let keys = Set(looks.flatMap { $0.peers.map(\.key) })
        // A failed read says nothing about which peers there are.
        let unread = Set(looks.filter { !$0.isRemoved && $0.device == nil }.map(\.name))
        state.withLock { state in
            state.underlays = state.newUnderlays
            state.newUnderlays = []
            state.echoes.keep(keys, unread: unread)
            state.guests.keep(keys, unread: unread)
        }
        return looks
    }

    // MARK: What is there

    /// Whether it did not say how it is when it was asked last, and still is what it was. To ask such a
    /// one whether it is there at all takes time, too.
    private func isSick(_ link: NetworkLink) -> Bool {
        state.withLock { state in
            state.sick.failures(link.name) > 0 && state.seen[link.name]?.kind == link.kind
        }
    }

    private func isHung(_ name: String, at now: Timestamp) -> Bool {
        state.withLock { state in
            state.sick.failures(name) >= SickList.hungLooks
                && state.echoes.areSilent(name, since: now - PeerJudge.watchTime)
        }
    }

    /// Asks the interfaces how they are. Those for which there was no time are left out.
    private func read(
        _ found: [NetworkLink]
    ) -> [String: Result<WireGuardDevice, WireGuardFailure>] {
        let names = found.map(\.name)
        let order = state.withLock { state in
            state.sick.keep(names)
            return state.sick.order(names)
        }
        var answers: [String: Result<WireGuardDevice, WireGuardFailure>] = [:]
        var waited: Duration = .zero
        for name in order {
            guard let link = found.first(where: { $0.name == name }) else { continue }
            guard waited < SickList.timeLimit else {
                if let reason = state.withLock({ $0.sick.reason(name) }) {
                    answers[name] = .failure(WireGuardFailure(reason))
                }
                continue
            }
            let started = SteadyClock.sinceBoot()
            do throws(WireGuardFailure) {
                answers[name] = .success(try network.device(link))
                state.withLock { $0.sick.note(name, failure: nil) }
            } catch {
                waited += SteadyClock.sinceBoot() - started
                answers[name] = .failure(error)
                state.withLock { $0.sick.note(name, failure: error.reason) }
            }
        }
        return answers
    }

    /// The interfaces that are there and were of WireGuard, and of which nothing says that they still
    /// are: somebody has removed their socket.
    private func lapsed(
        _ others: [NetworkLink], _ unfinished: Set<String>, at now: Timestamp
    ) -> [InterfaceLook] {
        others.compactMap { link in
            let isYoung: Bool? = state.withLock { state in
                // Those that nobody here has seen were made by `wireguard-go`.
                guard let seen = state.seen[link.name], (seen.kind ?? "tun") == link.kind else {
                    return nil
                }
                var presence = presence(of: link, seen, isFirst: false, at: now)
                presence.take(link, at: now)
                state.seen[link.name]?.presence = presence
                return presence.isUnderWay(at: now)
            }
            guard let isYoung else { return nil }
            var look = InterfaceLook(name: link.name, link: link)
            // The program of one that somebody is making has no socket yet.
            look.isUnfinished = isYoung || unfinished.contains(link.name)
            look.failure = "the socket of its program is not there"
            return look
        }
    }

    /// Notes which interfaces there are; returns those that are being made, as far as can be told: they may
    /// yet go again, and then are lost as before.
    private func note(
        _ found: [NetworkLink], _ unfinished: Set<String>, _ quickRuns: Set<String>,
        _ config: Config, at now: Timestamp
    ) -> Set<String> {
        let going = toolkit.going
        let (young, isNew) = state.withLock { state in
            // What the settings do not mean any more, or somebody has removed for good, is not missed.
            state.seen = state.seen.filter {
                $0.value.misses < Self.missLimit && matches($0.key, config.mesh.interfaces)
            }
            let isNew = found.contains { state.seen[$0.name] == nil }
            var young: Set<String> = []
            for link in found {
                var seen = Seen(kind: link.kind, loss: state.seen[link.name]?.loss)
                var presence = presence(
                    of: link, state.seen[link.name], isFirst: !state.hasLooked, at: now)
                presence.take(link, at: now)
                seen.presence = presence
                // Should what goes on fail yet, it takes the interface away, which is lost then.
                let goesOn = going.contains(link.name)
                // A PostUp may take any time: what has been on for long enough is there.
                let isBusy = quickRuns.contains(link.name) && !presence.isBack(at: now)
                let isAtWork = (unfinished.contains(link.name) || isBusy) && !goesOn
                let hasMade = toolkit.hasMade(link)
                let isMade = hasMade || !goesOn && presence.isBack(at: now)
                let isBack = link.isUp && isMade && !isAtWork
                if isBack, !goesOn { seen.loss = nil }
                let isUnderWay = presence.isUnderWay(at: now) && !hasMade
                let isYoung = isUnderWay || link.isUp && seen.loss != nil && !isBack
                if isYoung || isAtWork { young.insert(link.name) }
                state.seen[link.name] = seen
            }
            state.hasLooked = true
            return (young, isNew)
        }
        if isNew { wakeup.ring() }
        return young
    }

    /// Notes the interfaces that have gone before anybody here has seen them: their programs have left
    /// their sockets behind, and they have configuration files.
    private func noteLeftBehind(_ links: [NetworkLink], _ config: Config, at now: Timestamp) {
        let known = state.withLock { Set($0.seen.keys) }.union(links.map(\.name))
        let left = network.leftBehind { name in
            !known.contains(name) && matches(name, config.mesh.interfaces)
                && network.hasConfiguration(name)
        }
        state.withLock { state in
            for name in left.sorted().prefix(MeshReport.interfaceLimit) {
                state.seen[name] = Seen(kind: nil, leftAt: now)
            }
        }
    }

    /// Whether somebody may be about to make an interface that has gone before anybody here has seen it.
    private func isAwaited(_ name: String, at now: Timestamp) -> Bool {
        guard let leftAt = state.withLock({ $0.seen[name]?.leftAt }) else { return false }
        // A clock that is set back must not make the wait a long one.
        return (.zero..<Presence.firstTime).contains(now - leftAt)
    }

    /// The interfaces that were there, or that are named, and are not there now.
    private func missing(
        _ links: [NetworkLink], _ quickRuns: Set<String>, _ config: Config, at now: Timestamp
    ) -> [InterfaceLook] {
        let named = Set(config.mesh.interfaces.filter(isName))
        let present = Set(links.map(\.name))
        let seen = state.withLock { $0.seen }
        var waited: Duration = .zero
        return named.union(seen.keys).subtracting(present).sorted().map { name in
            var look = InterfaceLook(name: name)
            // The next one by this name is another one.
            state.withLock { $0.seen[name]?.presence = nil }
            // It may be about to make it again; what it has taken down was not lost.
            guard !quickRuns.contains(name) else {
                look.failure = "wg-quick is at work on it"
                return look
            }
            guard waited < SickList.timeLimit else {
                look.failure = "there was no time to ask what became of it"
                return look
            }
            let started = SteadyClock.sinceBoot()
            defer { waited += SteadyClock.sinceBoot() - started }
            let isNamed = named.contains(name)
            do throws(WireGuardFailure) {
                look.mishap = try loss(name)?.reason
            } catch { look.failure = isNamed ? nil : error.reason }
            if look.mishap == nil, isNamed {
                look.mishap = "mesh.interfaces names it, and it is not there"
            }
            look.isUnfinished = !isNamed && look.mishap != nil && isAwaited(name, at: now)
            if look.isRemoved { state.withLock { $0.seen[name]?.misses += 1 } }
            return look
        }
    }

    /// How an interface that is not there was lost; `nil`: somebody has removed it.
    private func loss(_ name: String) throws(WireGuardFailure) -> Loss? {
        let mishap = try network.mishap(name)
        let former = state.withLock { $0.seen[name]?.loss }
        let loss = Loss.now(
            former, mishap, hasFile: network.hasConfiguration(name),
            isStopped: network.isStopped(name))
        state.withLock { $0.seen[name]?.loss = loss }
        return loss
    }

    // MARK: What runs and what is written

    private func fill(
        _ look: inout InterfaceLook, _ link: NetworkLink, _ device: WireGuardDevice,
        _ config: Config, _ links: [NetworkLink], _ judged: [WireGuardPeer], at now: Timestamp
    ) {
        look.device = device
        if link.isUp { toolkit.remember(link) }
        let text = network.configuration(link.name)
        if text == nil { look.fileFault = network.configurationFault(link.name) }
        look.hasFile =
            text != nil || look.fileFault != nil || network.hasConfiguration(link.name)
        switch written(link.name, text) {
        case .success(let file):
            look.configured = file.peers
            look.configuredPort = file.listenPort
            look.isSaved = file.isSaved
            if link.isUp, !file.isSaved {
                look.lostRoutes = LostRoutes(network: network).find(
                    link, file.peers, file.routes, config.local.mesh.routes)
            }
        case .failure(let failure): look.fileFault = failure.reason
        case nil: break
        }
        look.peers = facts(device, judged, look.configured, config, links, at: now)
    }

    /// What the file says, parsed again only when it has changed.
    private func written(
        _ name: String, _ text: [UInt8]?
    ) -> Result<Written, WireGuardFailure>? {
        guard let text else {
            state.withLock { $0.written[name] = nil }
            return nil
        }
        let fingerprint = LoadedConfig.fingerprint(of: text)
        if let known = state.withLock({ $0.written[name] }), known.fingerprint == fingerprint {
            return known.file
        }
        let file: Result<Written, WireGuardFailure>
        do throws(WireGuardFailure) {
            let conf = try WireGuardConf(text)
            file = .success(
                Written(
                    peers: conf.peers, listenPort: conf.listenPort, isSaved: conf.isSaved,
                    routes: conf.routes))
        } catch { file = .failure(error) }
        state.withLock { $0.written[name] = (fingerprint, file) }
        return file
    }

    /// The peers that are judged, of all interfaces.
    private func judged(
        _ answers: [String: Result<WireGuardDevice, WireGuardFailure>], _ config: Config
    ) -> [String: [WireGuardPeer]] {
        let devices = answers.values.compactMap { try? $0.get() }
        var choice = PeerChoice(limit: MeshWatch.peerLimit)
        (choice.first, choice.known) = state.withLock { ($0.watch.troubledPeers, $0.watch.known) }
        for peer in config.local.mesh.routes.map(\.peer) where !peer.isEmpty {
            choice.first.formUnion(devices.map { .init(interface: $0.name, peer: peer) })
        }
        return choice.judged(devices)
    }

    private func facts(
        _ device: WireGuardDevice, _ judged: [WireGuardPeer], _ configured: [ConfiguredPeer]?,
        _ config: Config, _ links: [NetworkLink], at now: Timestamp
    ) -> [(key: EchoBook.Key, facts: PeerFacts)] {
        let written = Dictionary(
            (configured ?? []).map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        // Asking for the ways of hundreds of peers each time would be too much.
        let asksWays = device.peers.count <= EchoProbe.targetLimit
        return judged.map { peer in
            let key = EchoBook.Key(interface: device.name, peer: peer.publicKey)
            var facts = PeerFacts()
            facts.handshake = peer.handshake
            facts.received = peer.received
            facts.sent = peer.sent
            facts.endpoint = peer.endpoint
            let entry = written[peer.publicKey]
            // Who was put where its name stands for now has not moved.
            facts.configuredEndpoint =
                toolkit.isPlaced(key, at: peer.endpoint) ? peer.endpoint : entry?.endpoint
            facts.isWanted = config.local.mesh.routes.contains {
                $0.peer.isEmpty ? $0.interface == device.name : $0.peer == peer.publicKey
            }
            facts.isRoaming =
                !facts.isWanted && (entry.map { $0.endpoint == nil } ?? isGuest(key, peer, now))
            let target = EchoChoice.address(peer)
            let way = target.flatMap { asksWays ? network.way(to: $0, mark: 0) : nil }
            if let target, way != .local {
                let target = EchoTarget(device: device.name, address: target)
                facts.echo = state.withLock { $0.echoes.record(key, target: target) }
            } else {
                facts.echo.obstacle =
                    target == nil
                    ? "its allowed IPs name no host" : "the address to ask is this node's own"
            }
            if case .nowhere(let code) = way { facts.routeFault = errnoText(code) }
            if asksWays, let endpoint = peer.endpointAddress {
                facts.underlay = underlay(endpoint, mark: device.mark, links)
            }
            return (key, facts)
        }
    }

    /// Has those asked whom the file names, of an interface that has never said who its peers are.
    private func guess(_ name: String) {
        guard case .success(let file)? = written(name, network.configuration(name)) else { return }
        let targets = file.peers.prefix(EchoProbe.targetLimit).compactMap { entry in
            var peer = WireGuardPeer(publicKey: entry.publicKey)
            peer.allowedIPs = entry.allowedIPs.compactMap { IPPrefix($0) }
            let key = EchoBook.Key(interface: name, peer: entry.publicKey)
            let address = EchoChoice.address(peer)
            return address.map { (key: key, target: EchoTarget(device: name, address: $0)) }
        }
        state.withLock { $0.echoes.guess(name, targets) }
    }

    private func isGuest(_ key: EchoBook.Key, _ peer: WireGuardPeer, _ now: Timestamp) -> Bool {
        state.withLock { state in
            state.guests.isGuest(
                key, at: peer.endpoint, isKeptAwake: peer.keepalive != 0, now: now)
        }
    }

    private func underlay(
        _ endpoint: IPAddress, mark: UInt32, _ links: [NetworkLink]
    ) -> Underlay {
        switch network.way(to: endpoint, mark: mark) {
        case nil: return .unknown
        case .local: return .there("lo")
        case .nowhere(let code): return .gone(errnoText(code))
        case .device(let index, _):
            guard let link = links.first(where: { $0.index == index }) else { return .unknown }
            state.withLock { _ = $0.newUnderlays.insert(index) }
            return link.isRunning ? .there(link.name) : .gone("\(link.name) has no carrier")
        }
    }
}
