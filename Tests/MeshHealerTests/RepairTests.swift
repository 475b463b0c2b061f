import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

/// The verbs on real tunnels, called on a thread that lives in A's namespace.
@Suite(
    "Mending real tunnels", .serialized,
    .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"))
struct RepairTests {
    /// Pings C from A, twenty times a second, until told to stop; then how many were lost.
    private func watchC(_ tunnels: Tunnels) throws -> () throws -> Int {
        let log = "\(tunnels.directory.path)/ping"
        let ping = try tunnels.launch(
            "ping", in: "a", ["ping", "-q", "-i", "0.05", "10.88.0.3"], log: log)
        return {
            kill(ping.processIdentifier, SIGINT)
            ping.waitUntilExit()
            let text = try String(contentsOfFile: log, encoding: .utf8)
            let numbers = text.split(whereSeparator: { !$0.isNumber && $0 != "." })
            // "N packets transmitted, M received": after the address and the sizes.
            let line = try #require(
                text.split(separator: "\n").first { $0.contains("transmitted") })
            let counts = line.split(separator: " ").compactMap { Int($0) }
            #expect(!numbers.isEmpty && counts.count >= 2 && counts[0] > 5, "\(line)")
            // The one that is under way when it is stopped is no loss.
            return max(counts[0] - counts[1] - 1, 0)
        }
    }

    @Test("an echo is answered, counted, and wakes an idle tunnel")
    func ping() async throws {
        let tunnels = try Tunnels()
        let verb = PingPeer(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.result?["answering"] == 1, "\(done.reason)")
        let answered = done.result?["peers"]?.array?.first?.object?["answered"]?.integer ?? 0
        // The first waits for a handshake, and on a busy machine others may come late as well.
        #expect((1...5).contains(answered))
        tunnels.stop("b")
        let failed = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(failed.reason.contains("none of 2 echoes"))
        let both = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(both.result?["answering"] == 1)
        #expect(both.result?["silent"] == 1)
        #expect(try await tunnels.perform(verb, "wg0").reason.contains("is not there"))
        #expect(try await tunnels.perform(verb, "\(tunnels.tunnel("a"))/x").reason.contains("key"))
    }

    @Test("a switched-off interface is switched on, and gets its routes back")
    func linkUp() async throws {
        let tunnels = try Tunnels()
        let text = tunnels.text() + "[Peer]\nPublicKey = \(key(5))\nAllowedIPs = 10.77.0.0/16\n"
        try tunnels.writeFile(text)
        try tunnels.ip("-n", tunnels.space("a"), "link", "set", tunnels.tunnel("a"), "down")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(steps(done.result) == ["link_up"], "\(done.reason)")
        let routes = try tunnels.ip("-n", tunnels.space("a"), "route")
        #expect(routes.contains("10.77.0.0/16 dev \(tunnels.tunnel("a"))"))
        #expect(routes.contains("10.88.0.0/24 dev"))
        #expect(!routes.contains("10.88.0.2 "), "the network's own route covers it")
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
    }

    @Test("a peer that moved is found where its file says; its neighbour loses nothing")
    func endpoint() async throws {
        let tunnels = try Tunnels()
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.3")
        // Removing the first address of a network removes its others, so in this order.
        let end = tunnels.cable("b", "a")
        try tunnels.ip("-n", tunnels.space("b"), "addr", "del", "10.99.1.2/24", "dev", end)
        try tunnels.ip("-n", tunnels.space("b"), "addr", "add", "10.99.1.9/24", "dev", end)
        try tunnels.writeFile(tunnels.text(endpointOfB: "10.99.1.9:51820"))
        let lost = try watchC(tunnels)
        var verb = RestartWireGuard(toolkit: toolkit(tunnels))
        // An attempt that went to the old place is repeated after five seconds only.
        verb.stepTime = .seconds(20)
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["endpoint"], "\(done.reason)")
        #expect(try lost() == 0)
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
    }

    @Test("allowed IPs that were changed come back with the file; the neighbour loses nothing")
    func allowedIPs() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(tunnels.text())
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.3")
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "allowed-ips",
            "10.88.0.77/32")
        let lost = try watchC(tunnels)
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["syncconf"], "\(done.reason)")
        #expect(!"\(done)".contains(tunnels.secret))
        #expect(try lost() == 0)
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
    }

    @Test("what the file leaves open, the interface keeps: its port and its mark")
    func kept() async throws {
        let tunnels = try Tunnels()
        let tunnel = tunnels.tunnel("a")
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(of: "ListenPort = 51820\n", with: ""))
        try tunnels.exec("a", "wg", "set", tunnel, "fwmark", "77")
        try tunnels.exec("a", "wg", "set", tunnel, "peer", tunnels.key("b"), "remove")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["syncconf"], "\(done.reason)")
        #expect(try tunnels.exec("a", "wg", "show", tunnel, "listen-port") == "51820\n")
        #expect(try tunnels.exec("a", "wg", "show", tunnel, "fwmark") == "0x4d\n")
    }

    @Test("a peer that was taken out of the interface comes back with the file")
    func missingPeer() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(tunnels.text())
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "remove")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["syncconf"], "\(done.reason)")
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
    }

    @Test("a dead peer is left alone while another one lives on the interface, and nothing is lost")
    func hopeless() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(tunnels.text())
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.3")
        tunnels.stop("b")
        let lost = try watchC(tunnels)
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.reason.contains("1 other peer is alive"), "\(done)")
        #expect(!done.reason.contains(tunnels.secret))
        #expect(try lost() == 0)
    }

    @Test("without another peer the interface is taken down and up, and is as before")
    func cycle() async throws {
        let tunnels = try Tunnels()
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        try tunnels.exec("a", "wg", "set", tunnel, "peer", tunnels.key("c"), "remove")
        tunnels.stop("b")
        try tunnels.ip("-n", space, "route", "add", "10.77.0.0/16", "dev", tunnel, "metric", "9")
        try tunnels.ip("-n", space, "-6", "addr", "add", "fd88::1/64", "dev", tunnel, "nodad")
        func state() throws -> [String] {
            let routes =
                try tunnels.ip("-n", space, "route") + tunnels.ip("-n", space, "-6", "route")
            let addresses = try tunnels.ip("-n", space, "-o", "addr", "show", "dev", tunnel)
            // The kernel makes a link-local address of its own, which changes.
            return (routes + addresses).split(separator: "\n").map(String.init)
                .filter { !$0.contains("fe80") }.sorted()
        }
        let before = try state()
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.reason.contains("link_down_up: no effect"), "\(done)")
        let after = try state()
        #expect(after == before, "\(after) \(before)")
    }

    @Test("the way to NATS is not cut, nor an interface that the node's own file does not name")
    func refused() async throws {
        let tunnels = try Tunnels()
        try tunnels.exec("a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("c"), "remove")
        tunnels.stop("b")
        let over = RestartWireGuard(
            toolkit: toolkit(tunnels) { $0.nats.urls = ["nats://u:p@10.88.0.2:4222"] })
        let cut = try await tunnels.perform(over, tunnels.resource("b"))
        #expect(cut.reason.contains("it would cut the way this command came"), "\(cut)")
        #expect(!cut.reason.contains("u:p"))
        let barred = RestartWireGuard(
            toolkit: toolkit(tunnels) { $0.local.mesh.restart = ["wg9"] })
        let reason = try await tunnels.perform(barred, tunnels.tunnel("a")).reason
        #expect(reason.contains("local.mesh.restart allows wg9"))
    }

    @Test("what answers is not restarted, which is no failure unless something is wrong with it")
    func healthy() async throws {
        let tunnels = try Tunnels()
        for address in ["10.88.0.2", "10.88.0.3"] {
            try tunnels.exec("a", "ping", "-c", "1", "-W", "30", address)
        }
        let toolkit = toolkit(tunnels)
        let verbs: [any Verb] = [
            RestartWireGuard(toolkit: toolkit), RestartWireGuard.resolveEndpoint(toolkit),
        ]
        for verb in verbs {
            for resource in [tunnels.resource("b"), tunnels.tunnel("a")] {
                let done = try await tunnels.perform(verb, resource)
                #expect(done.result?["steps"] == [], "\(done)")
                let state = done.result?["state"]?.string
                #expect(state?.contains("nothing to restart") == true, "\(done)")
            }
        }
        // A peer that no file names has moved as well as any other.
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(of: tunnels.key("b"), with: key(5)))
        let moved = try await tunnels.perform(verbs[1], tunnels.resource("b"))
        #expect(moved.result?["state"] != nil, "\(moved)")
        let drifted = try await tunnels.perform(verbs[0], tunnels.resource("b"))
        #expect(drifted.reason.contains("not in the configuration file"), "\(drifted)")
        try tunnels.writeFile("nonsense\n")
        let spoilt = try await tunnels.perform(verbs[0], tunnels.tunnel("a"))
        #expect(spoilt.reason.contains("line 1"), "\(spoilt)")
        #expect(!spoilt.reason.contains("nonsense"), "\(spoilt)")
    }

    @Test("without a way to the endpoint nothing is restarted")
    func cutOff() async throws {
        let tunnels = try Tunnels()
        try tunnels.ip("-n", tunnels.space("a"), "link", "set", tunnels.cable("a", "b"), "down")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(done.reason.contains("no way to the endpoint"), "\(done)")
    }

    @Test("a file with another key, or none, is never given to the interface")
    func foreignKey() async throws {
        let tunnels = try Tunnels()
        for name in ["b", "c"] { tunnels.stop(name) }
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let foreign = try command("wg", "genkey").output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(of: tunnels.secret, with: foreign))
        let whole = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(whole.reason.contains("another private key"), "\(whole)")
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(of: "PrivateKey", with: "# PrivateKey"))
        let none = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(none.reason.contains("no private key"), "\(none)")
        // A peer alone needs no key.
        try tunnels.start("b")
        try tunnels.configure("b", 2)
        try tunnels.befriend("b", 1)
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "remove")
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["syncconf"], "\(done)")
        let key = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "private-key")
        #expect(key.contains(tunnels.secret))
    }

    @Test("a configuration is written anew with the node's own key, for its owner only, and back")
    func regenerate() async throws {
        let tunnels = try Tunnels()
        let name = tunnels.tunnel("a") + ".conf"
        let broken = "[Interface]\nAddress = 10.88.0.1/24\nDNS = 10.88.0.53\n"
        try tunnels.writeFile(broken)
        let verb = RegenerateConfig(toolkit: toolkit(tunnels))
        let call = VerbCall(parameters: ["resource": .string(tunnels.tunnel("a"))])
        let plan = try await inside(tunnels.space("a")) { try verb.plan(call) }
        #expect(tunnels.directory.read(name) == broken, "a plan changes nothing")
        let result = try await inside(tunnels.space("a")) { try verb.execute(plan) }
        #expect(result["applied"] == "yes", "\(result)")
        #expect(!"\(plan) \(result)".contains(tunnels.secret))
        let text = try #require(tunnels.directory.read(name))
        for word in [
            "PrivateKey = \(tunnels.secret)", tunnels.key("b"), "10.88.0.3/32", "DNS = 10.88.0.53",
        ] { #expect(text.contains(word), "\(word)") }
        #expect(tunnels.directory.mode(name) == 0o600)
        #expect(tunnels.directory.mode("\(name).skos-1") == 0o600)
        _ = try await inside(tunnels.space("a")) { try verb.undo(plan.undo, remaining: []) }
        _ = try await inside(tunnels.space("a")) { try verb.undo(plan.undo, remaining: []) }
        #expect(tunnels.directory.read(name) == broken)
        #expect(!tunnels.directory.names.contains { $0.hasSuffix("skos-new") })
    }

    @Test("a template is filled with the node's own key, and a foreign key in it is refused")
    func template() async throws {
        let tunnels = try Tunnels()
        let name = tunnels.tunnel("a") + ".conf"
        let bare = tunnels.text().replacingOccurrences(of: tunnels.secret, with: "@KEY@")
        try tunnels.directory.write(name + ".template", bare)
        let verb = RegenerateConfig(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(done.result?["source"] == "the template", "\(done.reason)")
        #expect(tunnels.directory.read(name)?.contains(tunnels.secret) == true)
        let again = try await tunnels.perform(verb, tunnels.tunnel("a"))
        let state = again.result?["state"]?.string
        #expect(state?.contains("already what the template says") == true, "\(again)")
        #expect(!tunnels.directory.names.contains { $0.contains(".skos-") })
        tunnels.stop("b")
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "allowed-ips",
            "10.88.0.77/32")
        let useless = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(useless.reason.contains("already what the template says"), "\(useless)")
        try tunnels.directory.write(
            name + ".template", bare.replacingOccurrences(of: "@KEY@", with: key(9)))
        let refused = try await tunnels.perform(verb, tunnels.tunnel("a"))
        #expect(refused.reason.contains("not this node's"))
        #expect(!refused.reason.contains(key(9)))
    }
}
