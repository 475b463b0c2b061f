import Antibody
import Glibc
import Platform
import Protocol
import Runtime
import Settings

/// The action `regenerate_config`: writes an interface's configuration file anew, from its template or
/// from what runs, with the key that the node has already. It never makes a key.
///
/// It is a repair and has no lease: taking it back when the tunnel is well again, or when nobody renews
/// it, would break the tunnel again. The file that was there stays beside the new one, and `undo` puts it
/// back for whoever asks for that.
struct RegenerateConfig: Verb {
    let name = "regenerate_config"
    let isReversible = false
    let family = "mesh_config"
    let toolkit: MeshToolkit

    var summary: String {
        "write /etc/wireguard/IF.conf anew from IF.conf.template, or from what runs, with the node's own "
            + "key; parameter resource: an interface"
    }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let subject = try toolkit.subject(call.parameters)
        let name = subject.interface
        try toolkit.checkRights(name)
        try toolkit.checkFinished(name)
        let text = try compose(name)
        let path = NodeNetwork.path(name)
        let old = toolkit.network.configuration(name)
        var status = stat()
        guard old != nil || lstat(toolkit.root.real(path), &status) != 0 else {
            throw MeshToolkit.permanent(
                "\(toolkit.root.real(path)) is there and cannot be read: it is not written over")
        }
        if let old, old == Array(text.content.utf8) { return try peace(subject, text.source) }
        var undo: JSON.Object = ["interface": .string(name), "path": .string(path)]
        if old != nil { undo["backup"] = .string(try freeBackup(path)) }
        undo["written"] = .string(Self.mark(Array(text.content.utf8)))
        let effect: JSON.Object = [
            "path": .string(toolkit.root.real(path)), "source": .string(text.source),
            "key_source": .string(text.keySource), "backup": undo["backup"] ?? .null,
        ]
        return VerbPlan(undo: undo, effect: effect)
    }

    /// The file is as it is to be. That is no failure where everything runs as it says: perhaps the same
    /// action for another peer has just written it.
    private func peace(
        _ subject: MeshToolkit.Subject, _ source: String
    ) throws(VerbFailure) -> VerbPlan {
        let path = toolkit.root.real(NodeNetwork.path(subject.interface))
        let state = "\(path) is already what \(source) says"
        guard let link = try toolkit.link(subject.interface), link.isUp else {
            throw MeshToolkit.permanent("\(state), and \(subject.interface) is not up")
        }
        let device = try toolkit.device(link)
        let peers = device.peers.filter { subject.peer == nil || $0.publicKey == subject.peer }
        let answers = toolkit.echo(peers, link.name, limit: .seconds(1))
        try MeshToolkit.checkAsked(answers)
        let difference = try WireGuardRepair(toolkit: toolkit).difference(link, subject.peer)
        let now = SteadyClock.wallTime()
        let isSilent = peers.contains {
            answers[$0.publicKey]?.isAnswer == false && !$0.isAlive(at: now)
        }
        guard !peers.isEmpty, !isSilent, difference.isEmpty,
            toolkit.flaw(link, device, subject.peer, asksFile: true) == nil
        else {
            throw MeshToolkit.permanent("\(state): it is not what is wrong")
        }
        return VerbPlan(undo: ["state": .string(state)], effect: ["state": .string(state)])
    }

    /// A name that no backup has yet.
    private func freeBackup(_ path: String) throws(VerbFailure) -> String {
        for number in 1...999 {
            let name = "\(path).skos-\(number)"
            if access(toolkit.root.real(name), F_OK) != 0 { return name }
        }
        throw MeshToolkit.permanent(
            "there are 999 backups beside \(toolkit.root.real(path)) already; remove some")
    }

    /// A new file's content, which is secret, and where its parts come from.
    private struct Composed {
        var content: String
        var source: String
        var keySource: String
    }

    private func compose(_ name: String) throws(VerbFailure) -> Composed {
        let path = toolkit.root.real(NodeNetwork.path(name))
        let old = try? toolkit.configuration(name).get()
        let repair = WireGuardRepair(toolkit: toolkit)
        let running = repair.runningKey(name)
        guard let key = running ?? old?.privateKey else {
            let unread = unread(name)
            guard unread.isEmpty else {
                throw MeshToolkit.permanent(
                    "whether \(name) has a key could not be read, and a new one is never made: "
                        + unread.joined(separator: "; "))
            }
            throw MeshToolkit.permanent(
                "the node's own key is neither in the interface \(name) nor in \(path); a new one is "
                    + "never made")
        }
        let keySource = running != nil ? "the interface" : "the old file"
        let templatePath = NodeNetwork.path(name) + ".template"
        let files = HostFiles(root: toolkit.root)
        if let text = try? files.read(templatePath, limit: WireGuardConf.limit) {
            let template: WireGuardConf
            do throws(WireGuardFailure) { template = try WireGuardConf(text) } catch {
                throw MeshToolkit.permanent("\(toolkit.root.real(templatePath)): \(error.reason)")
            }
            if let foreign = template.privateKey, foreign != key {
                throw MeshToolkit.permanent(
                    "\(toolkit.root.real(templatePath)) holds a private key that is not this node's; "
                        + "take it out")
            }
            return Composed(
                content: template.with(privateKey: key), source: "the template",
                keySource: keySource)
        }
        // Some files let a program set the key.
        if old?.privateKey != nil || old?.has("postup") == true, old?.peers.isEmpty == false {
            throw MeshToolkit.permanent(
                "\(path) is in order, and there is no \(toolkit.root.real(templatePath)) to make it "
                    + "from")
        }
        return Composed(
            content: try runningText(name, old), source: "what runs", keySource: keySource)
    }

    /// Why the places that may hold the node's own key could not be read; empty: they could.
    private func unread(_ name: String) -> [String] {
        var reasons: [String] = []
        if let link = try? toolkit.link(name), toolkit.network.isWireGuard(link) {
            do throws(WireGuardFailure) { _ = try toolkit.network.device(link) } catch {
                reasons.append(error.reason)
            }
        }
        do throws(FileFailure) {
            let path = NodeNetwork.path(name)
            _ = try HostFiles(root: toolkit.root).read(path, limit: WireGuardConf.limit)
        } catch { if error.errno != ENOENT { reasons.append("\(error)") } }
        return reasons
    }

    /// What runs, as a file, with those lines of the old one that are for `wg-quick`.
    private func runningText(_ name: String, _ old: WireGuardConf?) throws(VerbFailure) -> String {
        do throws(WireGuardFailure) {
            guard let link = try? toolkit.link(name), toolkit.network.isWireGuard(link) else {
                throw WireGuardFailure("\(name) is not there, for a file to be made of what runs")
            }
            let text = try toolkit.tool.run(["showconf", name])
            let conf = try WireGuardConf(text)
            guard conf.privateKey != nil, !conf.peers.isEmpty else {
                throw WireGuardFailure("\(name) has no key or no peers to make a file from")
            }
            var lines = old?.quickLines ?? []
            if !lines.contains(where: { $0.lowercased().hasPrefix("address") }) {
                let addresses = (try? NetworkAddresses.all(link.index)) ?? []
                lines += addresses.map { "Address = \($0)" }
            }
            return conf.adding(lines)
        } catch { throw MeshToolkit.permanent(error.reason) }
    }

    /// By which a file is known again, without anything that is secret.
    private static func mark(_ bytes: [UInt8]) -> String {
        let text = (try? WireGuardConf(bytes))?.withoutSecrets ?? ""
        return LoadedConfig.fingerprint(of: Array(text.utf8))
    }

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        if let state = plan.undo["state"] { return ["state": state] }
        guard let name = plan.undo["interface"]?.string, let path = plan.undo["path"]?.string else {
            throw MeshToolkit.permanent("the plan names no interface")
        }
        let text = try compose(name)
        let real = toolkit.root.real(path)
        guard Self.mark(Array(text.content.utf8)) == plan.undo["written"]?.string else {
            throw MeshToolkit.transient("\(name) has changed since this was planned")
        }
        let old = toolkit.network.configuration(name)
        do throws(FileFailure) {
            if let backup = plan.undo["backup"]?.string, let old {
                try SecretFile.replace(toolkit.root.real(backup), old)
            }
            try SecretFile.replace(real, Array(text.content.utf8))
        } catch { throw MeshToolkit.transient("\(error)") }
        guard toolkit.network.configuration(name) == Array(text.content.utf8) else {
            throw MeshToolkit.transient("\(real) does not read back as it was written")
        }
        var result: JSON.Object = [
            "path": .string(real), "source": .string(text.source),
            "backup": plan.undo["backup"].map {
                $0.string.map { .string(toolkit.root.real($0)) } ?? $0
            }
                ?? .null,
        ]
        result["applied"] = .string(apply(name, insteadOf: old))
        return result
    }

    /// Makes a running interface follow its new file, peer by peer: those that are written and run as
    /// before are not touched, for to be given anew costs a peer what is on its way meanwhile.
    private func apply(_ name: String, insteadOf old: [UInt8]?) -> String {
        do throws(VerbFailure) {
            guard let link = try toolkit.link(name) else { return "no: \(name) is not there" }
            let conf: WireGuardConf
            switch toolkit.configuration(name) {
            case .success(let read): conf = read
            case .failure(let failure): return "no: \(failure.reason)"
            }
            let repair = WireGuardRepair(toolkit: toolkit)
            let device = try toolkit.device(link)
            let answers = toolkit.echo(device.peers, name, limit: .seconds(1))
            let now = SteadyClock.wallTime()
            let silent = device.peers.filter { answers[$0.publicKey]?.isAnswer != true }
            let difference = try repair.difference(link, nil)
            var peers = difference.peers
            peers.formUnion(silent.filter { !$0.isAlive(at: now) }.map(\.publicKey))
            if let before = old.flatMap({ try? WireGuardConf($0) }) {
                peers.formUnion(changes(before, conf, silent))
            }
            if let port = difference.port { try repair.setPort(name, port) }
            let ill = Set(silent.map(\.publicKey))
            for peer in conf.peers.map(\.publicKey) where peers.remove(peer) != nil {
                try repair.synchronize(name, peer: peer, isIll: ill.contains(peer))
            }
            return "yes"
        } catch { return "no: \(error.reason)" }
    }

    /// The peers of whom two files say something else; an endpoint matters only to those that are silent.
    private func changes(
        _ before: WireGuardConf, _ after: WireGuardConf, _ silent: [WireGuardPeer]
    ) -> [String] {
        let endpoints = Dictionary(
            before.peers.map { ($0.publicKey, $0.endpoint) }, uniquingKeysWith: { $1 })
        return after.peers.filter { peer in
            let key = peer.publicKey
            return before.peerPart(key) != after.peerPart(key)
                || endpoints[key] != peer.endpoint && silent.contains { $0.publicKey == key }
        }.map(\.publicKey)
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        if undo["state"] != nil { return ["state": "unchanged"] }
        guard let name = undo["interface"]?.string, let path = undo["path"]?.string else {
            throw MeshToolkit.permanent("the record names no interface")
        }
        let real = toolkit.root.real(path)
        guard let current = toolkit.network.configuration(name) else {
            return ["path": .string(real), "state": "unchanged"]
        }
        // Somebody else's by now, or not written yet: what is not ours is not taken away.
        guard Self.mark(current) == undo["written"]?.string else {
            return ["path": .string(real), "state": "superseded"]
        }
        guard let backup = undo["backup"]?.string else {
            // There was no file before.
            if unlink(real) != 0, errno != ENOENT {
                throw MeshToolkit.transient("cannot remove \(real): \(errnoText(errno))")
            }
            return ["path": .string(real), "state": "removed"]
        }
        let files = HostFiles(root: toolkit.root)
        do throws(FileFailure) {
            // Without a backup nothing was written yet.
            let old: [UInt8]
            do throws(FileFailure) {
                old = try files.read(backup, limit: WireGuardConf.limit)
            } catch {
                guard error.errno == ENOENT else { throw error }
                return ["path": .string(real), "state": "unchanged"]
            }
            try SecretFile.replace(real, old)
        } catch { throw MeshToolkit.transient("\(error)") }
        return [
            "path": .string(real), "state": "restored",
            "applied": .string(apply(name, insteadOf: current)),
        ]
    }
}
