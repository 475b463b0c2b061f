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
    /// Why it did not say.
    package var failure: String?
    /// Nothing has come through it for a while either.
    package var isHung = false
    /// What is written, when there is a file that can be read.
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
}

/// Turns looks at the interfaces into symptoms, from one look to the next. Pure.
package struct MeshWatch: Sendable {
    /// Peers that are judged at most, on all interfaces together.
    package static let peerLimit = 512
    /// How long a difference from the configuration file may last before it is said: somebody may be
    /// editing.
    package static let driftTime: Duration = .seconds(15)
    /// Findings about one configuration that are raised; hundreds have one cause.
    static let driftLimit = 32

    private struct Peer {
        var judge = PeerJudge()
        var endpoints = EndpointWatch()
    }

    private var peers: [EchoBook.Key: Peer] = [:]
    /// When a difference was first seen.
    private var drifting: [EchoBook.Key: Timestamp] = [:]
    /// Peers about which something is raised.
    private var raised: [EchoBook.Key: [String: Symptom]] = [:]
    /// What was last said of each peer, for heartbeats.
    private(set) package var verdicts: [EchoBook.Key: PeerVerdict] = [:]

    package init() {}

    /// Takes one look at all interfaces.
    package mutating func observe(_ looks: [InterfaceLook], at now: Timestamp) -> [Symptom] {
        var symptoms: [Symptom] = []
        var present: Set<EchoBook.Key> = []
        // First of all, should there be too many.
        symptoms += looks.map(MeshReport.tunnel)
        for look in looks {
            guard look.link?.isUp == true, look.device != nil else {
                // Somebody has removed it: its peers went with it.
                if look.link == nil, look.mishap == nil { continue }
                // Nothing is known of the peers, and what was raised about them lasts.
                let known = Array(peers.keys) + Array(raised.keys) + Array(drifting.keys)
                let own = Set(known.filter { $0.interface == look.name })
                present.formUnion(own)
                symptoms += own.sorted().flatMap { key in
                    (raised[key] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
                }
                continue
            }
            for (key, facts) in look.peers {
                present.insert(key)
                symptoms += observe(key, facts, at: now)
            }
            symptoms += drift(look, &present, at: now)
        }
        symptoms += forget(allBut: present)
        for symptom in symptoms where symptom.type != "tunnel_down" { note(symptom) }
        return symptoms
    }

    private mutating func observe(
        _ key: EchoBook.Key, _ facts: PeerFacts, at now: Timestamp
    ) -> [Symptom] {
        var peer = peers[key] ?? Peer()
        let verdict = peer.judge.observe(facts, at: now)
        let move = peer.endpoints.observe(facts, at: now)
        peers[key] = peer
        verdicts[key] = verdict
        var symptoms = MeshReport.faults(key, verdict)
        symptoms.append(MeshReport.move(key, move))
        return symptoms
    }

    private mutating func drift(
        _ look: InterfaceLook, _ present: inout Set<EchoBook.Key>, at now: Timestamp
    ) -> [Symptom] {
        guard let device = look.device, let configured = look.configured else { return [] }
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
        if let port = Drift.port(running: device.listenPort, configured: look.configuredPort) {
            findings.insert(port, at: 0)
        }
        var symptoms: [Symptom] = []
        var seen: Set<EchoBook.Key> = []
        for finding in findings.prefix(Self.driftLimit) {
            let key = EchoBook.Key(interface: look.name, peer: finding.peer)
            seen.insert(key)
            present.insert(key)
            let since = drifting[key] ?? now
            drifting[key] = since
            symptoms.append(
                MeshReport.drift(key, finding, isSettled: now - since >= Self.driftTime))
        }
        let settled =
            look.peers.map(\.key) + drifting.keys.filter { $0.interface == look.name }
            + [EchoBook.Key(interface: look.name, peer: "")]
        for key in Set(settled).sorted() where !seen.contains(key) {
            drifting[key] = nil
            if key.peer.isEmpty { present.insert(key) }
            symptoms.append(
                Symptom(
                    type: MeshReport.driftType, resource: key.resource, severity: .ok,
                    message: "\(key.resource) runs as it is configured"))
        }
        return symptoms
    }

    /// What was raised about peers that are configured no longer is over.
    private mutating func forget(allBut present: Set<EchoBook.Key>) -> [Symptom] {
        peers = peers.filter { present.contains($0.key) }
        verdicts = verdicts.filter { present.contains($0.key) }
        drifting = drifting.filter { present.contains($0.key) }
        var symptoms: [Symptom] = []
        for (key, types) in raised.sorted(by: { $0.key < $1.key }) where !present.contains(key) {
            for type in types.keys.sorted() {
                symptoms.append(
                    Symptom(
                        type: type, resource: key.resource, severity: .ok,
                        message: "\(key.resource) is no longer configured"))
            }
        }
        return symptoms
    }

    private mutating func note(_ symptom: Symptom) {
        guard let severity = symptom.severity else { return }
        let parts = symptom.resource.split(separator: "/", maxSplits: 1)
        let key = EchoBook.Key(
            interface: parts.first.map(String.init) ?? "",
            peer: parts.count > 1 ? String(parts[1]) : "")
        if severity > .ok {
            raised[key, default: [:]][symptom.type] = symptom
        } else if raised[key]?.removeValue(forKey: symptom.type) != nil,
            raised[key]?.isEmpty == true
        {
            raised[key] = nil
        }
    }
}
