import Antibody
import MeshHealer
import Operator
import Platform
import Protocol
import Runtime
import Settings

/// What the mesh healer sees of the node, for `skos doctor`.
extension Inspection {
    static func mesh(_ config: Config) async -> [Finding] {
        let module = MeshModule(hostRoot: HostRoot(config.hostRoot), config: config)
        let sample = await module.inspect(at: SteadyClock.wallTime())
        if let failure = sample.metadata["mesh_failure"]?.string {
            return [
                Finding(
                    "tunnels", .fail, failure,
                    remedy: "in a container, use the host's network and give it NET_ADMIN")
            ]
        }
        let interfaces = (sample.metadata["interfaces"]?.array ?? []).compactMap(\.object)
        guard !interfaces.isEmpty else {
            let patterns = config.mesh.interfaces.joined(separator: ", ")
            return [Finding("tunnels", .ok, "no WireGuard interface matches \(patterns)")]
        }
        let peers = (sample.metadata["peers"]?.array ?? []).compactMap(\.object)
        var findings = interfaces.map(interface) + peers.map(peer)
        if let omitted = sample.metadata["peers_omitted"]?.integer {
            findings.append(Finding("peer", .ok, "and \(omitted) more"))
        }
        return findings
    }

    private static func interface(_ entry: JSON.Object) -> Finding {
        let (name, state) = (entry["name"]?.string ?? "", entry["state"]?.string ?? "")
        let reason = entry["reason"]?.string.map { ": \($0)" } ?? ""
        guard state == "up" else {
            let isOff = state == "down"
            return Finding(
                "tunnel", .fail, "\(name) is \(state)\(reason)",
                remedy: isOff
                    ? "ip link set \(name) up, or let restart_wireguard do it"
                    : "run as root, or with CAP_NET_ADMIN; kernel WireGuard is read with `wg`")
        }
        let peers = entry["peers"]?.integer ?? 0
        return Finding("tunnel", .ok, "\(name) is up, with \(peers) peer\(peers == 1 ? "" : "s")")
    }

    private static func peer(_ entry: JSON.Object) -> Finding {
        let name = "\(entry["interface"]?.string ?? "")/\(entry["peer"]?.string ?? "")"
        if let milliseconds = entry["echo_ms"]?.double {
            return Finding("peer", .ok, "\(name) answers in \(Text.number(milliseconds)) ms")
        }
        let reason = entry["reason"]?.string.map { ": \($0)" } ?? ""
        let age = entry["handshake_age_s"]?.integer.map { ", handshake \($0) s ago" } ?? ""
        let state = entry["state"]?.string ?? "unknown"
        let isFine = state == "healthy" || state == "away"
        return Finding("peer", isFine ? .ok : .warn, "\(name) is \(state)\(reason)\(age)")
    }
}
