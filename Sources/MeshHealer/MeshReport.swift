import Antibody
import Platform
import Protocol

/// Turns what is known of tunnels into symptoms and into members of heartbeats. Pure.
enum MeshReport {
    static let tunnelType = "tunnel_down"
    static let driftType = "config_drift"
    static let moveType = "endpoint_moved"
    /// Peers that a heartbeat lists at most, those with faults first.
    static let peerLimit = 64
    static let interfaceLimit = 16
    /// Peers that an alert about many names at most.
    private static let exampleLimit = 8

    /// Whether the mesh healer raises alerts of a type.
    static func isOwn(_ type: String) -> Bool {
        [tunnelType, driftType, moveType].contains(type) || PeerFault(rawValue: type) != nil
    }

    /// What an earlier process has raised, until more is known.
    static func recalled(_ thing: AlertKeeper.Key, _ severity: Severity) -> Symptom {
        let key = EchoBook.Key(resource: thing.resource)
        var symptom = Symptom(
            type: thing.type, resource: thing.resource, severity: severity,
            message: "\(thing.resource) had this before the agent was started, and it is not "
                + "known to be over")
        symptom.details = ["interface": .string(key.interface)]
        if !key.peer.isEmpty { symptom.details["peer"] = .string(key.peer) }
        return symptom
    }

    static func tunnel(_ look: InterfaceLook) -> Symptom {
        func symptom(_ severity: Severity?, _ message: String, _ cause: String? = nil) -> Symptom {
            var symptom = Symptom(
                type: tunnelType, resource: look.name, severity: severity,
                message: "tunnel \(look.name) \(message)")
            symptom.details = ["interface": .string(look.name)]
            symptom.details["cause"] = cause.map(JSON.string)
            return symptom
        }
        guard let link = look.link else {
            guard let mishap = look.mishap else {
                guard let failure = look.failure else { return symptom(.ok, "was removed") }
                return symptom(nil, "is not there, and why is not known: \(failure)")
            }
            if look.isUnfinished {
                return symptom(nil, "is gone, and may be about to be made: \(mishap)")
            }
            return symptom(.critical, "is gone: \(mishap)", "gone")
        }
        // Somebody is about to switch it on, or has not come to the end.
        if look.isUnfinished { return symptom(nil, "is being made") }
        guard link.isUp else {
            return symptom(.critical, "is down: its interface is switched off", "interface_down")
        }
        if let failure = look.failure, look.isHung {
            return symptom(
                .critical, "does not say how it is, and nothing comes through it: \(failure)",
                "hung")
        }
        if let failure = look.failure { return symptom(nil, "does not say how it is: \(failure)") }
        return symptom(.ok, "is up")
    }

    /// The three faults that a peer can have, of which it has one at most.
    static func faults(_ key: EchoBook.Key, _ verdict: PeerVerdict) -> [Symptom] {
        switch verdict.state {
        case .unknown: []
        case .healthy where verdict.isByHandshake:
            [PeerFault.unreachable, .oneWay].map { ok(key, $0) }
        case .healthy, .away: PeerFault.allCases.map { ok(key, $0) }
        case .faulty(let fault):
            PeerFault.allCases.map { $0 == fault ? faulty(key, fault, verdict) : ok(key, $0) }
        }
    }

    private static func ok(_ key: EchoBook.Key, _ fault: PeerFault) -> Symptom {
        Symptom(
            type: fault.rawValue, resource: key.resource, severity: .ok,
            message: "peer \(key.resource) has no such fault")
    }

    private static func faulty(
        _ key: EchoBook.Key, _ fault: PeerFault, _ verdict: PeerVerdict
    ) -> Symptom {
        let word = word(fault)
        // While the tunnel lives, somebody's firewall is the likely cause, and nothing is lost yet.
        let isCritical = verdict.isDead && fault != .filtered
        var symptom = Symptom(
            type: fault.rawValue, resource: key.resource,
            severity: isCritical ? .critical : .warning,
            message: "peer \(key.resource) \(word): \(verdict.meaning)")
        symptom.details = ["interface": .string(key.interface), "peer": .string(key.peer)]
        symptom.details["cause"] = verdict.cause.map(JSON.string)
        symptom.details.append(verdict.evidence, except: ["interface", "peer", "cause"])
        return symptom
    }

    private static func word(_ fault: PeerFault) -> String {
        switch fault {
        case .unreachable: "cannot be reached"
        case .oneWay: "is reached one way only"
        case .filtered: "lets nothing through"
        }
    }

    /// What many peers of one tunnel have in common that are not raised one by one; `ok` when there are
    /// none. `count`: all of them, also those of which nothing is known now.
    static func crowd(
        _ tunnel: EchoBook.Key, _ fault: PeerFault, _ members: [(EchoBook.Key, PeerVerdict)],
        count: Int
    ) -> Symptom {
        guard let (_, verdict) = members.first else {
            return Symptom(
                type: fault.rawValue, resource: tunnel.resource, severity: .ok,
                message: "tunnel \(tunnel.resource) has no more peers with this fault")
        }
        let isCritical = fault != .filtered && members.contains { $0.1.isDead }
        var symptom = Symptom(
            type: fault.rawValue, resource: tunnel.resource,
            severity: isCritical ? .critical : .warning,
            message: "\(count) more peers of tunnel \(tunnel.resource): each \(word(fault))")
        let isShared = members.allSatisfy { $0.1.cause == verdict.cause }
        symptom.details = [
            "interface": .string(tunnel.interface), "peers": .integer(Int64(count)),
            "examples": .array(members.prefix(exampleLimit).map { .string($0.0.peer) }),
        ]
        if isShared { symptom.details["cause"] = verdict.cause.map(JSON.string) }
        return symptom
    }

    static func move(_ key: EchoBook.Key, _ watch: EndpointWatch) -> Symptom {
        guard let move = watch.move else {
            let verb = watch.heardAt == nil ? "is" : "is heard"
            let place = watch.home.map { "\(verb) at \($0)" } ?? "may be anywhere"
            return Symptom(
                type: moveType, resource: key.resource, severity: .ok,
                message: "peer \(key.resource) \(place)")
        }
        var symptom = Symptom(
            type: moveType, resource: key.resource, severity: .warning,
            message: "peer \(key.resource) has moved from \(move.from) to \(move.to)")
        symptom.details = [
            "interface": .string(key.interface), "peer": .string(key.peer),
            "from": .string(move.from), "to": .string(move.to),
        ]
        return symptom
    }

    static func drift(
        _ key: EchoBook.Key, _ finding: Drift.Finding, isSettled: Bool
    ) -> Symptom {
        var symptom = Symptom(
            type: driftType, resource: key.resource, severity: isSettled ? .warning : nil,
            message: (key.peer.isEmpty ? "tunnel " : "peer ")
                + "\(key.resource) runs otherwise than configured: \(finding.meaning)")
        symptom.details = [
            "interface": .string(key.interface),
            "file": .string(NodeNetwork.path(key.interface)),
        ]
        if !key.peer.isEmpty { symptom.details["peer"] = .string(key.peer) }
        symptom.details.append(finding.details, except: ["interface", "peer", "file"])
        return symptom
    }

    // MARK: Heartbeats

    static func metadata(
        _ looks: [InterfaceLook], _ verdicts: [EchoBook.Key: PeerVerdict], omitted: Int,
        at now: Timestamp
    ) -> JSON.Object {
        var metadata: JSON.Object = [
            "interfaces": .array(looks.prefix(interfaceLimit).map(interface))
        ]
        metadata["obstacle"] = obstacle(looks).map(JSON.string)
        if omitted > 0 { metadata["alerts_omitted"] = .integer(Int64(omitted)) }
        if looks.count > interfaceLimit {
            metadata["interfaces_omitted"] = .integer(Int64(looks.count - interfaceLimit))
        }
        var peers: [(rank: Int, entry: JSON)] = []
        var count = 0
        for look in looks {
            count += look.device?.peers.count ?? 0
            for (key, facts) in look.peers {
                let verdict = verdicts[key] ?? PeerVerdict(.unknown("not judged"))
                peers.append((rank(verdict), .object(peer(key, facts, verdict, at: now))))
            }
        }
        let ordered = peers.enumerated().sorted {
            ($0.element.rank, $0.offset) < ($1.element.rank, $1.offset)
        }
        let listed = ordered.prefix(peerLimit).map(\.element.entry)
        metadata["peers"] = .array(listed)
        if count > listed.count {
            metadata["peers_omitted"] = .integer(Int64(count - listed.count))
        }
        return metadata
    }

    /// Why nothing can be known or done of tunnels that this process may not read; `nil`: it may.
    private static func obstacle(_ looks: [InterfaceLook]) -> String? {
        let denied = looks.filter(\.isDenied)
        guard let first = denied.first else { return nil }
        let names = denied.prefix(exampleLimit).map(\.name).joined(separator: ", ")
        let others = denied.count > exampleLimit ? ", \(denied.count - exampleLimit) more" : ""
        return "this agent may not read \(names)\(others), so that nothing is known of the peers "
            + "and nothing can be mended: \(first.failure ?? ""); it needs to be root, with the "
            + "capability NET_ADMIN"
    }

    private static func rank(_ verdict: PeerVerdict) -> Int {
        switch verdict.state {
        case .faulty: 0
        case .unknown: 1
        case .healthy, .away: 2
        }
    }

    private static func interface(_ look: InterfaceLook) -> JSON {
        let isVanished = look.link == nil && look.failure == nil
        let isUnknown = look.link == nil || look.device == nil
        let state =
            isVanished ? "gone" : look.link?.isUp == false ? "down" : isUnknown ? "unknown" : "up"
        var entry: JSON.Object = ["name": .string(look.name), "state": .string(state)]
        if let device = look.device {
            entry["peers"] = .integer(Int64(device.peers.count))
            let others = device.peers.count - look.peers.count
            if others > 0 { entry["peers_not_judged"] = .integer(Int64(others)) }
            entry["listen_port"] = .integer(Int64(device.listenPort))
        }
        entry["reason"] = (look.failure ?? look.mishap).map(JSON.string)
        return .object(entry)
    }

    private static func peer(
        _ key: EchoBook.Key, _ facts: PeerFacts, _ verdict: PeerVerdict, at now: Timestamp
    ) -> JSON.Object {
        var entry: JSON.Object = ["interface": .string(key.interface), "peer": .string(key.peer)]
        switch verdict.state {
        case .healthy: entry["state"] = "healthy"
        case .away: entry["state"] = "away"
        case .unknown(let reason):
            entry["state"] = "unknown"
            entry["reason"] = .string(reason)
        case .faulty(let fault): entry["state"] = .string(fault.rawValue)
        }
        entry["endpoint"] = facts.endpoint.map(JSON.string)
        if facts.handshake > 0 {
            let age = now - Timestamp(seconds: facts.handshake)
            entry["handshake_age_s"] = .integer(age.components.seconds)
        }
        entry["received"] = .integer(Int64(clamping: facts.received))
        entry["sent"] = .integer(Int64(clamping: facts.sent))
        if facts.echo.lost == 0 { entry["echo_ms"] = facts.echo.milliseconds.map(JSON.number) }
        return entry
    }
}
