package import Antibody
package import Platform
package import Protocol

/// What one look found of one interface.
package struct InterfaceLook: Sendable {
    package var name: String
    /// `nil`: it is not there.
    package var link: NetworkLink?
    /// Why it is not there although it should be; `nil`: somebody removed it.
    package var mishap: String?
    /// What runs; `nil` when it was not asked, or did not say.
    package var device: WireGuardDevice?
    /// Why it did not say, or why it is not known what became of it.
    package var failure: String?
    /// It may not be asked by this process.
    package var isDenied = false
    /// Nothing has come through it for a while either.
    package var isHung = false
    /// It is being made, which may fail.
    package var isUnfinished = false
    /// There is a configuration file, understood or not.
    package var hasFile = false
    /// The file is written from what runs, and not the other way round.
    package var isSaved = false
    /// Why the file is of no use.
    package var fileFault: String?
    /// What is written, when there is a file that can be understood.
    package var configured: [ConfiguredPeer]?
    /// The port that is written; `nil`: none.
    package var configuredPort: Int?
    /// Ranges that the file wants routed into the tunnel and that are not, by peer.
    package var lostRoutes: [String: [String]] = [:]
    /// Facts of the peers that are judged, in order.
    package var peers: [(key: EchoBook.Key, facts: PeerFacts)] = []

    package init(name: String, link: NetworkLink? = nil) {
        self.name = name
        self.link = link
    }

    /// Its peers that there was no room for.
    var unjudged: [EchoBook.Key] {
        guard let device, device.peers.count > peers.count else { return [] }
        let judged = Set(peers.map(\.key))
        return device.peers.map { .init(interface: name, peer: $0.publicKey) }
            .filter { !judged.contains($0) }
    }

    /// Somebody has removed it, and its peers with it.
    var isRemoved: Bool { link == nil && mishap == nil && failure == nil }
    /// What can be known of it is known.
    var isRead: Bool { link?.isUp == true && device != nil }
}

/// Turns looks at the interfaces into symptoms, from one look to the next. Pure.
///
/// What was raised lasts, and is said again, until it is known to be over: while an interface is down or
/// does not say how it is, nobody has seen its peers come back.
package struct MeshWatch: Sendable {
    /// Peers that are judged at most, on all interfaces together.
    package static let peerLimit = 512
    /// How long a difference from the configuration file may last before it is said: somebody may be
    /// editing.
    package static let driftTime: Duration = .seconds(15)
    /// Findings about one configuration that are raised; hundreds have one cause.
    static let driftLimit = 8
    /// Peers whose faults are raised one by one, on all interfaces together, and of each in any case; what
    /// the others have is raised as one. An agent does one thing at a time, and has room for sixteen
    /// commands that wait: dead peers must not keep a tunnel that can be mended waiting.
    static let faultLimit = 6
    static let leastFaults = 2
    /// Things about peers that are raised at most: the agent's room for alerts is for tunnels, too.
    static let alertLimit = 192

    private struct Peer {
        var judge = PeerJudge()
        var endpoints = EndpointWatch()
        var answersEchoes = false
    }

    private var peers: [EchoBook.Key: Peer] = [:]
    /// When a difference was first seen.
    private var drifting: [EchoBook.Key: Timestamp] = [:]
    /// What is raised, as it was said last.
    private var raised: [AlertKeeper.Key: Symptom] = [:]
    /// The peers whose faults are raised as one.
    private var crowds: [AlertKeeper.Key: Set<EchoBook.Key>] = [:]
    /// What was last said of each peer, for heartbeats.
    private(set) package var verdicts: [EchoBook.Key: PeerVerdict] = [:]
    /// Things that were not raised for want of room, in the last look.
    private(set) package var omitted = 0

    package init() {}

    /// When peers that have never answered an echo were heard last at the place where they are.
    var heard: [EchoBook.Key: Timestamp] {
        peers.filter { !$0.value.answersEchoes }.compactMapValues(\.endpoints.heardAt)
    }

    /// Takes over what an earlier process has raised and not cleared.
    package mutating func recall(_ things: [AlertKeeper.Key: Severity]) {
        for (thing, severity) in things where severity > .ok && MeshReport.isOwn(thing.type) {
            raised[thing] = MeshReport.recalled(thing, severity)
        }
    }

    /// The interfaces about which something is raised.
    package var troubled: Set<String> {
        Set(raised.keys.map { EchoBook.Key(resource: $0.resource).interface })
    }

    /// The peers about whom something is raised, one by one or as one.
    var troubledPeers: Set<EchoBook.Key> {
        let single = raised.keys.map { EchoBook.Key(resource: $0.resource) }
        return crowds.values.reduce(into: Set(single.filter { !$0.peer.isEmpty })) {
            $0.formUnion($1)
        }
    }

    /// The peers that have been judged.
    var known: Set<EchoBook.Key> { Set(peers.keys) }

    /// Takes one look at all interfaces.
    package mutating func observe(_ looks: [InterfaceLook], at now: Timestamp) -> [Symptom] {
        // First of all, should there be too many.
        var symptoms = looks.map(MeshReport.tunnel)
        var present: Set<EchoBook.Key> = []
        var held: Set<EchoBook.Key> = []
        let single = raised.keys.count { thing in
            PeerFault(rawValue: thing.type) != nil
                && !EchoBook.Key(resource: thing.resource).peer.isEmpty
        }
        var room = Self.faultLimit - single
        let troubledPeers = troubledPeers
        for look in looks where !look.isRemoved {
            let tunnel = EchoBook.Key(interface: look.name, peer: "")
            present.insert(tunnel)
            if look.isUnfinished { held.insert(tunnel) }
            // Amid its making, peers are not routed yet, and all may go again.
            guard look.isRead, !look.isUnfinished else {
                let known = Array(peers.keys) + raised.keys.map { .init(resource: $0.resource) }
                let own = known.filter { $0.interface == look.name } + [tunnel]
                present.formUnion(own)
                held.formUnion(own)
                continue
            }
            present.formUnion(look.peers.map(\.key))
            // Those that there was no room for are there all the same.
            let others = look.unjudged.filter(troubledPeers.contains)
            present.formUnion(others)
            held.formUnion(others)
            symptoms += judge(look, &held, &room, at: now)
            symptoms += drift(look, &present, at: now)
        }
        let read = Set(looks.filter { $0.isRead && !$0.isUnfinished }.map(\.name))
        symptoms += lasting(held, read, said: symptoms)
        symptoms += forget(allBut: present)
        return admit(symptoms)
    }

    // MARK: Peers

    private mutating func judge(
        _ look: InterfaceLook, _ held: inout Set<EchoBook.Key>, _ room: inout Int,
        at now: Timestamp
    ) -> [Symptom] {
        var symptoms: [Symptom] = []
        var faulty: [(key: EchoBook.Key, fault: PeerFault, isFirst: Bool)] = []
        for (key, facts) in look.peers {
            var peer = peers[key] ?? Peer()
            let verdict = peer.judge.observe(facts, at: now)
            _ = peer.endpoints.observe(facts, at: now)
            peer.answersEchoes = facts.echo.answeredAt != nil
            symptoms.append(MeshReport.move(key, peer.endpoints))
            peers[key] = peer
            verdicts[key] = verdict
            switch verdict.state {
            case .faulty(let fault):
                let isRaised = PeerFault.allCases.contains { raised[thing($0, key)] != nil }
                faulty.append((key, fault, facts.isWanted || isRaised))
            case .unknown where verdict.isMoot: break
            case .unknown: held.insert(key)
            case .healthy where verdict.isByHandshake:
                held.insert(key)
                symptoms += MeshReport.faults(key, verdict)
            case .healthy, .away: symptoms += MeshReport.faults(key, verdict)
            }
        }
        // Those that routes depend on, and those that are raised already, come before the others.
        let first = faulty.filter(\.isFirst)
        let others = faulty.filter { !$0.isFirst }
        let count = max(room, Self.leastFaults - first.count, 0)
        let single = first + others.prefix(count)
        room -= min(count, others.count)
        for (key, _, _) in single {
            guard let verdict = verdicts[key] else { continue }
            symptoms += MeshReport.faults(key, verdict)
        }
        let rest = others.dropFirst(count)
        for fault in PeerFault.allCases {
            let members = rest.filter { $0.fault == fault }.map(\.key)
            symptoms += crowd(look, fault, members)
        }
        return symptoms
    }

    private func thing(_ fault: PeerFault, _ key: EchoBook.Key) -> AlertKeeper.Key {
        AlertKeeper.Key(type: fault.rawValue, resource: key.resource)
    }

    /// What the peers have in common that are not raised one by one. Those that are not known now still
    /// belong to it.
    private mutating func crowd(
        _ look: InterfaceLook, _ fault: PeerFault, _ members: [EchoBook.Key]
    ) -> [Symptom] {
        let tunnel = EchoBook.Key(interface: look.name, peer: "")
        let thing = thing(fault, tunnel)
        let isRaised = raised[thing] != nil
        guard isRaised || !members.isEmpty else { return [] }
        // Of what an earlier process has raised, the members are not known.
        let former = crowds[thing] ?? (isRaised ? Set(look.peers.map(\.key)) : [])
        let unsure = look.peers.map(\.key).filter { key in
            guard former.contains(key), let verdict = verdicts[key] else { return false }
            if case .unknown = verdict.state { return !verdict.isMoot }
            return false
        }
        let all = Set(members).union(unsure)
        crowds[thing] = all.isEmpty ? nil : all
        let known = members.compactMap { key in verdicts[key].map { (key, $0) } }
        if known.isEmpty, !all.isEmpty { return raised[thing].map { [$0] } ?? [] }
        return [MeshReport.crowd(tunnel, fault, known, count: all.count)]
    }

    // MARK: Configuration

    private mutating func drift(
        _ look: InterfaceLook, _ present: inout Set<EchoBook.Key>, at now: Timestamp
    ) -> [Symptom] {
        guard let device = look.device, let configured = look.configured, !look.isSaved else {
            return unwritten(look, &present, at: now)
        }
        let running = Dictionary(
            device.peers.map { ($0.publicKey, $0.allowedIPs.map(\.description)) },
            uniquingKeysWith: { first, _ in first })
        var findings = Drift.compare(running: running, configured: configured)
        // One word about each peer: what runs otherwise is routed otherwise, too.
        let different = Set(findings.map(\.peer))
        for (peer, ranges) in look.lostRoutes.sorted(by: { $0.key < $1.key })
        where !different.contains(peer) {
            findings.append(Drift.routes(peer, ranges))
        }
        if !different.contains(""),
            let port = Drift.port(running: device.listenPort, configured: look.configuredPort)
        {
            findings.insert(port, at: 0)
        }
        // Those that are known already stay the ones that are talked about.
        let known = findings.filter { drifting[.init(interface: look.name, peer: $0.peer)] != nil }
        let new = findings.filter { drifting[.init(interface: look.name, peer: $0.peer)] == nil }
        findings = known + new
        var symptoms: [Symptom] = []
        var seen: Set<EchoBook.Key> = []
        for finding in findings.prefix(Self.driftLimit) {
            let key = EchoBook.Key(interface: look.name, peer: finding.peer)
            seen.insert(key)
            symptoms.append(difference(key, finding, &present, at: now))
        }
        let settled =
            look.peers.map(\.key) + drifting.keys.filter { $0.interface == look.name }
            + [EchoBook.Key(interface: look.name, peer: "")]
        for key in Set(settled).sorted() where !seen.contains(key) {
            drifting[key] = nil
            symptoms.append(
                Symptom(
                    type: MeshReport.driftType, resource: key.resource, severity: .ok,
                    message: "\(key.resource) runs as it is configured"))
        }
        return symptoms
    }

    /// One difference, which is said when it has lasted.
    private mutating func difference(
        _ key: EchoBook.Key, _ finding: Drift.Finding, _ present: inout Set<EchoBook.Key>,
        at now: Timestamp
    ) -> Symptom {
        present.insert(key)
        let since = drifting[key] ?? now
        drifting[key] = since
        return MeshReport.drift(key, finding, isSettled: now - since >= Self.driftTime)
    }

    /// Nothing differs from a file that there is not; one that is not understood settles nothing.
    private mutating func unwritten(
        _ look: InterfaceLook, _ present: inout Set<EchoBook.Key>, at now: Timestamp
    ) -> [Symptom] {
        let tunnel = EchoBook.Key(interface: look.name, peer: "")
        var own = raised.sorted { $0.key < $1.key }.filter { thing, _ in
            thing.type == MeshReport.driftType
                && EchoBook.Key(resource: thing.resource).interface == look.name
        }
        if look.hasFile, !look.isSaved {
            guard let fault = look.fileFault else { return own.map(\.value) }
            own.removeAll { $0.key.resource == tunnel.resource }
            return [difference(tunnel, Drift.file(fault), &present, at: now)] + own.map(\.value)
        }
        drifting = drifting.filter { $0.key.interface != look.name }
        return own.map { thing, _ in
            Symptom(
                type: thing.type, resource: thing.resource, severity: .ok,
                message: "\(thing.resource) has no configuration file any more to differ from, or "
                    + "one that is written from what runs")
        }
    }

    // MARK: What lasts and what is over

    /// What was raised about what is not known now: all of it about interfaces that were not read; of the
    /// others the faults of peers, and that they were down while they are being made.
    private func lasting(
        _ held: Set<EchoBook.Key>, _ read: Set<String>, said symptoms: [Symptom]
    ) -> [Symptom] {
        guard !raised.isEmpty else { return [] }
        let said = Set(
            symptoms.compactMap { symptom in
                symptom.severity.map { _ in
                    AlertKeeper.Key(type: symptom.type, resource: symptom.resource)
                }
            })
        return raised.sorted { $0.key < $1.key }.compactMap { thing, symptom in
            let key = EchoBook.Key(resource: thing.resource)
            guard held.contains(key), !said.contains(thing) else { return nil }
            let isFault =
                thing.type == MeshReport.tunnelType
                || PeerFault(rawValue: thing.type) != nil && !key.peer.isEmpty
            return isFault || !read.contains(key.interface) ? symptom : nil
        }
    }

    /// What was raised about peers that are configured no longer, or interfaces that are watched no
    /// longer, is over.
    private mutating func forget(allBut present: Set<EchoBook.Key>) -> [Symptom] {
        peers = peers.filter { present.contains($0.key) }
        verdicts = verdicts.filter { present.contains($0.key) }
        drifting = drifting.filter { present.contains($0.key) }
        return raised.keys.sorted().compactMap { thing in
            let key = EchoBook.Key(resource: thing.resource)
            guard !present.contains(key) else { return nil }
            return Symptom(
                type: thing.type, resource: thing.resource, severity: .ok,
                message: key.peer.isEmpty
                    ? "tunnel \(thing.resource) is no longer watched"
                    : "\(thing.resource) is no longer configured")
        }
    }

    /// Keeps in mind what is raised, and leaves out what there is no room for.
    private mutating func admit(_ symptoms: [Symptom]) -> [Symptom] {
        omitted = 0
        var count = raised.keys.count { $0.type != MeshReport.tunnelType }
        return symptoms.filter { symptom in
            guard let severity = symptom.severity else { return true }
            let thing = AlertKeeper.Key(type: symptom.type, resource: symptom.resource)
            let isLimited = symptom.type != MeshReport.tunnelType
            guard severity > .ok else {
                if raised.removeValue(forKey: thing) != nil {
                    crowds[thing] = nil
                    if isLimited { count -= 1 }
                }
                return true
            }
            if raised[thing] == nil, isLimited {
                guard count < Self.alertLimit else {
                    omitted += 1
                    return false
                }
                count += 1
            }
            raised[thing] = symptom
            return true
        }
    }
}
