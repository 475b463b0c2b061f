import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

/// A namespace with two interfaces that lead nowhere, `m0` and `m1`.
final class Crossing: Sendable {
    let space = "skosx\(UUID().uuidString.prefix(8))"

    init() throws {
        try command("ip", "netns", "add", space)
        for name in ["m0", "m1"] {
            try make(name)
        }
        try command("ip", "-n", space, "addr", "add", "10.1.0.1/24", "dev", "m0")
        try command("ip", "-n", space, "addr", "add", "10.2.0.1/24", "dev", "m1")
        try command("ip", "-n", space, "-6", "addr", "add", "fd01::1/64", "dev", "m1", "nodad")
    }

    deinit { _ = try? command("ip", "netns", "del", space) }

    /// Makes an interface whose other end is here, too.
    func make(_ name: String) throws {
        try route("link", "add", name, "type", "veth", "peer", "name", name + "x")
        try route("link", "set", name + "x", "up")
        try route("link", "set", name, "up")
    }

    func route(_ arguments: String...) throws {
        let words = ["ip", "-n", space] + arguments
        let output = try Subprocess("/usr/bin/env", words, timeLimit: .seconds(60)).run()
        guard output.exitCode == 0 else { throw TunnelFailure(description: "\(words)") }
    }

    /// All routes of a table, as `ip` shows them.
    func routes(_ table: String = "main", v6: Bool = false) throws -> String {
        try command("ip", v6 ? "-6" : "-4", "-n", space, "route", "show", "table", table).output
    }
}

@Suite("Moving routes", .enabled(if: Tunnels.obstacle == nil, "\(Tunnels.obstacle ?? "")"))
struct RouteTests {
    /// The verb on a node whose peers answer or not, with these routes in its own file.
    private func verb(
        _ routes: [Config.FailoverRoute], answering: Bool = false
    ) -> FailoverRoute {
        let network = RealRoutes(FakeNetwork(.init(peer(1, "10.88.0.2/32"))))
        network.base.node.withLock { node in
            if !answering { node.answering = [] }
            // Not the number of a real one.
            node.links[0].index = 9999
        }
        let toolkit = MeshToolkit(root: HostRoot(), network: network)
        var config = Config()
        config.local.mesh.routes = routes
        toolkit.apply(config)
        return FailoverRoute(toolkit: toolkit)
    }

    private func setting(
        _ prefix: String, _ device: String, via: String = "", metric: Int = 0, table: Int = 254,
        peer: String = "", interface: String = "wg0"
    ) -> Config.FailoverRoute {
        var route = Config.FailoverRoute(prefix: prefix, device: device)
        route.via = via
        route.metric = metric
        route.table = table
        route.peer = peer
        route.interface = interface
        return route
    }

    private static let call = VerbCall(parameters: ["resource": .string("wg0/\(key(1))")])

    static let cases: [(String, [String], Bool)] = [
        ("10.88.0.0/24", ["via", "10.1.0.9", "dev", "m0", "metric", "50"], false),
        (
            "10.88.0.0/24",
            [
                "via", "10.1.0.9", "dev", "m0", "metric", "50", "proto", "66", "mtu", "1300", "src",
                "10.1.0.1",
            ], false
        ),
        ("10.88.0.0/24", ["dev", "m0", "metric", "50", "scope", "link"], false),
        (
            "10.88.0.0/24",
            [
                "metric", "50", "nexthop", "via", "10.1.0.9", "dev", "m0", "weight", "3", "nexthop",
                "via", "10.1.0.8", "dev", "m0",
            ], false
        ),
        ("fd88::/64", ["via", "fd01::9", "dev", "m1", "metric", "50"], true),
    ]

    @Test("a route moves, its neighbours stay, and it comes back to the letter", arguments: cases)
    func thereAndBack(_ prefix: String, _ words: [String], _ isV6: Bool) async throws {
        let crossing = try Crossing()
        let route = (isV6 ? ["-6"] : []) + ["route", "add", prefix]
        try run(crossing, route + words)
        // The same destination with another metric is another route.
        try run(crossing, route + ["dev", "m1", "metric", "70"])
        let before = try crossing.routes(v6: isV6)
        let via = isV6 ? "" : "10.2.0.9"
        let verb = verb([setting(prefix, isV6 ? "m0" : "m1", via: via, metric: 50)])
        let plan = try await inside(crossing.space) { try verb.plan(Self.call) }
        #expect(try crossing.routes(v6: isV6) == before, "a plan changes nothing")
        _ = try await inside(crossing.space) { try verb.execute(plan) }
        let moved = try crossing.routes(v6: isV6)
        #expect(moved.contains(isV6 ? "fd88::/64 dev m0" : "10.88.0.0/24 via 10.2.0.9 dev m1"))
        #expect(moved.contains("dev m1 \(isV6 ? "" : "scope link ")metric 70"))
        #expect(moved.split(separator: "\n").count { $0.contains("metric 50") } == 1)
        _ = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        #expect(try crossing.routes(v6: isV6) == before)
        // Twice does no harm.
        _ = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        #expect(try crossing.routes(v6: isV6) == before)
    }

    private func run(_ crossing: Crossing, _ words: [String]) throws {
        let output = try Subprocess(
            "/usr/bin/env", ["ip", "-n", crossing.space] + words, timeLimit: .seconds(60)
        ).run()
        #expect(output.exitCode == 0, "ip \(words.joined(separator: " "))")
    }

    @Test("a route whose way is an object of its own, as routing programs have, comes back")
    func nextHopObject() async throws {
        let crossing = try Crossing()
        try crossing.route("nexthop", "add", "id", "7", "via", "10.1.0.9", "dev", "m0")
        try crossing.route("route", "add", "10.88.0.0/24", "nhid", "7", "metric", "50")
        let before = try crossing.routes()
        #expect(before.contains("nhid 7"))
        let verb = verb([setting("10.88.0.0/24", "m1", via: "10.2.0.9", metric: 50)])
        let plan = try await inside(crossing.space) { try verb.plan(Self.call) }
        _ = try await inside(crossing.space) { try verb.execute(plan) }
        #expect(try crossing.routes().contains("10.88.0.0/24 via 10.2.0.9 dev m1"))
        _ = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        #expect(try crossing.routes() == before)
    }

    @Test("where there was no route there is none again; tables are kept apart")
    func none() async throws {
        let crossing = try Crossing()
        try crossing.route("route", "add", "10.88.0.0/24", "dev", "m0")
        let before = try crossing.routes()
        let verb = verb([setting("10.88.0.0/24", "m1", table: 1000)])
        let plan = try await inside(crossing.space) { try verb.plan(Self.call) }
        _ = try await inside(crossing.space) { try verb.execute(plan) }
        #expect(try crossing.routes("1000").contains("10.88.0.0/24 dev m1"))
        #expect(try crossing.routes() == before)
        _ = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        #expect(try crossing.routes("1000") == "")
        #expect(try crossing.routes() == before)
    }

    @Test("a route that somebody else has changed since is left alone")
    func superseded() async throws {
        let crossing = try Crossing()
        try crossing.route("route", "add", "10.88.0.0/24", "dev", "m0")
        let verb = verb([setting("10.88.0.0/24", "m1")])
        let plan = try await inside(crossing.space) { try verb.plan(Self.call) }
        _ = try await inside(crossing.space) { try verb.execute(plan) }
        try crossing.route("route", "replace", "blackhole", "10.88.0.0/24")
        let result = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        #expect(result["routes"]?.array?.first?.object?["state"] == "superseded")
        #expect(try crossing.routes().contains("blackhole 10.88.0.0/24"))
    }

    @Test("two actions on one route: it stays for the second, and the first state comes back")
    func twice() async throws {
        let crossing = try Crossing()
        try crossing.route("route", "add", "10.88.0.0/24", "dev", "m0")
        let before = try crossing.routes()
        let verb = verb([setting("10.88.0.0/24", "m1")])
        let first = try await inside(crossing.space) { try verb.plan(Self.call) }
        _ = try await inside(crossing.space) { try verb.execute(first) }
        var call = Self.call
        call.active = [first.undo]
        let second = try await inside(crossing.space) { [call] in try verb.plan(call) }
        _ = try await inside(crossing.space) { try verb.execute(second) }
        _ = try await inside(crossing.space) {
            try verb.undo(first.undo, remaining: [second.undo])
        }
        #expect(try crossing.routes().contains("10.88.0.0/24 dev m1"))
        _ = try await inside(crossing.space) { try verb.undo(second.undo, remaining: []) }
        #expect(try crossing.routes() == before)
    }

    @Test("an interface that was made again has another number, and the route finds it")
    func renumbered() async throws {
        let crossing = try Crossing()
        try crossing.route("route", "add", "10.88.0.0/24", "dev", "m0")
        let before = try crossing.routes()
        let verb = verb([setting("10.88.0.0/24", "m1")])
        let plan = try await inside(crossing.space) { try verb.plan(Self.call) }
        _ = try await inside(crossing.space) { try verb.execute(plan) }
        try crossing.route("link", "del", "m0")
        await #expect(throws: VerbFailure.self) {
            try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        }
        #expect(try crossing.routes().contains("10.88.0.0/24 dev m1"), "better than none")
        try crossing.make("m0")
        try crossing.route("addr", "add", "10.1.0.1/24", "dev", "m0")
        _ = try await inside(crossing.space) { try verb.undo(plan.undo, remaining: []) }
        let after = try crossing.routes()
        #expect(Set(after.split(separator: "\n")) == Set(before.split(separator: "\n")))
    }

    @Test(
        "a route that another comes before is not made, and it is told which metric that has",
        arguments: [
            (["10.88.0.0/24"], 100, "metric 0,"),
            (["10.88.0.0/24", "metric", "50"], 51, "metric 50,"),
            (["10.88.0.0/24", "metric", "50"], 50, ""), (["10.88.0.0/24", "metric", "50"], 0, ""),
            (["10.88.0.0/25"], 100, ""), (["10.88.0.0/24", "table", "1000"], 100, ""),
            (["fd88::/64"], 2000, "metric 1024,"), (["fd88::/64"], 0, ""),
            (["fd88::/64", "metric", "50"], 0, "metric 50,"),
        ])
    func hidden(_ words: [String], _ metric: Int, _ reason: String) async throws {
        let crossing = try Crossing()
        let isV6 = words[0].contains(":")
        try run(crossing, (isV6 ? ["-6"] : []) + ["route", "add"] + words + ["dev", "m0"])
        let verb = verb([setting(isV6 ? "fd88::/64" : "10.88.0.0/24", "m1", metric: metric)])
        let refusal = try await inside(crossing.space) {
            do throws(VerbFailure) {
                _ = try verb.plan(Self.call)
                return ""
            } catch { return error.reason }
        }
        #expect(refusal.isEmpty == reason.isEmpty, "\(refusal)")
        #expect(reason.isEmpty || refusal.contains("through m0 with \(reason)"), "\(refusal)")
    }

    @Test("what must not be moved is refused with the reason")
    func refused() async throws {
        let crossing = try Crossing()
        try crossing.route("link", "set", "m1", "down")
        let call = Self.call
        func reason(_ verb: FailoverRoute) async throws -> String {
            try await inside(crossing.space) {
                do throws(VerbFailure) {
                    _ = try verb.plan(call)
                    return "planned"
                } catch { return error.reason }
            }
        }
        #expect(try await reason(verb([])).contains("local.mesh.routes has no route for wg0/"))
        let other = setting("10.88.0.0/24", "m0", peer: key(2))
        #expect(try await reason(verb([other])).contains("has no route"))
        let down = setting("10.88.0.0/24", "m1")
        #expect(try await reason(verb([down])).contains("m1, is down"))
        let missing = setting("10.88.0.0/24", "m9")
        #expect(try await reason(verb([missing])).contains("m9, is not there"))
        let healthy = setting("10.88.0.0/24", "m0")
        #expect(try await reason(verb([healthy])) == "planned")
        // A peer that is back by now is no failure, and nothing is moved for it.
        let answering = verb([healthy], answering: true)
        let before = try crossing.routes()
        let plan = try await inside(crossing.space) { try answering.plan(call) }
        let result = try await inside(crossing.space) { try answering.execute(plan) }
        #expect(result["state"]?.string?.contains("it answers") == true, "\(result)")
        _ = try await inside(crossing.space) {
            try answering.undo(plan.undo, remaining: [plan.undo])
        }
        #expect(try crossing.routes() == before)
    }
}

/// A node that is made up, but for its links.
final class RealRoutes: MeshNetwork {
    let base: FakeNetwork

    init(_ base: FakeNetwork) { self.base = base }

    func links() throws(NetlinkFailure) -> [NetworkLink] {
        try base.links() + NetworkLinks.all()
    }
    func isWireGuard(_ link: NetworkLink) -> Bool { base.isWireGuard(link) }
    func device(_ link: NetworkLink) throws(WireGuardFailure) -> WireGuardDevice {
        try base.device(link)
    }
    func mishap(_ name: String) throws(WireGuardFailure) -> Mishap? { try base.mishap(name) }
    func leftBehind(_ isMeant: (String) -> Bool) -> [String] { base.leftBehind(isMeant) }
    func isStopped(_ name: String) -> Bool { base.isStopped(name) }
    func quickRuns() -> Set<String> { base.quickRuns() }
    func ranges(inTable table: Int, isV6: Bool) -> [IPPrefix]? {
        base.ranges(inTable: table, isV6: isV6)
    }
    func hasConfiguration(_ name: String) -> Bool { base.hasConfiguration(name) }
    func configurationFault(_ name: String) -> String? { base.configurationFault(name) }
    func way(to address: IPAddress, mark: UInt32) -> NetworkRoutes.Way? {
        base.way(to: address, mark: mark)
    }
    func routed(_ link: NetworkLink, isV6: Bool) -> [IPPrefix]? { base.routed(link, isV6: isV6) }
    func echo(_ targets: [EchoTarget], limit: Duration) -> [EchoOutcome] {
        base.echo(targets, limit: limit)
    }
    func configuration(_ name: String) -> [UInt8]? { base.configuration(name) }
}
