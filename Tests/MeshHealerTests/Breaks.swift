import Foundation
import Testing

/// How a tunnel can break, as it is seen from A.
struct Break: Sendable, CustomTestStringConvertible {
    var name: String
    var type: String
    /// What `details.cause` says; `nil`: nothing is asked of it.
    var cause: String?
    /// Other types that may be raised on the way.
    var also: [String] = []
    /// It is about the interface with all its peers.
    var isInterface = false
    /// What heals it, and by which of its steps; `nil`: nothing on this node.
    var action: String?
    var step: String?
    /// Why it is left alone.
    var reason = "1 other peer is alive"
    /// Ladders of its own.
    var ladder: [String: String] = [:]
    var prepare: @Sendable (Tunnels) throws -> Void = { _ in }
    var harm: @Sendable (Tunnels) throws -> Void
    var mend: @Sendable (Tunnels) throws -> Void = { _ in }
    /// What else is to be as before.
    var check: @Sendable (Tunnels) throws -> Void = { _ in }

    var testDescription: String { name }

    func resource(_ tunnels: Tunnels) -> String {
        isInterface ? tunnels.tunnel("a") : tunnels.resource("b")
    }
}

/// What this node can heal.
extension Break {
    private static let restart = "restart_wireguard"

    static let healed: [Break] = [
        Break(
            name: "A's tunnel is switched off", type: "tunnel_down", cause: "interface_down",
            also: ["config_drift"], isInterface: true, action: restart, step: "link_up",
            harm: { try $0.ip("-n", $0.space("a"), "link", "set", $0.tunnel("a"), "down") }),
        Break(
            name: "A's program is killed", type: "tunnel_down", cause: "gone",
            also: ["config_drift"], isInterface: true, action: restart, step: "wg_quick_up",
            harm: { $0.stop("a") }),
        Break(
            name: "A's program is killed, and its file leaves the key to a program",
            type: "tunnel_down", cause: "gone", also: ["config_drift"], isInterface: true,
            action: restart, step: "wg_quick_up",
            ladder: ["tunnel_down": "[regenerate_config, restart_wireguard]"],
            prepare: { try $0.writeFile($0.textWithoutKey) }, harm: { $0.stop("a") },
            check: {
                let key = try $0.exec("a", "wg", "show", $0.tunnel("a"), "public-key")
                #expect(key == $0.key("a") + "\n")
            }),
        Break(
            name: "A's allowed IPs are wrong", type: "config_drift",
            also: ["peer_unreachable"], action: restart, step: "syncconf",
            harm: {
                try $0.exec(
                    "a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "allowed-ips",
                    "10.88.0.77/32")
            }),
        Break(
            name: "B is taken out of A's tunnel", type: "config_drift", action: restart,
            step: "syncconf",
            harm: {
                try $0.exec("a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "remove")
            }),
        Break(
            name: "A has another key for B", type: "config_drift", action: restart,
            step: "syncconf",
            harm: {
                try $0.exec("a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "remove")
                try $0.exec(
                    "a", "wg", "set", $0.tunnel("a"), "peer", $0.key("other"), "endpoint",
                    "10.99.1.2:51820", "allowed-ips", "10.88.0.2/32")
            }),
        Break(
            name: "A has a wrong endpoint for B", type: "endpoint_moved",
            also: ["peer_unreachable"], action: restart, step: "endpoint",
            harm: {
                // An answer that is under way would tell A at once where B is.
                try $0.drop("a", "output", from: "10.99.1.2")
                try $0.exec(
                    "a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "endpoint",
                    "10.99.1.77:51820")
                try $0.loseA()
                try $0.undrop("a")
            }),
        Break(
            name: "B moves, and its name moves with it", type: "peer_unreachable",
            also: ["endpoint_moved"], action: "resolve_endpoint", step: "endpoint",
            ladder: ["peer_unreachable": "[ping_peer, resolve_endpoint]"],
            prepare: {
                try $0.name("hub.example.org", "10.99.1.2")
                try $0.writeFile($0.text(endpointOfB: "hub.example.org:51820"))
            },
            harm: {
                try $0.name("hub.example.org", "10.99.1.9")
                try $0.moveB()
                try $0.loseA()
            }),
        Break(
            name: "A listens on another port", type: "config_drift", isInterface: true,
            action: restart, step: "syncconf",
            harm: { try $0.exec("a", "wg", "set", $0.tunnel("a"), "listen-port", "51999") },
            check: {
                let port = try $0.exec("a", "wg", "show", $0.tunnel("a"), "listen-port")
                #expect(port == "51820\n")
            }),
        Break(
            name: "a route into A's tunnel is lost", type: "config_drift", action: restart,
            step: "routes",
            prepare: {
                let wide = $0.text().replacingOccurrences(
                    of: "10.88.0.2/32", with: "10.88.0.2/32, 10.66.0.0/24")
                try $0.writeFile(wide)
                try $0.exec(
                    "a", "wg", "set", $0.tunnel("a"), "peer", $0.key("b"), "allowed-ips",
                    "10.88.0.2/32,10.66.0.0/24")
                try $0.ip(
                    "-n", $0.space("a"), "route", "add", "10.66.0.0/24", "dev", $0.tunnel("a"))
            },
            harm: { try $0.ip("-n", $0.space("a"), "route", "del", "10.66.0.0/24") },
            check: {
                let routes = try $0.ip("-n", $0.space("a"), "route", "show", "10.66.0.0/24")
                #expect(routes.contains("dev \($0.tunnel("a"))"))
            }),
        Break(
            name: "A's file is nonsense, and its template is not", type: "config_drift",
            isInterface: true, action: "regenerate_config",
            ladder: ["config_drift": "[restart_wireguard, regenerate_config]"],
            prepare: { try $0.directory.write("\($0.tunnel("a")).conf.template", $0.text()) },
            harm: { try $0.writeFile("this is not a configuration\n") },
            check: { #expect($0.directory.read("\($0.tunnel("a")).conf") == $0.text()) }),
        Break(
            name: "A's file has gone, and its template has not", type: "config_drift",
            isInterface: true, action: "regenerate_config",
            ladder: ["config_drift": "[restart_wireguard, regenerate_config]"],
            prepare: { try $0.directory.write("\($0.tunnel("a")).conf.template", $0.text()) },
            harm: { unlink("\($0.directory.path)/etc/wireguard/\($0.tunnel("a")).conf") },
            check: { #expect($0.directory.read("\($0.tunnel("a")).conf") == $0.text()) }),
        Break(
            name: "A's file is spoilt, and its template is not", type: "config_drift",
            also: ["peer_unreachable"], isInterface: false, action: "regenerate_config",
            ladder: ["config_drift": "[regenerate_config]"],
            prepare: { try $0.directory.write("\($0.tunnel("a")).conf.template", $0.text()) },
            harm: {
                let spoilt = $0.text().replacingOccurrences(of: "10.88.0.2", with: "10.88.0.77")
                try $0.writeFile(spoilt)
            },
            check: { #expect($0.directory.read("\($0.tunnel("a")).conf") == $0.text()) }),
    ]
}

/// What is somebody else's to mend.
extension Break {
    static let remote: [Break] = [
        Break(
            name: "A's link goes down", type: "peer_unreachable", cause: "underlay",
            reason: "no way to the endpoint",
            harm: { try $0.ip("-n", $0.space("a"), "link", "set", $0.cable("a", "b"), "down") },
            mend: { try $0.ip("-n", $0.space("a"), "link", "set", $0.cable("a", "b"), "up") }),
        Break(
            name: "A's firewall drops what it sends", type: "peer_one_way", cause: "local_send",
            also: ["peer_unreachable"],
            harm: { try $0.drop("a", "output", from: "10.99.1.2") }, mend: { try $0.undrop("a") }),
        Break(
            name: "B's link goes down", type: "peer_unreachable",
            harm: {
                // B's end without A's noticing: its address is gone, and nobody answers.
                try $0.ip("-n", $0.space("b"), "addr", "flush", "dev", $0.cable("b", "a"))
            },
            mend: {
                try $0.ip(
                    "-n", $0.space("b"), "addr", "add", "10.99.1.2/24", "dev", $0.cable("b", "a"))
            }),
        Break(
            name: "B's program is killed", type: "peer_unreachable", cause: "remote",
            harm: { $0.stop("b") },
            mend: {
                try $0.start("b")
                try $0.configure("b", 2)
                try $0.befriend("b", 1)
            }),
        Break(
            name: "B does not know A any more", type: "peer_unreachable", cause: "remote",
            harm: {
                try $0.exec("b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "remove")
            },
            mend: { try $0.befriend("b", 1) }),
        Break(
            name: "B has another key", type: "peer_unreachable", cause: "remote",
            harm: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "private-key",
                    "\($0.directory.path)/other.key")
            },
            mend: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "private-key", "\($0.directory.path)/b.key")
            }),
        Break(
            name: "B's firewall drops what it gets", type: "peer_one_way", cause: "remote",
            also: ["peer_unreachable"], harm: { try $0.drop("b", "input") },
            mend: { try $0.undrop("b") }),
        Break(
            name: "a blackhole in the place of B", type: "peer_unreachable", cause: "local_route",
            reason: "there is nothing to restart",
            harm: { try $0.ip("-n", $0.space("a"), "route", "add", "blackhole", "10.88.0.2/32") },
            mend: { try $0.ip("-n", $0.space("a"), "route", "del", "blackhole", "10.88.0.2/32") }),
        Break(
            name: "B's allowed IPs are wrong", type: "peer_filtered", cause: "remote",
            harm: {
                try $0.exec(
                    "b", "wg", "set", $0.tunnel("b"), "peer", $0.key("a"), "allowed-ips",
                    "10.88.0.77/32")
            },
            mend: { try $0.befriend("b", 1) }),
        Break(
            name: "ICMP is filtered at B", type: "peer_filtered", cause: "remote",
            harm: { try $0.dropEchoes("b") }, mend: { try $0.undrop("b") }),
        Break(
            name: "B's tunnel is switched off", type: "peer_filtered", cause: "remote",
            harm: { try $0.ip("-n", $0.space("b"), "link", "set", $0.tunnel("b"), "down") },
            mend: { try $0.ip("-n", $0.space("b"), "link", "set", $0.tunnel("b"), "up") }),
    ]

    static let move = Break(
        name: "B moves", type: "endpoint_moved",
        harm: {
            try $0.moveB()
            // A hears of it from B, once B has given its old address up.
            try $0.launch("moved", in: "b", ["ping", "-q", "-i", "0.5", "10.88.0.1"])
        })
}
