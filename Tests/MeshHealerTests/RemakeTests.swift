import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Testing

@testable import MeshHealer

/// Tunnels of `wg-quick`, made anew as their files say.
@Suite(
    "Making real tunnels anew", .serialized,
    .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"))
struct RemakeTests {
    @Test("a lost tunnel stays known as lost, and is made anew although its file holds no key")
    func keyApart() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(tunnels.textWithoutKey)
        tunnels.stop("a")
        let toolkit = toolkit(tunnels)
        let written = try await tunnels.perform(
            RegenerateConfig(toolkit: toolkit), tunnels.tunnel("a"))
        #expect(written.reason.contains("a new one is never made"), "\(written)")
        #expect(WireGuardSocket().presence(tunnels.tunnel("a")) == .stale)
        let done = try await tunnels.perform(
            RestartWireGuard(toolkit: toolkit), tunnels.tunnel("a"))
        #expect(steps(done.result) == ["wg_quick_up"], "\(done)")
        let key = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "public-key")
        #expect(key == tunnels.key("a") + "\n")
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        // One that gives none is told of.
        try tunnels.killQuick()
        try tunnels.writeFile(
            tunnels.textWithoutKey.replacingOccurrences(of: "a.key", with: "none.key"))
        let failed = try await tunnels.perform(
            RestartWireGuard(toolkit: toolkit), tunnels.tunnel("a"))
        #expect(failed.reason.contains("wg_quick_up"), "\(failed)")
        #expect(toolkit.unfinished.isEmpty)
    }

    @Test(
        "a tunnel that is up is not killed for what its file runs after that; one that fails is not made"
    )
    func slow() async throws {
        let tunnels = try Tunnels()
        let tunnel = tunnels.tunnel("a")
        func write(_ line: String) throws {
            try tunnels.writeFile(
                tunnels.text().replacingOccurrences(
                    of: "[Interface]", with: "[Interface]\nPostUp = \(line)"))
        }
        let toolkit = toolkit(tunnels)
        var verb = RestartWireGuard(toolkit: toolkit)
        let gate = "\(tunnels.directory.path)/gate"
        try write("while ! test -e '\(gate)'; do sleep 0.1; done")
        tunnels.stop("a")
        verb.startTime = .seconds(12)
        let done = try await tunnels.perform(verb, tunnel)
        #expect(steps(done.result) == ["wg_quick_up"], "\(done)")
        #expect("\(done)".contains("goes on"), "\(done)")
        #expect(toolkit.unfinished == [tunnel])
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        _ = FileManager.default.createFile(atPath: gate, contents: nil)
        for _ in 0..<6000 where !toolkit.unfinished.isEmpty { usleep(10_000) }
        #expect(toolkit.unfinished.isEmpty)
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.2")
        try tunnels.killQuick()
        try write("false")
        verb.startTime = .seconds(20)
        let failed = try await tunnels.perform(verb, tunnel)
        #expect(failed.reason.contains("exit code 1"), "\(failed)")
        #expect(toolkit.unfinished.isEmpty)
    }

    @Test("the rules of a full tunnel are there once, however often it is made anew")
    func rules() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(of: "10.88.0.2/32", with: "10.88.0.2/32, 0.0.0.0/0")
        )
        tunnels.stop("a")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        var rules: [String] = []
        for _ in 0..<3 {
            let done = try await tunnels.perform(verb, tunnels.tunnel("a"))
            #expect(steps(done.result) == ["wg_quick_up"], "\(done)")
            rules.append(try tunnels.ip("-n", tunnels.space("a"), "rule"))
            try tunnels.killQuick()
        }
        for text in rules {
            #expect(text.components(separatedBy: "suppress_prefixlength 0").count == 2, "\(text)")
            #expect(text.components(separatedBy: "not from all fwmark").count == 2, "\(text)")
        }
    }

    @Test("a route that stands in for the tunnel's steps aside while it is made, and is back then")
    func standIn() async throws {
        let tunnels = try Tunnels()
        try tunnels.connectOtherWay()
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(
                of: "10.88.0.2/32", with: "10.88.0.2/32, 10.66.0.0/24")
        )
        try tunnels.ip("-n", space, "route", "add", "10.66.0.0/24", "dev", tunnel)
        let toolkit = toolkit(tunnels) { config in
            var route = Config.FailoverRoute(prefix: "10.66.0.0/24", device: tunnels.otherCable)
            route.via = "10.99.3.2"
            route.interface = tunnel
            config.local.mesh.routes = [route]
        }
        tunnels.stop("b")
        let failover = FailoverRoute(toolkit: toolkit)
        let call = VerbCall(parameters: ["resource": .string(tunnels.resource("b"))])
        let plan = try await inside(space) { try failover.plan(call) }
        _ = try await inside(space) { try failover.execute(plan) }
        let moved = try tunnels.ip("-n", space, "route", "show", "10.66.0.0/24")
        #expect(moved.contains("dev \(tunnels.otherCable)"), "\(moved)")
        tunnels.stop("a")
        let done = try await tunnels.perform(RestartWireGuard(toolkit: toolkit), tunnel)
        #expect(steps(done.result) == ["wg_quick_up"], "\(done)")
        #expect("\(done)".contains("10.66.0.0/24 stepped aside"), "\(done)")
        #expect(try tunnels.ip("-n", space, "route", "show", "10.66.0.0/24") == moved)
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.3")
        _ = try await inside(space) { try failover.undo(plan.undo, remaining: []) }
        let after = try tunnels.ip("-n", space, "route", "show", "10.66.0.0/24")
        #expect(after.contains("dev \(tunnel)"), "\(after)")
        #expect(!after.contains(tunnels.otherCable), "\(after)")
        // When that fails they are back as well.
        _ = try await inside(space) { try failover.execute(plan) }
        try tunnels.killQuick()
        try tunnels.writeFile(
            tunnels.text().replacingOccurrences(
                of: "[Interface]", with: "[Interface]\nPostUp = false"
            )
            .replacingOccurrences(of: "10.88.0.2/32", with: "10.88.0.2/32, 10.66.0.0/24"))
        let failed = try await tunnels.perform(RestartWireGuard(toolkit: toolkit), tunnel)
        #expect(failed.reason.contains("exit code 1"), "\(failed)")
        #expect(try tunnels.ip("-n", space, "route", "show", "10.66.0.0/24") == moved)
    }

    @Test("a route that is lost from a table of its own is put back there, and nowhere else")
    func table() async throws {
        let tunnels = try Tunnels()
        let (space, tunnel) = (tunnels.space("a"), tunnels.tunnel("a"))
        let wide = tunnels.text().replacingOccurrences(
            of: "10.88.0.2/32", with: "10.88.0.2/32, 10.66.0.0/24")
        try tunnels.writeFile(
            wide.replacingOccurrences(of: "[Interface]", with: "[Interface]\nTable = 1234"))
        try tunnels.exec(
            "a", "wg", "set", tunnel, "peer", tunnels.key("b"), "allowed-ips",
            "10.88.0.2/32,10.66.0.0/24")
        for range in ["10.88.0.2", "10.88.0.3"] {
            try tunnels.ip("-n", space, "route", "add", range, "dev", tunnel, "table", "1234")
        }
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let done = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(steps(done.result) == ["routes"], "\(done)")
        let routes = try tunnels.ip("-n", space, "route", "show", "table", "1234")
        #expect(routes.split(separator: "\n").count == 3, "\(routes)")
        #expect(routes.contains("10.66.0.0/24 dev \(tunnel)"), "\(routes)")
        #expect(try !tunnels.ip("-n", space, "route").contains("10.66.0.0"))
    }

    @Test("what a file that is written from what runs says is never followed")
    func saved() async throws {
        let tunnels = try Tunnels()
        try tunnels.writeFile(
            tunnels.text(endpointOfB: "10.99.1.77:51820").replacingOccurrences(
                of: "[Interface]", with: "[Interface]\nSaveConfig = true"))
        try tunnels.exec(
            "a", "wg", "set", tunnels.tunnel("a"), "peer", tunnels.key("b"), "allowed-ips",
            "10.88.0.2/32,10.66.0.0/24")
        let verb = RestartWireGuard(toolkit: toolkit(tunnels))
        let well = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(well.result?["state"] != nil, "\(well)")
        tunnels.stop("b")
        let lost = try await tunnels.perform(verb, tunnels.resource("b"))
        #expect(lost.reason.contains("SaveConfig"), "\(lost)")
        let endpoints = try tunnels.exec("a", "wg", "show", tunnels.tunnel("a"), "endpoints")
        #expect(endpoints.contains("10.99.1.2:51820"), "\(endpoints)")
    }
}
