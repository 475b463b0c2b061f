package import Protocol

/// What a configuration file says of one peer. Its keys that are secret are not read.
package struct ConfiguredPeer: Sendable, Equatable {
    package var publicKey: String
    /// As written, perhaps with a name.
    package var endpoint: String?
    /// In order, as `10.88.0.2/32`.
    package var allowedIPs: [String] = []

    package init(publicKey: String) { self.publicKey = publicKey }
}

/// Compares what runs with what is written, peer by peer. Pure.
package enum Drift {
    /// One difference.
    package struct Finding: Sendable, Equatable {
        /// Empty: it is about the interface itself.
        package var peer: String
        /// `missing`, `unknown`, `allowed_ips`, `routes`, `listen_port`, `no_peers` or `file`.
        package var kind: String
        package var meaning: String
        package var details: JSON.Object
    }

    /// - `running`: allowed IPs by public key, as they run.
    /// - `configured`: what is written.
    package static func compare(
        running: [String: [String]], configured: [ConfiguredPeer]
    ) -> [Finding] {
        if configured.isEmpty, !running.isEmpty { return [empty] }
        var findings: [Finding] = []
        var written: [String: Set<String>] = [:]
        var owners: [String: Set<String>] = [:]
        for peer in configured {
            // Two sections for one peer are one peer.
            written[peer.publicKey, default: []].formUnion(peer.allowedIPs)
            for range in peer.allowedIPs { owners[range, default: []].insert(peer.publicKey) }
        }
        // A range that is written for several peers runs with one of them; which, is not compared.
        for peer in written.keys {
            written[peer] = written[peer]?.filter { owners[$0]?.count == 1 }
        }
        let shared = owners.filter { $0.value.count > 1 }
        for (peer, wanted) in written.sorted(by: { $0.key < $1.key }) {
            guard let actual = running[peer] else {
                findings.append(
                    Finding(
                        peer: peer, kind: "missing",
                        meaning: "it is in the configuration file and not in the interface",
                        details: ["difference": "missing"]))
                continue
            }
            let lacking = wanted.subtracting(actual).sorted()
            let surplus = Set(actual).subtracting(wanted).filter { shared[$0] == nil }.sorted()
            guard !lacking.isEmpty || !surplus.isEmpty else { continue }
            findings.append(
                Finding(
                    peer: peer, kind: "allowed_ips",
                    meaning: "its allowed IPs differ from the configuration file",
                    details: [
                        "difference": "allowed_ips", "not_running": list(lacking),
                        "not_written": list(surplus),
                    ]))
        }
        for peer in running.keys.sorted() where written[peer] == nil {
            findings.append(
                Finding(
                    peer: peer, kind: "unknown",
                    meaning: "it is in the interface and not in the configuration file",
                    details: ["difference": "unknown"]))
        }
        return findings
    }

    /// The file says nothing of any peer: one cause, whatever runs.
    private static let empty = Finding(
        peer: "", kind: "no_peers", meaning: "the configuration file names no peer",
        details: ["difference": "no_peers"])

    /// The file is of no use, and why not.
    package static func file(_ fault: String) -> Finding {
        Finding(
            peer: "", kind: "file",
            meaning: "the configuration file is of no use: \(fault)",
            details: ["difference": "file", "fault": .string(fault)])
    }

    /// Ranges of a peer that are routed into the tunnel no more.
    package static func routes(_ peer: String, _ ranges: [String]) -> Finding {
        Finding(
            peer: peer, kind: "routes",
            meaning: "routes into the tunnel that the configuration file calls for are gone",
            details: ["difference": "routes", "not_routed": list(ranges)])
    }

    /// The interface listens elsewhere; `nil`: it does not, or the file leaves it open.
    package static func port(running: Int, configured: Int?) -> Finding? {
        guard let configured, configured != 0, running != configured else { return nil }
        return Finding(
            peer: "", kind: "listen_port",
            meaning: "it listens on port \(running), and the configuration file says \(configured)",
            details: [
                "difference": "listen_port", "running": .integer(Int64(running)),
                "configured": .integer(Int64(configured)),
            ])
    }

    private static func list(_ ranges: [String]) -> JSON {
        .array(ranges.prefix(16).map(JSON.string))
    }
}
