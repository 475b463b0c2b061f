import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Testing

@testable import MeshHealer

/// What a healer does to one must not be felt by another.
@Suite(
    "Mending beside others", .serialized,
    .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"))
struct NeighbourTests {
    private func toolkit(_ tunnels: Tunnels, _ routes: [Config.FailoverRoute] = []) -> MeshToolkit {
        MeshHealerTests.toolkit(tunnels) { $0.local.mesh.routes = routes }
    }

    private func breakB(_ tunnels: Tunnels) throws {
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "allowed-ips",
            "10.88.0.77/32")
    }

    /// The part of A's file that is about C.
    private func partOfC(_ tunnels: Tunnels) -> String {
        let text = tunnels.text()
        return String(
            text[(text.range(of: "\n[Peer]", options: .backwards)?.lowerBound ?? text.endIndex)...])
    }

    static let files: [(String, @Sendable (String, String) -> String)] = [
        ("C is not in the file", { $0.replacingOccurrences(of: $1, with: "\n") }),
        (
            "C has moved since the file was written",
            { text, _ in
                text.replacingOccurrences(of: "10.99.2.2:51820", with: "10.99.2.77:51820")
            }
        ),
        (
            "a name of the file cannot be found",
            { text, _ in
                text.replacingOccurrences(of: "10.99.2.2:51820", with: "nowhere.invalid:51820")
            }
        ),
    ]

    @Test("B is mended and C loses nothing, whatever the file says of it", arguments: 0..<3)
    func otherPeers(_ number: Int) async throws {
        let tunnels = try Tunnels()
        let change = Self.files[number].1
        try tunnels.writeFile(change(tunnels.text(), partOfC(tunnels)))
        let echoes = try Echoes(tunnels)
        try breakB(tunnels)
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.result != nil, "\(done.reason)")
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        #expect(try echoes.lost() == [], "\(Self.files[number].0)")
        let peers = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "endpoints")
        #expect(peers.contains("\(tunnels.key("c"))\t10.99.2.2:51820"))
    }

    @Test(
        "a whole file is followed without C's loss: not taken out, not moved back", arguments: 0..<3
    )
    func wholeFile(_ number: Int) async throws {
        let tunnels = try Tunnels()
        let change = Self.files[number].1
        try tunnels.directory.write(
            "\(tunnels.tunnel("a")).conf.template", change(tunnels.text(), partOfC(tunnels)))
        let echoes = try Echoes(tunnels)
        try breakB(tunnels)
        let verb = RegenerateConfig(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(done.result?["applied"] == "yes", "\(done)")
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        #expect(try echoes.lost() == [], "\(Self.files[number].0)")
        let peers = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "endpoints")
        #expect(peers.contains("\(tunnels.key("c"))\t10.99.2.2:51820"))
    }

    @Test("a range that both may carry stays with the one that carries it")
    func sharedRange() async throws {
        let tunnels = try Tunnels()
        let text = tunnels.text()
            .replacingOccurrences(of: "10.88.0.2/32", with: "10.88.0.2/32, 10.70.0.0/24")
            .replacingOccurrences(of: "10.88.0.3/32", with: "10.88.0.3/32, 10.70.0.0/24")
        try tunnels.writeFile(text)
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("c"), "allowed-ips",
            "10.88.0.3/32,10.70.0.0/24")
        try tunnels.ip(
            "-n", tunnels.space("a"), "route", "add", "10.70.0.0/24", "dev", tunnels.tunnel("a"))
        try breakB(tunnels)
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.result != nil, "\(done.reason)")
        let ranges = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "allowed-ips")
        #expect(ranges.contains("\(tunnels.key("c"))\t10.88.0.3/32 10.70.0.0/24"), "\(ranges)")
        #expect(ranges.contains("\(tunnels.key("b"))\t10.88.0.2/32\n"), "\(ranges)")
    }

    @Test("a file without any peer takes nobody out")
    func empty() async throws {
        let tunnels = try Tunnels()
        let text = tunnels.text()
        let head = text[..<(text.range(of: "\n[Peer]")?.lowerBound ?? text.endIndex)]
        try tunnels.writeFile(String(head))
        let echoes = try Echoes(tunnels)
        tunnels.stop("b")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.reason.contains("a peer is never taken out"), "\(done)")
        #expect(try echoes.lost() == [])
    }

    @Test("a peer that answers no echo but shakes hands keeps the interface from being taken down")
    func filtered() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(tunnels.text())
        for (name, address) in [("b", "10.88.0.2"), ("c", "10.88.0.3")] {
            try tunnels.exec("a", "ping", "-c", "1", "-W", "30", address)
            try tunnels.dropEchoes(name)
        }
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let whole = try await tunnels.perform(verb, tunnels.tunnel("a"))
        let state = whole.result?["state"]?.string
        #expect(state?.contains("nothing to restart") == true, "\(whole)")
        let one = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(one.reason.contains("alive"), "\(one)")
        try tunnels.exec("a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("c"), "remove")
        let alone = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(alone.reason.contains("the session is younger than 180 s"), "\(alone)")
    }

    @Test("switching on brings addresses and routes back, and takes nobody's route")
    func switchOn() async throws {
        let tunnels = try Tunnels()
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        let text = tunnels.text().replacingOccurrences(
            of: "Address = 10.88.0.1/24", with: "Address = 10.88.0.1/24, fd88::1/64")
        try tunnels.writeFile(
            text + "[Peer]\nPublicKey = \(key(5))\nAllowedIPs = 10.77.0.0/16, 10.66.0.0/16\n")
        try tunnels.ip("-n", space, "-6", "addr", "add", "fd88::1/64", "dev", tunnel, "nodad")
        try tunnels.ip("-n", space, "route", "add", "10.66.0.0/16", "via", "10.99.2.2")
        let toolkit = toolkit(tunnels)
        try tunnels.ip(
            "-n", space, "route", "add", "10.55.0.0/16", "via", "10.88.0.2", "metric", "7")
        try await inside(space) {
            let link = try toolkit.network.links().first { $0.name == tunnel }
            toolkit.remember(try #require(link))
        }
        try tunnels.ip("-n", space, "link", "set", tunnel, "down")
        let verb = RestartWireGuard(toolkit: toolkit)
        let done = try await tunnels.perform(verb, tunnel)
        #expect(done.result != nil, "\(done)")
        let routes = try tunnels.ip("-n", space, "route")
        #expect(routes.contains("10.77.0.0/16 dev \(tunnel)"))
        #expect(routes.contains("10.66.0.0/16 via 10.99.2.2"), "somebody else's: \(routes)")
        #expect(routes.contains("10.55.0.0/16 via 10.88.0.2 dev \(tunnel) metric 7"), "\(routes)")
        let addresses = try tunnels.ip("-n", space, "-6", "addr", "show", "dev", tunnel)
        #expect(addresses.contains("fd88::1/64"), "\(addresses)")
    }

    @Test(
        "a cycle keeps gateways behind the tunnel and addresses somebody gave; so does its recovery"
    )
    func cycle() async throws {
        let tunnels = try Tunnels()
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        try tunnels.ip("-n", space, "addr", "del", "10.88.0.1/24", "dev", tunnel)
        try tunnels.ip("-n", space, "addr", "add", "10.88.0.1/32", "dev", tunnel)
        try tunnels.ip("-n", space, "-6", "addr", "add", "fe80::88/64", "dev", tunnel, "nodad")
        try tunnels.ip("-n", space, "route", "add", "10.88.0.2/32", "dev", tunnel)
        try tunnels.ip("-n", space, "route", "add", "10.50.0.0/16", "via", "10.88.0.2")
        func state() throws -> Set<Substring> {
            let routes = try tunnels.ip("-n", space, "route", "show", "dev", tunnel)
            let addresses = try tunnels.ip("-n", space, "-o", "addr", "show", "dev", tunnel)
            let given = addresses.split(separator: "\n").filter { !$0.contains("stable-privacy") }
            return Set(routes.split(separator: "\n") + given)
        }
        let before = try state()
        let repair = WireGuardRepair(toolkit: toolkit(tunnels))
        let snapshot = try await inside(space) {
            let snapshot = try repair.snapshot(tunnel)
            try repair.cycle(tunnel)
            return snapshot
        }
        #expect(try state().symmetricDifference(before) == [])
        // Killed in between, and taken back from the journal.
        try tunnels.ip("-n", space, "link", "set", tunnel, "down")
        try await inside(space) {
            let kept = try #require(LinkSnapshot(snapshot.json))
            #expect(kept == snapshot)
            try repair.recover(tunnel, kept)
        }
        #expect(try state().symmetricDifference(before) == [])
    }

    @Test("the end of a regeneration leaves alone what somebody has written since")
    func superseded() async throws {
        let tunnels = try Tunnels()
        let name = "\(tunnels.tunnel("a")).conf"
        try tunnels.writeFile("[Interface]\nAddress = 10.88.0.1/24\n")
        let verb = RegenerateConfig(toolkit: toolkit(tunnels))
        let call = VerbCall(parameters: ["resource": .string(tunnels.tunnel("a"))])
        let plan = try await inside(tunnels.space("a")) { try verb.plan(call) }
        _ = try await inside(tunnels.space("a")) { try verb.execute(plan) }
        let edited = (tunnels.directory.read(name) ?? "") + "# by hand\n"
        try tunnels.writeFile(edited)
        let result = try await inside(tunnels.space("a")) {
            try verb.undo(plan.undo, remaining: [])
        }
        #expect(result["state"] == "superseded")
        #expect(tunnels.directory.read(name) == edited)
    }

    @Test("a file that cannot be read is not written over")
    func unreadable() async throws {
        let tunnels = try Tunnels()
        let name = "\(tunnels.tunnel("a")).conf"
        try tunnels.directory.write("\(name).template", tunnels.text())
        let path = "\(tunnels.directory.path)/etc/wireguard/\(name)"
        try FileManager.default.createSymbolicLink(
            atPath: path, withDestinationPath: "/nowhere/at/all")
        let verb = RegenerateConfig(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(done.reason.contains("it is not written over"), "\(done)")
    }
}
