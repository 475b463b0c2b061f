import Foundation
import Testing

@Suite(
    "Broken tunnels under the whole program",
    .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"),
    .enabled(if: program != nil, "skos is not built"))
struct TunnelTests {
    @Test("a lost peer's route moves to the other way, and comes back to the letter with the peer")
    func failover() async throws {
        let fleet = try await Fleet { tunnels in
            try tunnels.connectOtherWay()
            return """
                mesh:
                  actions: {peer_unreachable: [failover_route]}
                  stay_clear: 1s
                  verify: 2s
                  lease: 20s
                local:
                  mesh:
                    routes:
                      - prefix: 10.77.0.0/24
                        peer: "\(tunnels.key("b"))"
                        via: 10.99.3.2
                        device: \(tunnels.otherCable)
                        metric: 50

                """
        }
        let tunnels = fleet.tunnels
        let space = tunnels.space("a")
        func routes() throws -> String {
            try tunnels.ip("-n", space, "route", "show", "10.77.0.0/24")
        }
        let before = try routes()
        #expect(before.contains("dev \(tunnels.tunnel("a"))"))
        let cable = tunnels.cable("a", "b")
        try tunnels.ip("-n", space, "link", "set", cable, "down")
        try await fleet.alert("peer_unreachable", tunnels.resource("b"))
        try await fleet.wait(for: "the other way") {
            try routes().contains("via 10.99.3.2 dev \(tunnels.otherCable) ")
        }
        // Longer than it may take to help: the symptom lasts, and so does the other way.
        try await fleet.wait(for: "the call for a human") {
            try fleet.audit().contains { $0["change"] as? String == "escalated" }
        }
        #expect(try routes().contains("via 10.99.3.2"))
        try tunnels.ip("-n", space, "link", "set", cable, "up")
        try await fleet.alert("peer_unreachable", tunnels.resource("b"), ["ok"])
        try await fleet.wait(for: "the old way") { try routes() == before }
        #expect(try fleet.run("audit", "verify").contains("all as they were written"))
    }

    @Test("is named and healed through NATS, and C loses nothing", arguments: Break.healed)
    func isHealed(_ fault: Break) async throws {
        let fleet = try await fleet(for: fault)
        let tunnels = fleet.tunnels
        let echoes = try Echoes(tunnels)
        try fault.harm(tunnels)
        try await isNamed(fault, fleet)
        let action = fault.action ?? ""
        let result = try await fleet.result(action, "succeeded", fault.resource(tunnels))
        if let step = fault.step {
            let text = String(describing: result)
            #expect(text.contains(step), "\(text)")
        }
        try await fleet.alert(fault.type, fault.resource(tunnels), ["ok"])
        try await fleet.change("resolved", result["incident"])
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        try fault.check(tunnels)
        // What A's own interface takes with it is nobody's healing.
        if !fault.isInterface { #expect(try echoes.lost() == []) }
        try isWell(fleet, fault)
    }

    @Test("is named, left alone, and over when it is mended over there", arguments: Break.remote)
    func isLeftAlone(_ fault: Break) async throws {
        let fleet = try await fleet(for: fault)
        let tunnels = fleet.tunnels
        let before = try state(tunnels)
        let echoes = try Echoes(tunnels)
        try fault.harm(tunnels)
        try await isNamed(fault, fleet)
        // Not the first one always: a tunnel may not have answered in time.
        let failed = try await fleet.result(
            "restart_wireguard", "failed", fault.resource(tunnels), reason: fault.reason)
        try await fleet.change("escalated", failed["incident"])
        try fault.mend(tunnels)
        try await fleet.alert(fault.type, fault.resource(tunnels), ["ok"])
        try await fleet.change("resolved", failed["incident"])
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        #expect(try echoes.lost() == [])
        #expect(try state(tunnels) == before)
        try isWell(fleet, fault)
    }

    @Test(
        "a peer that moves is found by WireGuard itself, named, and forgotten when it has settled")
    func moves() async throws {
        let fault = Break.move
        let fleet = try await fleet(for: fault)
        let echoes = try Echoes(fleet.tunnels)
        try fault.harm(fleet.tunnels)
        try await isNamed(fault, fleet)
        try await fleet.alert(fault.type, fault.resource(fleet.tunnels), ["ok"])
        #expect(try echoes.lost() == [])
        try isWell(fleet, fault)
    }

    private func fleet(for fault: Break) async throws -> Fleet {
        try await Fleet { tunnels in
            try tunnels.writeFile(tunnels.text())
            try fault.prepare(tunnels)
            return Fleet.policies(fault.ladder)
        }
    }

    private func isNamed(_ fault: Break, _ fleet: Fleet) async throws {
        let tunnels = fleet.tunnels
        let alert = try await fleet.alert(fault.type, fault.resource(tunnels))
        let details = alert["details"] as? [String: Any] ?? [:]
        if let cause = fault.cause { #expect(details["cause"] as? String == cause) }
        #expect(details["interface"] as? String == tunnels.tunnel("a"))
        if !fault.isInterface { #expect(details["peer"] as? String == tunnels.key("b")) }
    }

    /// Nothing wrong was said on the way, nothing secret, and all of it is written.
    private func isWell(_ fleet: Fleet, _ fault: Break) throws {
        let tunnels = fleet.tunnels
        let types = try fleet.alerts().filter { $0["severity"] as? String != "ok" }.map {
            (
                type: $0["type"] as? String ?? "", resource: $0["resource"] as? String ?? "",
                word: "\($0["type"] ?? ""): \($0["message"] ?? "") \($0["details"] ?? "")"
            )
        }
        #expect(!types.contains { $0.resource == tunnels.resource("c") }, "\(types)")
        let ours = [tunnels.resource("b"), tunnels.tunnel("a")]
        let allowed = [fault.type] + fault.also
        let wrong = types.filter { ours.contains($0.resource) && !allowed.contains($0.type) }
        #expect(wrong.map(\.word) == [])
        #expect(try !fleet.hasLeaked())
        #expect(try fleet.run("audit", "verify").contains("all as they were written"))
    }

    /// What A's tunnel runs, without what changes by itself.
    private func state(_ tunnels: Tunnels) throws -> String {
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        let text =
            try tunnels.exec("a", "wg", "show", tunnel, "allowed-ips")
            + tunnels.exec("a", "wg", "show", tunnel, "endpoints")
            + tunnels.exec("a", "wg", "show", tunnel, "listen-port")
            + tunnels.ip("-n", space, "route", "show", "dev", tunnel)
        // wireguard-go tells its peers in any order.
        return text.split(separator: "\n").sorted().joined(separator: "\n")
    }
}
