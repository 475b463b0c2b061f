import Antibody
import Glibc
import Platform
import Protocol
import Runtime
import Settings
import Synchronization

/// What the verbs of the mesh healer share: the node, its settings, and how to look at a tunnel.
final class MeshToolkit: Sendable {
    /// What a command is about.
    struct Subject: Sendable, Equatable {
        var interface: String
        /// `nil`: the interface with all its peers.
        var peer: String?
    }

    let root: HostRoot
    let network: any MeshNetwork
    let tool: WireGuardTool
    private let settings = Mutex(Config())

    init(root: HostRoot, network: any MeshNetwork, tool: WireGuardTool = WireGuardTool()) {
        self.root = root
        self.network = network
        self.tool = tool
    }

    /// How often what an interface carries is looked at.
    private static let memoryInterval: Duration = .seconds(30)
    /// Routes and addresses of interfaces that are up, as they were seen last.
    private let memory = Mutex<[String: (at: Duration, snapshot: LinkSnapshot)]>([:])

    /// Keeps in mind what goes when a link is switched off. Routes of routing programs are theirs.
    func remember(_ link: NetworkLink) {
        let now = SteadyClock.sinceBoot()
        let last = memory.withLock { $0[link.name]?.at }
        if let last, now - last < Self.memoryInterval { return }
        guard var snapshot = try? LinkSnapshot(link) else { return }
        snapshot.routes.removeAll { !$0.isByHand }
        memory.withLock { memory in
            if memory.count > 64 { memory = [:] }
            memory[link.name] = (now, snapshot)
        }
    }

    func remembered(_ name: String) -> LinkSnapshot? { memory.withLock { $0[name]?.snapshot } }

    /// How long what makes an interface may go on after its action.
    private static let goingLimit: Duration = .seconds(600)

    /// What actions make anew.
    private struct Work {
        /// Just now.
        var names: Set<String> = []
        /// Programs that go on after their actions, and until when they count.
        var going: [String: (child: pid_t, until: Duration)] = [:]
        /// What was made last: the interface's number.
        var made: [String: Int32] = [:]
    }

    private let work = Mutex(Work())

    /// The interfaces that are being made anew by an action. Until it is through, what is there may be
    /// taken away again.
    var unfinished: Set<String> {
        let now = SteadyClock.sinceBoot()
        return work.withLock { work in
            work.going = work.going.filter {
                Subprocess.goesOn($0.value.child) && now < $0.value.until
            }
            return work.names.union(work.going.keys)
        }
    }

    /// Those of them whose action is through, and what it has started goes on.
    var going: Set<String> {
        work.withLock { work in
            Set(work.going.filter { Subprocess.goesOn($0.value.child) }.keys)
        }
    }

    func begin(_ name: String) { work.withLock { _ = $0.names.insert(name) } }

    /// - `made`: the interface is there, and carries.
    /// - `running`: the program that has made it, when that goes on.
    func end(_ name: String, made: NetworkLink? = nil, running: pid_t? = nil) {
        let until = SteadyClock.sinceBoot() + Self.goingLimit
        work.withLock { work in
            work.names.remove(name)
            work.made[name] = made?.index
            work.going[name] = running.map { ($0, until) }
        }
    }

    /// Whether an action has made an interface, and all that belongs to it.
    func hasMade(_ link: NetworkLink) -> Bool {
        work.withLock { $0.made[link.name] == link.index }
    }

    /// The interfaces that were there when it was looked last, and when that was, by the clock of looks and
    /// by this one; `nil`: nobody has looked.
    private let seen = Mutex<(presences: [String: Presence], at: Timestamp, now: Duration)?>(nil)

    func note(presences: [String: Presence], at now: Timestamp) {
        seen.withLock { $0 = (presences, now, SteadyClock.sinceBoot()) }
    }

    /// Refuses to touch an interface that somebody else is making, as far as can be told: whoever finds it
    /// switched on, or an address on it, that he has not put there, gives up and takes it away.
    func checkFinished(_ name: String) throws(VerbFailure) {
        // What actions have started here is known.
        guard !unfinished.contains(name) else { return }
        guard let link = try link(name) else { return try checkQuiet(name) }
        guard !hasMade(link) else { return }
        guard matches(name, config.mesh.interfaces), let seen = seen.withLock({ $0 }) else {
            return try checkQuiet(name)
        }
        guard let presence = seen.presences[name], presence.index == link.index else {
            guard network.isWireGuard(link) || seen.presences[name] != nil else { return }
            throw Self.transient(
                "\(name) has appeared since it was looked at last: somebody may be making it")
        }
        let now = seen.at + (SteadyClock.sinceBoot() - seen.now)
        // A PostUp may take any time: what has been on for long enough is there.
        if !link.isUp || !presence.isBack(at: now) { try checkQuiet(name) }
        guard presence.isUnderWay(at: now) else { return }
        throw Self.transient(
            "\(name) has appeared within \(Presence.newTime.components.seconds) s and is not complete: "
                + "somebody may be making it")
    }

    private func checkQuiet(_ name: String) throws(VerbFailure) {
        guard network.quickRuns().contains(name) else { return }
        throw Self.transient("wg-quick is at work on \(name), and must not be disturbed")
    }

    /// Peers that answer no echo, and when they were heard last at the place where they are.
    private let heard = Mutex<[EchoBook.Key: Timestamp]>([:])

    func note(heard now: [EchoBook.Key: Timestamp]) { heard.withLock { $0 = now } }

    /// Whether a peer is well where it is, although it answers no echo and never has: something of it has
    /// come from there, and its session stands.
    func isHeard(_ peer: WireGuardPeer, _ name: String, at now: Timestamp) -> Bool {
        let key = EchoBook.Key(interface: name, peer: peer.publicKey)
        guard peer.isAlive(at: now), let last = heard.withLock({ $0[key] }) else { return false }
        return now - last <= PeerJudge.signTime
    }

    /// Where actions have put peers.
    private let placed = Mutex<[EchoBook.Key: String]>([:])

    func place(_ key: EchoBook.Key, at endpoint: String) {
        placed.withLock { placed in
            if placed.count >= MeshWatch.peerLimit { placed = [:] }
            placed[key] = endpoint
        }
    }

    /// Whether an action has put a peer where it is.
    func isPlaced(_ key: EchoBook.Key, at endpoint: String?) -> Bool {
        placed.withLock { $0[key] } == endpoint && endpoint != nil
    }

    func apply(_ config: Config) { settings.withLock { $0 = config } }

    var config: Config { settings.withLock { $0 } }

    /// What the command's `resource` names: `wg0`, or `wg0/` and a peer's public key.
    func subject(_ parameters: JSON.Object) throws(VerbFailure) -> Subject {
        guard let resource = parameters["resource"]?.string, !resource.isEmpty else {
            throw Self.permanent(
                "parameters.resource: must be an interface, such as \"wg0\", or an interface, a "
                    + "slash and a peer's public key")
        }
        let slash = resource.firstIndex(of: "/")
        let name = String(resource[..<(slash ?? resource.endIndex)])
        let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard (1..<16).contains(name.utf8.count), isPlain, name != ".", name != ".." else {
            throw Self.permanent(
                "parameters.resource: \(Name.quoted(resource)) names no interface")
        }
        guard let slash else { return Subject(interface: name, peer: nil) }
        let peer = String(resource[resource.index(after: slash)...])
        guard WireGuardKey.isKey(peer) else {
            throw Self.permanent(
                "parameters.resource: what follows \"\(name)/\" is no public key (44 characters of "
                    + "base 64)")
        }
        return Subject(interface: name, peer: peer)
    }

    /// Refuses interfaces that this node's own file does not allow to be touched.
    func checkRights(_ name: String) throws(VerbFailure) {
        let allowed = config.local.mesh.restart
        guard matches(name, allowed) else {
            throw Self.permanent(
                "\(name) may not be changed: local.mesh.restart allows "
                    + (allowed.isEmpty ? "none" : allowed.joined(separator: ", ")))
        }
    }

    /// The interface's link; `nil`: it is not there.
    func link(_ name: String) throws(VerbFailure) -> NetworkLink? {
        do throws(NetlinkFailure) {
            return try network.links().first { $0.name == name }
        } catch { throw VerbFailure(isTransient: true, reason: "\(error)") }
    }

    /// What runs on a WireGuard interface that is there.
    func device(_ link: NetworkLink) throws(VerbFailure) -> WireGuardDevice {
        guard network.isWireGuard(link) else {
            throw Self.permanent("\(link.name) is no WireGuard interface")
        }
        do throws(WireGuardFailure) { return try network.device(link) } catch {
            throw VerbFailure(isTransient: true, reason: error.reason)
        }
    }

    /// The file of an interface, parsed; why not, when it cannot be.
    func configuration(_ name: String) -> Result<WireGuardConf, WireGuardFailure> {
        let path = root.real(NodeNetwork.path(name))
        guard let text = network.configuration(name) else {
            return .failure(WireGuardFailure("\(path) is not there, or cannot be read"))
        }
        do throws(WireGuardFailure) { return .success(try WireGuardConf(text)) } catch {
            return .failure(WireGuardFailure("\(path): \(error.reason)"))
        }
    }

    /// What is wrong with an interface, or with one of its peers, although it answers; `nil`: nothing. Then
    /// there is nothing to be done, and that is no failure. `asksFile`: what its file says matters.
    func flaw(
        _ link: NetworkLink, _ device: WireGuardDevice, _ peer: String?, asksFile: Bool
    ) -> String? {
        let meant = device.peers.filter { peer == nil || $0.publicKey == peer }
        for address in meant.prefix(EchoProbe.targetLimit).compactMap(EchoChoice.address) {
            if case .nowhere(let code)? = network.way(to: address, mark: 0) {
                return "\(address) is not routed into it (\(errnoText(code)))"
            }
        }
        guard asksFile else { return nil }
        if peer == nil, let fault = network.configurationFault(link.name) {
            return "its configuration file is of no use: \(fault)"
        }
        guard network.hasConfiguration(link.name) else { return nil }
        switch configuration(link.name) {
        // That is the interface's trouble, not the peer's.
        case .failure(let failure): return peer == nil ? failure.reason : nil
        case .success(let conf):
            let running = Dictionary(
                device.peers.map { ($0.publicKey, $0.allowedIPs.map(\.description)) },
                uniquingKeysWith: { first, _ in first })
            let findings = Drift.compare(running: running, configured: conf.peers)
            if conf.isSaved { return nil }
            return findings.first { peer == nil || $0.peer == peer }?.meaning
        }
    }

    /// Asks peers for an echo through their tunnel, all at once. Those without an address are left out.
    func echo(
        _ peers: [WireGuardPeer], _ name: String, limit: Duration
    ) -> [String: EchoOutcome] {
        let asked = peers.compactMap { peer in
            EchoChoice.address(peer).map { (peer.publicKey, EchoTarget(device: name, address: $0)) }
        }.prefix(EchoProbe.targetLimit)
        let outcomes = network.echo(asked.map(\.1), limit: limit)
        return Dictionary(
            zip(asked.map(\.0), outcomes).map { ($0, $1) }, uniquingKeysWith: { first, _ in first })
    }

    /// Refuses to conclude anything from echoes that this process could not send.
    static func checkAsked(_ answers: [String: EchoOutcome]) throws(VerbFailure) {
        for case .impossible(let code) in answers.values {
            throw transient("this process can send no echo: \(errnoText(code))")
        }
    }

    static func permanent(_ reason: String) -> VerbFailure {
        VerbFailure(isTransient: false, reason: reason)
    }

    static func transient(_ reason: String) -> VerbFailure {
        VerbFailure(isTransient: true, reason: reason)
    }
}

extension EchoOutcome {
    var isAnswer: Bool { if case .answered = self { true } else { false } }
}

extension WireGuardPeer {
    /// Whether its session is so young that it may carry what an echo does not show.
    func isAlive(at now: Timestamp) -> Bool {
        handshake > 0 && now - Timestamp(seconds: handshake) < PeerJudge.deadAge
    }
}
