package import Antibody
import Glibc
package import Platform
package import Protocol
import Runtime
package import Settings
import Synchronization

/// The mesh healer: whether WireGuard's tunnels carry, and how to mend them.
///
/// Three things go on: samples read the interfaces and judge their peers; echoes go through the tunnels
/// in their own rhythm; and the kernel is listened to, so that a link that goes down is looked at at
/// once.
package final class MeshModule: AntibodyModule {
    package let name = "mesh"
    package let agentType = "mesh_healer"

    /// How long an echo may take; a tunnel by satellite takes less.
    static let echoLimit: Duration = .seconds(2)
    /// How long a round of echoes may take in all.
    private static let roundLimit: Duration = .seconds(10)
    /// Least time between two looks that the kernel's word about links causes.
    private static let linkPause: UInt32 = 50_000
    /// The same when links have not come to rest for a while.
    private static let longPause: UInt32 = 1_000_000
    /// How often an interface is looked for in vain before it is taken as removed: a program that was
    /// killed may leave its traces a little later.
    private static let missLimit = 10

    private struct State {
        var config: Config
        var watch = MeshWatch()
        var echoes = EchoBook()
        /// Interfaces that were there once, and how often they have been missed since without a mishap.
        var seen: [String: Int] = [:]
        /// The interfaces that lead to endpoints, by number.
        var underlays: Set<Int32> = []
        /// Peers that no file names and that came without an endpoint: they call, and are not called.
        var guests: Set<EchoBook.Key> = []
        /// Configuration files, as they were read last.
        var written: [String: (fingerprint: String, file: Written?)] = [:]
    }

    /// What is used of a configuration file.
    private struct Written {
        var peers: [ConfiguredPeer]
        var listenPort: Int?
        /// Whether it calls for routes.
        var makesRoutes: Bool
    }

    private let network: any MeshNetwork
    private let toolkit: MeshToolkit
    private let state: Mutex<State>
    /// Rung when there is somebody new to ask, or settings change.
    private let wakeup = Wakeup()

    /// The module of this node.
    package convenience init(hostRoot: HostRoot, config: Config) {
        let network = NodeNetwork(root: hostRoot)
        self.init(
            network: network, toolkit: MeshToolkit(root: hostRoot, network: network), config: config
        )
    }

    /// The same with parts that tests replace.
    init(network: any MeshNetwork, toolkit: MeshToolkit, config: Config) {
        self.network = network
        self.toolkit = toolkit
        toolkit.apply(config)
        state = Mutex(State(config: config))
    }

    package func apply(_ config: Config) {
        toolkit.apply(config)
        state.withLock { $0.config = config }
        wakeup.ring()
    }

    package func verbs() -> [any Verb] {
        [
            PingPeer(toolkit: toolkit), RestartWireGuard.resolveEndpoint(toolkit),
            RestartWireGuard(toolkit: toolkit), RegenerateConfig(toolkit: toolkit),
            FailoverRoute(toolkit: toolkit),
        ]
    }

    // MARK: Sampling

    package func sample(at now: Timestamp) async -> Sample {
        var sample = Sample()
        let looks: [InterfaceLook]
        do throws(NetlinkFailure) {
            looks = try look(at: now)
        } catch {
            sample.metadata = ["mesh_failure": .string("\(error)")]
            return sample
        }
        let verdicts = state.withLock { state in
            sample.symptoms = state.watch.observe(looks, at: now)
            return state.watch.verdicts
        }
        sample.metadata = MeshReport.metadata(looks, verdicts, at: now)
        return sample
    }

    /// Looks once, with an echo to each peer, for people who ask now. Blocks for a few seconds.
    package func inspect(at now: Timestamp) async -> Sample {
        _ = await sample(at: now)
        _ = askOnce(at: now)
        return await sample(at: now)
    }

    private func look(at now: Timestamp) throws(NetlinkFailure) -> [InterfaceLook] {
        let links = try network.links()
        let config = state.withLock { $0.config }
        let found = links.filter {
            matches($0.name, config.mesh.interfaces) && network.isWireGuard($0)
        }
        var looks: [InterfaceLook] = []
        var room = MeshWatch.peerLimit
        for link in found {
            var look = InterfaceLook(name: link.name, link: link)
            do throws(WireGuardFailure) {
                let device = try network.device(link)
                look.device = device
                if link.isUp { toolkit.remember(link) }
                let file = written(link.name)
                look.configured = file?.peers
                look.configuredPort = file?.listenPort
                if let file, file.makesRoutes, link.isUp {
                    look.lostRoutes = LostRoutes(network: network).find(
                        link, file.peers, config.local.mesh.routes)
                }
                look.peers = facts(device, look.configured, link, config, links, room)
                room -= look.peers.count
            } catch {
                look.failure = error.reason
                look.isHung =
                    link.isUp
                    && state.withLock {
                        $0.echoes.areSilent(link.name, since: now - PeerJudge.watchTime)
                    }
            }
            looks.append(look)
        }
        looks += missing(found, links, config)
        let keys = Set(looks.flatMap { $0.peers.map(\.key) })
        // A failed read says nothing about which peers there are.
        if !looks.contains(where: { $0.link != nil && $0.device == nil }) {
            state.withLock { state in
                state.echoes.keep(keys)
                state.guests.formIntersection(keys)
            }
        }
        return looks
    }

    /// The interfaces that were there, or that are named, and are not there now.
    private func missing(
        _ found: [NetworkLink], _ links: [NetworkLink], _ config: Config
    ) -> [InterfaceLook] {
        let named = Set(config.mesh.interfaces.filter(isName))
        let present = Set(links.map(\.name))
        let (seen, isNew) = state.withLock { state in
            // What the settings do not mean any more, or somebody has removed for good, is not missed.
            state.seen = state.seen.filter {
                $0.value < Self.missLimit && matches($0.key, config.mesh.interfaces)
            }
            let isNew = found.contains { state.seen[$0.name] == nil }
            for link in found { state.seen[link.name] = 0 }
            return (state.seen, isNew)
        }
        if isNew { wakeup.ring() }
        return named.union(seen.keys).subtracting(present).sorted().map { name in
            var look = InterfaceLook(name: name)
            look.mishap =
                network.mishap(name)
                ?? (named.contains(name) ? "mesh.interfaces names it, and it is not there" : nil)
            if look.mishap == nil { state.withLock { $0.seen[name]? += 1 } }
            return look
        }
    }

    /// What the file says, parsed again only when it has changed.
    private func written(_ name: String) -> Written? {
        guard let text = network.configuration(name) else {
            state.withLock { $0.written[name] = nil }
            return nil
        }
        let fingerprint = LoadedConfig.fingerprint(of: text)
        if let known = state.withLock({ $0.written[name] }), known.fingerprint == fingerprint {
            return known.file
        }
        let file = (try? WireGuardConf(text)).map { conf in
            Written(
                peers: conf.peers, listenPort: conf.listenPort,
                makesRoutes: conf.isForQuick && conf.makesRoutes)
        }
        state.withLock { $0.written[name] = (fingerprint, file) }
        return file
    }

    private func facts(
        _ device: WireGuardDevice, _ configured: [ConfiguredPeer]?, _ link: NetworkLink,
        _ config: Config, _ links: [NetworkLink], _ room: Int
    ) -> [(key: EchoBook.Key, facts: PeerFacts)] {
        let written = Dictionary(
            (configured ?? []).map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        // Asking for the ways of hundreds of peers each time would be too much.
        let asksWays = device.peers.count <= EchoProbe.targetLimit
        return device.peers.prefix(room).map { peer in
            let key = EchoBook.Key(interface: device.name, peer: peer.publicKey)
            var facts = PeerFacts()
            facts.handshake = peer.handshake
            facts.received = peer.received
            facts.sent = peer.sent
            facts.endpoint = peer.endpoint
            let entry = written[peer.publicKey]
            facts.configuredEndpoint = entry?.endpoint
            let isWanted = config.local.mesh.routes.contains {
                $0.peer.isEmpty ? $0.interface == device.name : $0.peer == peer.publicKey
            }
            facts.isRoaming =
                !isWanted && (entry.map { $0.endpoint == nil } ?? isGuest(key, peer.endpoint))
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

    private func isGuest(_ key: EchoBook.Key, _ endpoint: String?) -> Bool {
        state.withLock { state in
            if endpoint == nil { state.guests.insert(key) }
            return state.guests.contains(key)
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
            state.withLock { _ = $0.underlays.insert(index) }
            return link.isRunning ? .there(link.name) : .gone("\(link.name) has no carrier")
        }
    }

    // MARK: Listening

    package func run(_ surroundings: Surroundings) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listen(surroundings) }
            group.addTask { await self.echo(surroundings) }
        }
    }

    /// Listens to what the kernel says about links.
    private func listen(_ surroundings: Surroundings) async {
        let thread = WorkerThread(name: "mesh-links")
        defer { thread.stop() }
        let listener: LinkListener
        do throws(NetlinkFailure) { listener = try LinkListener() } catch {
            surroundings.log.error(
                "cannot listen to links; they are only looked at", ["reason": error])
            return
        }
        let listening = Task(executorPreference: thread) { [network] in
            var changes = LinkChanges((try? network.links()) ?? [])
            var burst = 0
            var lastLook = SteadyClock.sinceBoot()
            while let messages = listener.wait() {
                // Something was lost: all is new.
                if messages.isEmpty { changes = LinkChanges((try? network.links()) ?? []) }
                let changed = changes.take(messages)
                guard messages.isEmpty || changed.contains(where: self.concerns) else { continue }
                surroundings.lookAgain()
                // A link that flaps is looked at often, and not all the time. What comes meanwhile waits.
                let isSoon = SteadyClock.sinceBoot() - lastLook < .milliseconds(500)
                burst = isSoon ? burst + 1 : 0
                lastLook = SteadyClock.sinceBoot()
                usleep(burst > 10 ? Self.longPause : Self.linkPause)
            }
        }
        await withTaskCancellationHandler {
            await listening.value
        } onCancel: {
            listener.stop()
        }
    }

    /// Whether a link is a tunnel that is watched, or leads to a tunnel's other end.
    private func concerns(_ link: NetworkLink) -> Bool {
        state.withLock { state in
            matches(link.name, state.config.mesh.interfaces) || state.underlays.contains(link.index)
        }
    }

    /// Sends echoes through the tunnels, again and again.
    private func echo(_ surroundings: Surroundings) async {
        let thread = WorkerThread(name: "mesh-echo")
        defer { thread.stop() }
        while !Task.isCancelled {
            let started = SteadyClock.sinceBoot()
            // Left behind when the agent stops: nobody waits for the rest of a round.
            if !thread.isHanging {
                let isChange = try? await withTimeLimit(Self.roundLimit, on: thread) {
                    self.askOnce(at: surroundings.clock.now())
                }
                if isChange == true { surroundings.lookAgain() }
            }
            let interval = state.withLock { $0.config.mesh.probeInterval }
            let rest = started + interval - SteadyClock.sinceBoot()
            _ = await wakeup.wait(atMost: max(rest, .milliseconds(10)))
        }
    }

    /// One round of echoes; says whether a peer was lost or has come back. Blocks.
    func askOnce(at now: Timestamp) -> Bool {
        let asked = state.withLock { $0.echoes.next() }
        guard !asked.isEmpty else { return false }
        let outcomes = network.echo(asked.map(\.target), limit: Self.echoLimit)
        return state.withLock { $0.echoes.take(asked, outcomes, sentAt: now) }
    }
}
