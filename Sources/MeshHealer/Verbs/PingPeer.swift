import Antibody
import Platform
import Protocol

/// The action `ping_peer`: echoes through the tunnel, which also wake a tunnel that has gone idle.
struct PingPeer: Verb {
    let name = "ping_peer"
    let isReversible = false
    let family = "mesh_ping"
    let toolkit: MeshToolkit
    /// Echoes in one call.
    static let count = 5
    /// As many rounds without any answer are enough.
    static let silentLimit = 2
    /// How long each may take; a handshake that has to be made first takes its time. Others wait meanwhile.
    static let limit: Duration = .milliseconds(1500)

    var summary: String {
        "send echoes through a tunnel and count the answers; parameter resource: an interface, or an "
            + "interface, a slash and a peer's public key"
    }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let subject = try toolkit.subject(call.parameters)
        let (_, peers) = try select(subject)
        let plan: JSON.Object = [
            "resource": call.parameters["resource"] ?? .null,
            "peers": .integer(Int64(peers.count)),
        ]
        return VerbPlan(undo: plan, effect: plan)
    }

    private func select(
        _ subject: MeshToolkit.Subject
    ) throws(VerbFailure) -> (NetworkLink, [WireGuardPeer]) {
        guard let link = try toolkit.link(subject.interface) else {
            throw MeshToolkit.permanent("\(subject.interface) is not there")
        }
        guard link.isUp else { throw MeshToolkit.permanent("\(link.name) is switched off") }
        let device = try toolkit.device(link)
        let peers = device.peers.filter { subject.peer == nil || $0.publicKey == subject.peer }
        guard !peers.isEmpty else {
            throw MeshToolkit.permanent("\(subject.interface) has no such peer")
        }
        guard peers.contains(where: { EchoChoice.address($0) != nil }) else {
            throw MeshToolkit.permanent("no echo can be made: the allowed IPs name no host")
        }
        return (link, Array(peers.prefix(EchoProbe.targetLimit)))
    }

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let subject = try toolkit.subject(plan.undo)
        let (link, peers) = try select(subject)
        var answers: [String: Int64] = [:]
        var sent = 0
        var fastest: [String: Double] = [:]
        for round in 0..<Self.count {
            // What is silent this long will not speak: others wait for their turn.
            if round >= Self.silentLimit, answers.values.allSatisfy({ $0 == 0 }) { break }
            sent += 1
            let outcomes = toolkit.echo(peers, link.name, limit: Self.limit)
            try MeshToolkit.checkAsked(outcomes)
            for (peer, outcome) in outcomes {
                guard case .answered(let time) = outcome else {
                    answers[peer] = answers[peer] ?? 0
                    continue
                }
                answers[peer, default: 0] += 1
                let milliseconds = (time.inSeconds * 1e6).rounded() / 1e3
                fastest[peer] = min(fastest[peer] ?? milliseconds, milliseconds)
            }
        }
        let alive = answers.values.count { $0 > 0 }
        guard alive > 0 else {
            throw MeshToolkit.transient(
                "none of \(sent) echoes through \(link.name) was answered")
        }
        let entries = answers.sorted { $0.key < $1.key }.prefix(64).map { peer, count -> JSON in
            var entry: JSON.Object = [
                "peer": .string(peer), "sent": .integer(Int64(sent)),
                "answered": .integer(count),
            ]
            entry["fastest_ms"] = fastest[peer].map(JSON.number)
            return .object(entry)
        }
        return [
            "peers": .array(entries), "answering": .integer(Int64(alive)),
            "silent": .integer(Int64(answers.count - alive)),
        ]
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        [:]
    }
}
