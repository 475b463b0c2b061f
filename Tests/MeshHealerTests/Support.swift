import Antibody
import Foundation
import Glibc
import Platform
import Protocol
import Settings
import Synchronization

@testable import MeshHealer

/// A node whose links, interfaces and echoes are what a test says.
final class FakeNetwork: MeshNetwork {
    struct Node: Sendable {
        var links: [NetworkLink] = []
        var devices: [String: WireGuardDevice] = [:]
        var failures: [String: String] = [:]
        /// Interfaces that this process may not ask.
        var denied: Set<String> = []
        var mishaps: [String: String] = [:]
        /// Interfaces whose programs were killed and have left their sockets behind.
        var leftBehind: Set<String> = []
        /// Interfaces whose units somebody has stopped.
        var stopped: Set<String> = []
        /// Interfaces on which somebody's `wg-quick` is at work.
        var quickRuns: Set<String> = []
        /// Why nobody knows what became of an interface.
        var riddles: [String: String] = [:]
        /// The names of interfaces that were asked after.
        var missed: [String] = []
        /// Interfaces that are of WireGuard and do not look it.
        var disguised: Set<String> = []
        /// Interfaces that take their time before they fail.
        var slow: Set<String> = []
        /// The interfaces that were asked how they are.
        var asked: [String] = []
        /// Why this process can send no echo: errno.
        var ownTrouble: Int32?
        /// Questions for ways.
        var questions = 0
        var ways: [IPAddress: NetworkRoutes.Way] = [:]
        var routed: [IPPrefix] = []
        /// The ranges that routing tables know, by number.
        var tables: [Int: [IPPrefix]] = [:]
        /// The addresses that answer.
        var answering: Set<IPAddress> = []
        var files: [String: String] = [:]
        /// Why files are of no use.
        var fileFaults: [String: String] = [:]
        var isBroken = false
        var echoes = 0
    }

    let node: Mutex<Node>

    init(_ node: Node = Node()) { self.node = Mutex(node) }

    func links() throws(NetlinkFailure) -> [NetworkLink] {
        let node = node.withLock { $0 }
        if node.isBroken { throw NetlinkFailure(request: "list links", errno: EPERM) }
        return node.links
    }

    func isWireGuard(_ link: NetworkLink) -> Bool {
        link.kind == "wireguard" && !node.withLock { $0.disguised.contains(link.name) }
    }

    func device(_ link: NetworkLink) throws(WireGuardFailure) -> WireGuardDevice {
        let node = node.withLock { node in
            node.asked.append(link.name)
            return node
        }
        if node.slow.contains(link.name) { usleep(1_600_000) }
        if node.denied.contains(link.name) {
            throw WireGuardFailure("\(link.name): Permission denied", errno: EACCES)
        }
        if let reason = node.failures[link.name] { throw WireGuardFailure(reason) }
        guard let device = node.devices[link.name] else { throw WireGuardFailure("no such device") }
        return device
    }

    func mishap(_ name: String) throws(WireGuardFailure) -> Mishap? {
        let (mishap, riddle) = node.withLock { node in
            node.missed.append(name)
            let left = node.leftBehind.contains(name) ? "it has left its socket behind" : nil
            return (node.mishaps[name] ?? left, node.riddles[name])
        }
        if let riddle { throw WireGuardFailure(riddle) }
        return mishap.map { Mishap($0, isByUnit: $0.contains("systemd")) }
    }

    func leftBehind(_ isMeant: (String) -> Bool) -> [String] {
        node.withLock { $0.leftBehind }.filter(isMeant).sorted()
    }

    func isStopped(_ name: String) -> Bool { node.withLock { $0.stopped.contains(name) } }

    func quickRuns() -> Set<String> { node.withLock { $0.quickRuns } }

    func way(to address: IPAddress, mark: UInt32) -> NetworkRoutes.Way? {
        node.withLock { node in
            node.questions += 1
            return node.ways[address]
        }
    }

    func routed(_ link: NetworkLink, isV6: Bool) -> [IPPrefix]? { node.withLock { $0.routed } }

    func ranges(inTable table: Int, isV6: Bool) -> [IPPrefix]? {
        node.withLock { $0.tables[table] ?? [] }
    }

    func echo(_ targets: [EchoTarget], limit: Duration) -> [EchoOutcome] {
        node.withLock { node in
            node.echoes += targets.count
            if let code = node.ownTrouble { return targets.map { _ in .impossible(code) } }
            return targets.map {
                node.answering.contains($0.address) ? .answered(after: .milliseconds(1)) : .silent
            }
        }
    }

    func configuration(_ name: String) -> [UInt8]? {
        node.withLock { $0.files[name].map { Array($0.utf8) } }
    }

    func hasConfiguration(_ name: String) -> Bool { node.withLock { $0.files[name] != nil } }

    func configurationFault(_ name: String) -> String? { node.withLock { $0.fileFaults[name] } }
}

/// A key that is none of anybody's.
func key(_ number: Int) -> String {
    let text = String(number)
    return String(repeating: "A", count: 43 - text.count) + text + "="
}

func peer(_ number: Int, _ ranges: String...) -> WireGuardPeer {
    var peer = WireGuardPeer(publicKey: key(number))
    peer.endpoint = "192.0.2.\(number & 255):51820"
    peer.allowedIPs = ranges.compactMap { IPPrefix($0) }
    peer.handshake = at(0).seconds
    return peer
}

func address(_ text: String) -> IPAddress {
    guard let address = IPAddress(text) else { preconditionFailure("\(text) is no address") }
    return address
}

/// Seconds after the tests' beginning.
func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: 1_700_000_000 + seconds) }

extension FakeNetwork.Node {
    /// One interface, `wg0`, with these peers, which answer.
    init(_ peers: WireGuardPeer...) {
        links = [NetworkLink(index: 3, name: "wg0", flags: 0x41, kind: "wireguard")]
        devices["wg0"] = WireGuardDevice(name: "wg0", listenPort: 51820, peers: peers)
        answering = Set(peers.compactMap(EchoChoice.address))
    }
}

extension Sample {
    /// The severity of a symptom; `nil`: there is no such symptom, or it is not known.
    func severity(_ type: String, _ resource: String) -> Severity? {
        symptoms.first { $0.type == type && $0.resource == resource }.flatMap(\.severity)
    }

    /// What is raised, by type and resource.
    var raised: [String: Severity] {
        var raised: [String: Severity] = [:]
        for symptom in symptoms {
            if let severity = symptom.severity, severity > .ok {
                raised["\(symptom.type) \(symptom.resource)"] = severity
            }
        }
        return raised
    }
}

/// A directory that stands in for the node's root, with `/etc/wireguard`; gone with its last user.
final class NodeRoot: Sendable {
    let path: String
    var root: HostRoot { HostRoot(path) }

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/skos-mesh-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path + "/etc/wireguard", withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) throws {
        try text.write(
            toFile: "\(path)/etc/wireguard/\(name)", atomically: false, encoding: .utf8)
    }

    func read(_ name: String) -> String? {
        try? String(contentsOfFile: "\(path)/etc/wireguard/\(name)", encoding: .utf8)
    }

    /// The permissions of a file.
    func mode(_ name: String) -> Int? {
        let attributes = try? FileManager.default.attributesOfItem(
            atPath: "\(path)/etc/wireguard/\(name)")
        return attributes?[.posixPermissions] as? Int
    }

    var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path + "/etc/wireguard")) ?? [])
            .sorted()
    }
}

/// Runs a program to its end.
@discardableResult
func command(_ arguments: String...) throws -> (code: Int32, output: String) {
    let output = try Subprocess(
        "/usr/bin/env", arguments, timeLimit: .seconds(60), outputLimit: 1 << 20
    ).run()
    return (output.exitCode, String(decoding: output.output, as: UTF8.self))
}

/// The same with a list.
func commandList(_ arguments: [String]) throws -> (code: Int32, output: String) {
    let output = try Subprocess(
        "/usr/bin/env", arguments, timeLimit: .seconds(60), outputLimit: 4 << 20
    ).run()
    return (output.exitCode, String(decoding: output.output, as: UTF8.self))
}

/// The toolkit of A's verbs, with patience for a busy machine.
func toolkit(_ tunnels: Tunnels, _ change: (inout Config) -> Void = { _ in }) -> MeshToolkit {
    let root = tunnels.directory.root
    let tool = WireGuardTool(timeLimit: .seconds(60))
    let network = NodeNetwork(
        root: root, socket: WireGuardSocket(timeLimit: .seconds(20)), tool: tool)
    let toolkit = MeshToolkit(root: root, network: network, tool: tool)
    var config = Config()
    config.nats.urls = ["nats://127.0.0.1:4222"]
    change(&config)
    toolkit.apply(config)
    return toolkit
}

/// The steps that were taken.
func steps(_ result: JSON.Object?) -> [String] {
    (result?["steps"]?.array ?? []).compactMap { $0.object?["step"]?.string }
}

extension Tunnels {
    /// Plans and executes in A; the result, or the reason why not.
    func perform(
        _ verb: any Verb, _ resource: String
    ) async throws -> (result: JSON.Object?, reason: String) {
        try await inside(space("a")) {
            do throws(VerbFailure) {
                let plan = try verb.plan(VerbCall(parameters: ["resource": .string(resource)]))
                return (try verb.execute(plan), "")
            } catch { return (nil, error.reason) }
        }
    }
}
