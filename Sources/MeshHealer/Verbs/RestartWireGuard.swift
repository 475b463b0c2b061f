import Antibody
import Glibc
import Platform
import Protocol
import Runtime
import Settings

/// The action `restart_wireguard`: brings a tunnel or one of its peers back, by the gentlest step that
/// does it. As `resolve_endpoint` it takes the one step that its name says.
///
/// Steps that disturb other peers are left out while one of those is alive, and steps that cut the
/// tunnel while NATS is reached through it. What was left out, and why, is part of the result.
struct RestartWireGuard: Verb {
    var name = "restart_wireguard"
    let isReversible = false
    let family = "mesh_restart"
    let toolkit: MeshToolkit
    /// The steps it may take.
    var allowed = Step.allCases
    /// How long an interface may take to be made; what its file runs afterwards may take longer.
    var startTime: Duration = .seconds(20)

    init(toolkit: MeshToolkit) { self.toolkit = toolkit }

    /// The action `resolve_endpoint`: the endpoint that the file says, its name resolved anew.
    static func resolveEndpoint(_ toolkit: MeshToolkit) -> RestartWireGuard {
        var verb = RestartWireGuard(toolkit: toolkit)
        verb.name = "resolve_endpoint"
        verb.allowed = [.endpoint]
        return verb
    }

    /// From the gentlest to the hardest.
    enum Step: String, CaseIterable {
        case linkUp = "link_up"
        case routes, endpoint, syncconf
        case linkCycle = "link_down_up"
        case start = "wg_quick_up"
        case unit = "systemd_unit"
    }

    /// How long a step may take to show its effect: WireGuard tries to shake hands every five seconds.
    /// Longer in tests.
    var stepTime: Duration = .seconds(6)
    /// All steps together; then the agent would report an unknown outcome.
    static let totalTime: Duration = .seconds(26)
    /// Peers that are waited for at most.
    static let peerLimit = 64

    var summary: String {
        let resource =
            "parameter resource: an interface, or an interface, a slash and a peer's public key"
        return allowed == [.endpoint]
            ? "give peers that do not answer the endpoint of their file, its name resolved anew; \(resource)"
            : "bring a tunnel, or one peer of it, back by the gentlest step that does it; \(resource)"
    }

    // MARK: Planning

    /// What is to be done.
    private struct Intent {
        var steps: [Step] = []
        /// Steps that are left out, and why.
        var skipped = JSON.Object()
        /// The peers that are to come back by it.
        var ill: [String] = []
        /// Whether something runs otherwise than the file says.
        var isDifferent = false
        /// Why nothing is to be done; `nil`: something is.
        var peace: String?

        mutating func skip(_ step: Step, _ reason: String) {
            skipped[step.rawValue] = .string(reason)
        }

        mutating func add(_ step: Step, unless reason: String?) {
            if let reason { skip(step, reason) } else { steps.append(step) }
        }
    }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let subject = try toolkit.subject(call.parameters)
        try toolkit.checkRights(subject.interface)
        try toolkit.checkFinished(subject.interface)
        var intent = try intent(subject)
        if let peace = intent.peace {
            let effect: JSON.Object = [
                "resource": call.parameters["resource"] ?? .null, "steps": [],
                "state": .string(peace),
            ]
            return VerbPlan(undo: effect, effect: effect)
        }
        intent.steps.removeAll { !allowed.contains($0) }
        guard !intent.steps.isEmpty else {
            let reasons = intent.skipped.members.filter { member in
                Step(rawValue: member.name).map(allowed.contains) == true
            }.map { "\($0.name): \($0.value.string ?? "")" }
            throw MeshToolkit.permanent(
                reasons.isEmpty
                    ? "nothing is to be done for \(subject.interface) that \(name) does"
                    : "nothing can be done for \(subject.interface): "
                        + reasons.joined(separator: "; "))
        }
        let effect: JSON.Object = [
            "resource": call.parameters["resource"] ?? .null,
            "steps": .array(intent.steps.map { .string($0.rawValue) }),
            "left_out": .object(intent.skipped),
        ]
        var undo = effect
        undo["peers"] = .array(intent.ill.prefix(Self.peerLimit).map(JSON.string))
        undo["different"] = .bool(intent.isDifferent)
        if intent.steps.contains(.linkCycle) {
            let snapshot = try WireGuardRepair(toolkit: toolkit).snapshot(subject.interface)
            undo["link"] = snapshot.json
        }
        return VerbPlan(undo: undo, effect: effect)
    }

    /// What can be done, and who is to come back by it.
    private func intent(_ subject: MeshToolkit.Subject) throws(VerbFailure) -> Intent {
        guard let link = try toolkit.link(subject.interface) else { return gone(subject) }
        let device = try toolkit.device(link)
        var intent = Intent()
        let isMissing = subject.peer.map { peer in
            !device.peers.contains { $0.publicKey == peer }
        }
        if !link.isUp {
            intent.steps = [.linkUp]
            intent.add(.unit, unless: unitObstacle(subject.interface))
            return intent
        }
        let difference = try WireGuardRepair(toolkit: toolkit).difference(link, subject.peer)
        intent.isDifferent = !difference.isEmpty
        if isMissing == true, let peer = subject.peer {
            // A peer that is only in the file comes back with the file.
            intent.ill = [peer]
            intent.add(.syncconf, unless: fileObstacle(subject))
            return intent
        }
        let ill = try silentPeers(device, subject.peer, difference)
        if ill.isEmpty, difference.isEmpty {
            let asksFile = allowed.contains(.syncconf)
            if let flaw = toolkit.flaw(link, device, subject.peer, asksFile: asksFile) {
                throw MeshToolkit.permanent(
                    "it answers through \(link.name), so that there is nothing to restart; but \(flaw)"
                )
            }
            intent.peace = "it answers through \(link.name): there is nothing to restart"
            return intent
        }
        // Somebody may be away all the time: what the file says of the interface is no matter of that.
        if subject.peer != nil || difference.isEmpty { intent.ill = ill.map(\.publicKey) }
        if !difference.routes.isEmpty { intent.steps.append(.routes) }
        intent.add(.endpoint, unless: endpointObstacle(ill, device))
        intent.add(.syncconf, unless: syncObstacle(subject, difference))
        // First of all it is to run as it is configured; whether that was enough is seen then.
        guard difference.isEmpty else { return intent }
        if let obstacle = cutObstacle(device, link, ill) {
            intent.skip(.linkCycle, obstacle)
            intent.skip(.unit, obstacle)
            return intent
        }
        intent.steps.append(.linkCycle)
        intent.add(.unit, unless: unitObstacle(subject.interface))
        return intent
    }

    /// The ways to make an interface anew that has gone.
    private func gone(_ subject: MeshToolkit.Subject) -> Intent {
        var intent = Intent()
        let name = subject.interface
        var file: String?
        switch toolkit.configuration(name) {
        case .failure(let failure): file = failure.reason
        case .success(let conf):
            if conf.privateKey == nil, !conf.setsKey {
                file =
                    "the configuration file holds no valid private key, nor a PostUp that sets one"
            }
        }
        guard Systemd.isRunning(toolkit.root) else {
            intent.skip(.unit, "systemd does not run here")
            intent.add(.start, unless: file ?? WireGuardQuick.obstacle)
            return intent
        }
        let unit = "wg-quick@\(name).service"
        // What the agent started would end with the agent's own unit.
        intent.skip(.start, "systemd runs here, so that it is for \(unit)")
        let obstacle = unitObstacle(name)
        let canStart = file == nil && Systemd.exists(unit)
        intent.add(.unit, unless: canStart ? nil : obstacle.map { file ?? $0 })
        return intent
    }

    /// The peers that do not answer, of those that are meant.
    private func silentPeers(
        _ device: WireGuardDevice, _ peer: String?, _ difference: WireGuardRepair.Difference
    ) throws(VerbFailure) -> [WireGuardPeer] {
        let meant = device.peers.filter { peer == nil || $0.publicKey == peer }
        let answers = toolkit.echo(meant, device.name, limit: .seconds(1))
        try MeshToolkit.checkAsked(answers)
        let now = SteadyClock.wallTime()
        let silent = meant.filter { one in
            guard let answer = answers[one.publicKey] else { return peer != nil }
            // Of all peers, those that shake hands are well, though they may not answer an echo.
            return !answer.isAnswer && (peer != nil || !one.isAlive(at: now))
                && !toolkit.isHeard(one, device.name, at: now)
        }
        guard difference.isEmpty else { return silent }
        guard !meant.isEmpty else {
            throw MeshToolkit.permanent(
                "\(device.name) is up and has no peers: there is nothing to restart")
        }
        if silent.isEmpty { return [] }
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
        case .success(let conf) where conf.isSaved: Self.savedObstacle
        case .success(let conf):
            WireGuardRepair.newEndpoints(peers, conf).isEmpty
                ? "the endpoints are where the configuration says, or it names none" : nil
        }
    }

    private static let savedObstacle =
        "the configuration file is written from what runs (SaveConfig), and not followed"

    /// Why the file cannot be followed; `nil`: it can.
    private func syncObstacle(
        _ subject: MeshToolkit.Subject, _ difference: WireGuardRepair.Difference
    ) -> String? {
        if let obstacle = fileObstacle(subject) { return obstacle }
        // Single peers and the port need no key.
        guard subject.peer == nil, difference.isEmpty,
            case .success(let conf) = toolkit.configuration(subject.interface)
        else { return nil }
        return WireGuardRepair(toolkit: toolkit).syncObstacle(subject.interface, conf)
    }

    private func fileObstacle(_ subject: MeshToolkit.Subject) -> String? {
        switch toolkit.configuration(subject.interface) {
        case .failure(let failure): failure.reason
        case .success(let conf) where conf.isSaved: Self.savedObstacle
        case .success(let conf):
            subject.peer.map { conf.peerPart($0).isEmpty } == true
                ? "the configuration file does not name the peer, and a peer is never taken out"
                : nil
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
        let now = SteadyClock.wallTime()
        let others = device.peers.filter { !sick.contains($0.publicKey) }
        let answers = toolkit.echo(others, device.name, limit: .seconds(1))
        let alive = others.count { peer in
            answers[peer.publicKey]?.isAnswer == true || peer.isAlive(at: now)
        }
        guard alive == 0 else {
            return "\(alive) other peer\(alive == 1 ? " is" : "s are") alive on \(device.name)"
        }
        // Its session may still carry what an echo does not show.
        return ill.contains { $0.isAlive(at: now) }
            ? "the session is younger than \(PeerJudge.deadAge.components.seconds) s" : nil
    }

    private func unitObstacle(_ name: String) -> String? {
        guard Systemd.isRunning(toolkit.root) else { return "systemd does not run here" }
        let unit = "wg-quick@\(name).service"
        let isUsed = Systemd.isActive(unit) == true || Systemd.hasFailed(unit)
        return isUsed ? nil : "\(unit) is not in use"
    }

    // MARK: Executing

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        if let peace = plan.undo["state"] { return ["steps": [], "state": peace] }
        let subject = try toolkit.subject(plan.undo)
        let steps = (plan.undo["steps"]?.array ?? []).compactMap { $0.string }
            .compactMap(Step.init)
        let ill = Set((plan.undo["peers"]?.array ?? []).compactMap(\.string))
        let end = SteadyClock.sinceBoot() + Self.totalTime
        var done: [JSON] = []
        func result() -> JSON.Object {
            ["steps": .array(done), "left_out": plan.undo["left_out"] ?? .object([:])]
        }
        for step in steps {
            let left = end - SteadyClock.sinceBoot()
            guard left > .seconds(1) else { break }
            // Right before, once more.
            try toolkit.checkFinished(subject.interface)
            let startedAt = SteadyClock.wallTime()
            var entry: JSON.Object = ["step": .string(step.rawValue)]
            do throws(VerbFailure) {
                entry["note"] = try take(step, subject, ill, left).map(JSON.string)
                let rest = end - SteadyClock.sinceBoot()
                let isBack = try wait(
                    subject, step, ill, since: startedAt, atMost: min(stepTime, rest))
                entry["outcome"] = isBack ? "it is back" : "no effect"
                done.append(.object(entry))
                if isBack { return result() }
            } catch {
                entry["outcome"] = .string(error.reason)
                done.append(.object(entry))
            }
        }
        if plan.undo["different"]?.bool == true, try isAsConfigured(subject) {
            done.append(.object(["outcome": "it runs as configured, and does not answer yet"]))
            return result()
        }
        let story = done.compactMap(\.object).map {
            "\($0["step"]?.string ?? ""): \($0["outcome"]?.string ?? "")"
        }
        let leftOut = plan.undo["left_out"]?.object?.members.map {
            "\($0.name) was left out: \($0.value.string ?? "")"
        }
        throw MeshToolkit.permanent((story + (leftOut ?? [])).joined(separator: "; "))
    }

    private func isAsConfigured(_ subject: MeshToolkit.Subject) throws(VerbFailure) -> Bool {
        guard let link = try toolkit.link(subject.interface) else { return false }
        return try WireGuardRepair(toolkit: toolkit).difference(link, subject.peer).isEmpty
    }

    /// Whether a tunnel that is switched on is one: it says how it is, has peers where its file names some,
    /// and nobody is about to take it away.
    private func isComplete(_ link: NetworkLink, _ step: Step) -> Bool {
        if step == .linkUp, toolkit.network.quickRuns().contains(link.name) { return false }
        guard let device = try? toolkit.network.device(link) else { return false }
        guard device.peers.isEmpty, case .success(let conf) = toolkit.configuration(link.name)
        else { return true }
        return conf.peers.isEmpty || conf.isSaved
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
                let isWhole = [.linkUp, .start, .unit].contains(step)
                if subject.peer == nil, isWhole {
                    if isComplete(link, step) { return true }
                    usleep(200_000)
                    continue
                }
                let peers = try toolkit.device(link).peers.filter { ill.contains($0.publicKey) }
                if try isAsConfigured(subject) || isWhole {
                    if ill.isEmpty { return true }
                    if peers.contains(where: { $0.handshake > since.seconds }) { return true }
                    let answers = toolkit.echo(peers, link.name, limit: .seconds(1))
                    if answers.values.contains(where: \.isAnswer) { return true }
                }
            }
            usleep(200_000)
        } while SteadyClock.sinceBoot() < end
        return false
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        guard let name = try? toolkit.subject(undo).interface,
            let snapshot = LinkSnapshot(undo["link"])
        else { return [:] }
        try WireGuardRepair(toolkit: toolkit).recover(name, snapshot)
        return [:]
    }
}
