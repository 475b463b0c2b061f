import Antibody
import Glibc
import Platform
import Protocol
import Runtime
import Settings

/// The action `restart_wireguard`: brings a tunnel or one of its peers back, by the gentlest step that
/// does it.
///
/// Steps that disturb other peers are left out while one of those is alive, and steps that cut the
/// tunnel while NATS is reached through it. What was left out, and why, is part of the result.
struct RestartWireGuard: Verb {
    let name = "restart_wireguard"
    let isReversible = false
    let family = "mesh_restart"
    let toolkit: MeshToolkit

    /// From the gentlest to the hardest.
    enum Step: String, CaseIterable {
        case linkUp = "link_up"
        case endpoint, syncconf
        case linkCycle = "link_down_up"
        case unit = "systemd_unit"
    }

    /// How long a step may take to show its effect: WireGuard tries to shake hands every five seconds.
    static let stepTime: Duration = .seconds(6)
    /// All steps together; then the agent would report an unknown outcome.
    static let totalTime: Duration = .seconds(26)
    /// Peers that are waited for at most.
    static let peerLimit = 64

    var summary: String {
        "bring a tunnel, or one peer of it, back by the gentlest step that does it; parameter resource: "
            + "an interface, or an interface, a slash and a peer's public key"
    }

    // MARK: Planning

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let subject = try toolkit.subject(call.parameters)
        try toolkit.checkRights(subject.interface)
        var skipped = JSON.Object()
        var ill = subject.peer.map { [$0] } ?? []
        let steps = try steps(subject, &ill, &skipped)
        guard !steps.isEmpty else {
            let reasons = skipped.members.map { "\($0.name): \($0.value.string ?? "")" }
            throw MeshToolkit.permanent(
                "nothing can be done for \(subject.interface): "
                    + reasons.joined(separator: "; "))
        }
        let effect: JSON.Object = [
            "resource": call.parameters["resource"] ?? .null,
            "steps": .array(steps.map { .string($0.rawValue) }), "left_out": .object(skipped),
        ]
        var undo = effect
        undo["peers"] = .array(ill.prefix(Self.peerLimit).map(JSON.string))
        return VerbPlan(undo: undo, effect: effect)
    }

    /// What can be done, and who is to come back by it.
    private func steps(
        _ subject: MeshToolkit.Subject, _ silent: inout [String], _ skipped: inout JSON.Object
    ) throws(VerbFailure) -> [Step] {
        let unit = unitObstacle(subject.interface)
        guard let link = try toolkit.link(subject.interface) else {
            if let unit { skipped[Step.unit.rawValue] = .string(unit) }
            return unit == nil ? [.unit] : []
        }
        let device = try toolkit.device(link)
        if let peer = subject.peer, !device.peers.contains(where: { $0.publicKey == peer }) {
            // A peer that is only in the file comes back with the file.
            if let obstacle = syncObstacle(device) {
                skipped[Step.syncconf.rawValue] = .string(obstacle)
                return []
            }
            return [.syncconf]
        }
        guard link.isUp else {
            if let unit { skipped[Step.unit.rawValue] = .string(unit) }
            return unit == nil ? [.linkUp, .unit] : [.linkUp]
        }
        let ill = try silentPeers(device, subject.peer)
        silent = ill.map(\.publicKey)
        var steps: [Step] = []
        if let obstacle = endpointObstacle(ill, device) {
            skipped[Step.endpoint.rawValue] = .string(obstacle)
        } else {
            steps.append(.endpoint)
        }
        if let obstacle = syncObstacle(device) {
            skipped[Step.syncconf.rawValue] = .string(obstacle)
        } else {
            steps.append(.syncconf)
        }
        if let obstacle = cutObstacle(device, link, ill) {
            skipped[Step.linkCycle.rawValue] = .string(obstacle)
            skipped[Step.unit.rawValue] = .string(obstacle)
            return steps
        }
        steps.append(.linkCycle)
        if let unit { skipped[Step.unit.rawValue] = .string(unit) } else { steps.append(.unit) }
        return steps
    }

    /// The peers that do not answer, of those that are meant.
    private func silentPeers(
        _ device: WireGuardDevice, _ peer: String?
    ) throws(VerbFailure) -> [WireGuardPeer] {
        let meant = device.peers.filter { peer == nil || $0.publicKey == peer }
        let answers = toolkit.echo(meant, device.name, limit: .seconds(1))
        let silent = meant.filter { answers[$0.publicKey]?.isAnswer != true }
        guard !silent.isEmpty else {
            throw MeshToolkit.permanent(
                meant.isEmpty
                    ? "\(device.name) is up and has no peers: there is nothing to restart"
                    : "it answers through \(device.name): there is nothing to restart")
        }
        // Without a way to their endpoints the tunnel is not what is broken.
        let isCutOff = silent.allSatisfy { peer in
            guard let address = peer.endpointAddress,
                case .nowhere? = toolkit.network.way(to: address, mark: device.mark)
            else { return false }
            return true
        }
        guard !isCutOff else {
            throw MeshToolkit.permanent(
                "this node has no way to the endpoint: a restart of \(device.name) does not help")
        }
        return silent
    }

    private func endpointObstacle(
        _ peers: [WireGuardPeer], _ device: WireGuardDevice
    ) -> String? {
        switch toolkit.configuration(device.name) {
        case .failure(let failure): failure.reason
        case .success(let conf):
            WireGuardRepair.newEndpoints(peers, conf).isEmpty
                ? "the endpoints are where the configuration says, or it names none" : nil
        }
    }

    private func syncObstacle(_ device: WireGuardDevice) -> String? {
        switch toolkit.configuration(device.name) {
        case .failure(let failure): failure.reason
        case .success(let conf): WireGuardRepair(toolkit: toolkit).syncObstacle(device.name, conf)
        }
    }

    /// Why the interface must not be taken down; `nil`: it may.
    private func cutObstacle(
        _ device: WireGuardDevice, _ link: NetworkLink, _ ill: [WireGuardPeer]
    ) -> String? {
        let urls = toolkit.config.nats.urls
        if let obstacle = CommandPath(network: toolkit.network).obstacle(device, link, urls: urls) {
            return "\(obstacle): it would cut the way this command came"
        }
        let sick = Set(ill.map(\.publicKey))
        let others = device.peers.filter { !sick.contains($0.publicKey) }
        let now = SteadyClock.wallTime()
        let answers = toolkit.echo(others, device.name, limit: .seconds(1))
        let alive = others.count { peer in
            answers[peer.publicKey]?.isAnswer == true
                || peer.handshake > 0
                    && now - Timestamp(seconds: peer.handshake) < PeerJudge.deadAge
        }
        guard alive > 0 else { return nil }
        return "\(alive) other peer\(alive == 1 ? " is" : "s are") alive on \(device.name)"
    }

    private func unitObstacle(_ name: String) -> String? {
        guard Systemd.isRunning(toolkit.root) else { return "systemd does not run here" }
        let unit = "wg-quick@\(name).service"
        return Systemd.isActive(unit) || Systemd.hasFailed(unit) ? nil : "\(unit) is not in use"
    }

    // MARK: Executing

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let subject = try toolkit.subject(plan.undo)
        let steps = (plan.undo["steps"]?.array ?? []).compactMap { $0.string }
            .compactMap(Step.init)
        let ill = Set((plan.undo["peers"]?.array ?? []).compactMap(\.string))
        let end = SteadyClock.sinceBoot() + Self.totalTime
        var done: [JSON] = []
        for step in steps {
            let left = end - SteadyClock.sinceBoot()
            guard left > .seconds(1) else { break }
            let startedAt = SteadyClock.wallTime()
            var entry: JSON.Object = ["step": .string(step.rawValue)]
            do throws(VerbFailure) {
                try take(step, subject, left)
                let isBack = try wait(
                    subject, step, ill, since: startedAt, atMost: min(Self.stepTime, left))
                entry["outcome"] = isBack ? "it is back" : "no effect"
                done.append(.object(entry))
                if isBack {
                    return [
                        "steps": .array(done), "left_out": plan.undo["left_out"] ?? .object([:]),
                    ]
                }
            } catch {
                entry["outcome"] = .string(error.reason)
                done.append(.object(entry))
            }
        }
        let story = done.compactMap(\.object).map {
            "\($0["step"]?.string ?? ""): \($0["outcome"]?.string ?? "")"
        }
        let leftOut = plan.undo["left_out"]?.object?.members.map {
            "\($0.name) was left out: \($0.value.string ?? "")"
        }
        throw MeshToolkit.permanent((story + (leftOut ?? [])).joined(separator: "; "))
    }

    private func take(
        _ step: Step, _ subject: MeshToolkit.Subject, _ left: Duration
    ) throws(VerbFailure) {
        let repair = WireGuardRepair(toolkit: toolkit)
        let name = subject.interface
        switch step {
        case .linkUp: try repair.switchOn(name)
        case .endpoint: try repair.setEndpoints(name, subject.peer)
        case .syncconf: try repair.synchronize(name)
        case .linkCycle: try repair.cycle(name)
        case .unit:
            let unit = "wg-quick@\(name).service"
            if let reason = Systemd.restart(unit, timeLimit: min(left, .seconds(10))) {
                throw MeshToolkit.transient("\(unit): \(reason)")
            }
        }
    }

    /// Waits until the tunnel, or the peer, is back.
    private func wait(
        _ subject: MeshToolkit.Subject, _ step: Step, _ ill: Set<String>, since: Timestamp,
        atMost limit: Duration
    ) throws(VerbFailure) -> Bool {
        let end = SteadyClock.sinceBoot() + limit
        repeat {
            if let link = try toolkit.link(subject.interface), link.isUp {
                // What an interface alone was down for; its peers have alerts of their own.
                if subject.peer == nil, step == .linkUp || step == .unit { return true }
                let peers = try toolkit.device(link).peers.filter { ill.contains($0.publicKey) }
                if peers.contains(where: { $0.handshake > since.seconds }) { return true }
                let answers = toolkit.echo(peers, link.name, limit: .seconds(1))
                if answers.values.contains(where: \.isAnswer) { return true }
            }
            usleep(200_000)
        } while SteadyClock.sinceBoot() < end
        return false
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        [:]
    }
}
