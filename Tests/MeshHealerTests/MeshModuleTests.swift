import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

@Suite("The module mesh")
struct MeshModuleTests {
    private func module(_ network: FakeNetwork, _ config: Config = Config()) -> MeshModule {
        MeshModule(
            network: network, toolkit: MeshToolkit(root: HostRoot(), network: network),
            config: config)
    }

    private static let one = "wg0/\(key(1))"

    @Test("is called as the command line calls it")
    func name() {
        let module = MeshModule(hostRoot: HostRoot(), config: Config())
        #expect(module.name == "mesh")
        #expect(
            Set(module.verbs().map(\.name)) == [
                "ping_peer", "resolve_endpoint", "restart_wireguard", "regenerate_config",
                "failover_route",
            ])
    }

    @Test("a node without tunnels has nothing to say")
    func nothing() async {
        let sample = await module(FakeNetwork()).sample(at: at(0))
        #expect(sample.symptoms.isEmpty)
        #expect(sample.metadata["interfaces"] == [])
    }

    @Test("a tunnel that is switched off is down; its peers are not known meanwhile")
    func down() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let module = module(network)
        #expect(await module.sample(at: at(0)).severity("tunnel_down", "wg0") == .ok)
        network.node.withLock { $0.links[0].flags = 0 }
        let sample = await module.sample(at: at(5))
        #expect(sample.raised == ["tunnel_down wg0": .critical])
        #expect(sample.severity("peer_unreachable", Self.one) == nil)
        network.node.withLock { $0.links[0].flags = 0x41 }
        #expect(await module.sample(at: at(10)).severity("tunnel_down", "wg0") == .ok)
    }

    @Test("a tunnel that goes by mishap is down; one that somebody removes is not")
    func gone() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let module = module(network)
        _ = await module.sample(at: at(0))
        network.node.withLock {
            $0.links = []
            $0.mishaps["wg0"] = "it crashed"
        }
        #expect(await module.sample(at: at(5)).raised == ["tunnel_down wg0": .critical])
        let other = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let calm = self.module(other)
        _ = await calm.sample(at: at(0))
        other.node.withLock { $0.links = [] }
        #expect(await calm.sample(at: at(5)).severity("tunnel_down", "wg0") == .ok)
    }

    @Test("an interface that the settings name must be there; a pattern asks for none")
    func named() async {
        var config = Config()
        config.mesh.interfaces = ["wg7", "tun*"]
        let sample = await module(FakeNetwork(), config).sample(at: at(0))
        #expect(sample.raised == ["tunnel_down wg7": .critical])
    }

    @Test("interfaces of other names, and of other kinds, are left alone")
    func others() async {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))
        node.links += [
            NetworkLink(index: 4, name: "wgx", flags: 0, kind: "dummy"),
            NetworkLink(index: 5, name: "vpn0", flags: 0, kind: "wireguard"),
        ]
        let sample = await module(FakeNetwork(node)).sample(at: at(0))
        #expect(sample.raised.isEmpty)
        #expect(sample.metadata["interfaces"]?.array?.count == 1)
    }

    @Test("a peer that falls silent is raised and cleared, its neighbour is not touched")
    func silent() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32"), peer(2, "10.88.0.3/32")))
        let module = module(network)
        var seconds: Int64 = 0
        func look() async -> Sample {
            seconds += 5
            _ = module.askOnce(at: at(seconds))
            return await module.sample(at: at(seconds))
        }
        _ = await module.sample(at: at(0))
        var sample = await look()
        #expect(sample.severity("peer_unreachable", Self.one) == .ok)
        network.node.withLock { _ = $0.answering.remove(address("10.88.0.2")) }
        for _ in 0..<5 {
            network.node.withLock { $0.devices["wg0"]?.peers[0].sent += 148 }
            sample = await look()
        }
        #expect(sample.raised == ["peer_unreachable \(Self.one)": .warning])
        for _ in 0..<40 { sample = await look() }
        #expect(sample.raised == ["peer_unreachable \(Self.one)": .critical])
        let entry = sample.metadata["peers"]?.array?.first?.object
        #expect(entry?["state"] == "peer_unreachable", "those with faults come first")
        network.node.withLock { _ = $0.answering.insert(address("10.88.0.2")) }
        sample = await look()
        #expect(sample.severity("peer_unreachable", Self.one) == .ok)
    }

    @Test("an agent that may not read its tunnels says so, and one that may does not")
    func denied() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let module = module(network)
        #expect(await module.sample(at: at(0)).metadata["obstacle"] == nil)
        network.node.withLock { $0.denied = ["wg0"] }
        let sample = await module.sample(at: at(5))
        let obstacle = sample.metadata["obstacle"]?.string ?? ""
        #expect(obstacle.contains("may not read wg0,"), "\(obstacle)")
        #expect(obstacle.contains("wg0: Permission denied"), "\(obstacle)")
        #expect(sample.raised.isEmpty)
    }

    @Test("a key that cannot be read is told from one that is not there", arguments: [true, false])
    func unreadKey(_ isDenied: Bool) throws {
        let root = try NodeRoot()
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        if isDenied {
            network.node.withLock { $0.denied = ["wg0"] }
            // Nobody can read it as a file, not even root.
            try FileManager.default.createDirectory(
                atPath: root.path + "/etc/wireguard/wg0.conf", withIntermediateDirectories: false)
        }
        let toolkit = MeshToolkit(
            root: root.root, network: network, tool: WireGuardTool(program: "/nonexistent/wg"))
        var config = Config()
        config.local.mesh.restart = ["wg*"]
        toolkit.apply(config)
        let verb = RegenerateConfig(toolkit: toolkit)
        var reason = ""
        do throws(VerbFailure) {
            _ = try verb.plan(VerbCall(parameters: ["resource": "wg0"]))
        } catch { reason = error.reason }
        #expect(reason.contains("could not be read") == isDenied, "\(reason)")
        #expect(reason.contains("wg0: Permission denied; ") == isDenied, "\(reason)")
        #expect(reason.contains("is neither in the interface") != isDenied, "\(reason)")
    }

    @Test("a wg that fails says nothing about peers, and clears nothing")
    func failing() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let module = module(network)
        _ = await module.sample(at: at(0))
        network.node.withLock { $0.failures["wg0"] = "wg did not end in time and was killed" }
        let sample = await module.sample(at: at(5))
        #expect(sample.raised.isEmpty)
        #expect(sample.symptoms.allSatisfy { $0.severity == nil })
        let entry = sample.metadata["interfaces"]?.array?.first?.object
        #expect(entry?["reason"]?.string?.contains("killed") == true)
        network.node.withLock { $0.isBroken = true }
        let broken = await module.sample(at: at(10))
        #expect(broken.symptoms.isEmpty)
        #expect(broken.metadata["mesh_failure"]?.string?.contains("EPERM") == true)
    }

    @Test("a difference from the file is said when it lasts, and cleared when it is gone")
    func drift() async {
        var node = FakeNetwork.Node(peer(1, "10.88.0.9/32"))
        node.files["wg0"] = """
            [Interface]
            PrivateKey = \(key(77))
            [Peer]
            PublicKey = \(key(1))
            AllowedIPs = 10.88.0.2/32
            Endpoint = 192.0.2.1:51820
            """
        let network = FakeNetwork(node)
        let module = module(network)
        #expect(await module.sample(at: at(0)).raised.isEmpty)
        #expect(await module.sample(at: at(10)).raised.isEmpty)
        let sample = await module.sample(at: at(15))
        #expect(sample.raised == ["config_drift \(Self.one)": .warning])
        #expect(!"\(sample)".contains(key(77)))
        network.node.withLock {
            $0.devices["wg0"]?.peers[0].allowedIPs = ["10.88.0.2/32"].compactMap { IPPrefix($0) }
        }
        #expect(await module.sample(at: at(20)).severity("config_drift", Self.one) == .ok)
    }

    @Test(
        "a file that says nothing, or nonsense, is one difference of the interface",
        arguments: ["this is not a configuration\n", "[Interface]\nListenPort = 7\n", ""])
    func spoilt(_ text: String) async {
        let peers = [peer(1, "10.88.0.2/32"), peer(2, "10.88.0.3/32")]
        var node = FakeNetwork.Node(peers[0], peers[1])
        node.files["wg0"] = text
        let network = FakeNetwork(node)
        let module = module(network)
        #expect(await module.sample(at: at(0)).raised.isEmpty)
        #expect(await module.sample(at: at(10)).raised.isEmpty)
        let sample = await module.sample(at: at(15))
        #expect(sample.raised == ["config_drift wg0": .warning])
        let message = sample.symptoms.first { $0.type == "config_drift" }?.message
        #expect(message?.contains("not a configuration") == false)
        network.node.withLock { node in
            node.files["wg0"] = peers.map {
                "[Peer]\nPublicKey = \($0.publicKey)\nAllowedIPs = \($0.allowedIPs[0])\n"
            }.joined()
        }
        #expect(await module.sample(at: at(20)).severity("config_drift", "wg0") == .ok)
    }

    @Test("a file that has gone, or cannot be read, is a difference while it is to be there")
    func fileFault() async {
        let network = FakeNetwork(.init(peer(1, "10.88.0.2/32")))
        let module = module(network)
        network.node.withLock { $0.fileFaults["wg0"] = "it is not there, and its template is" }
        _ = await module.sample(at: at(0))
        #expect(await module.sample(at: at(15)).raised == ["config_drift wg0": .warning])
        network.node.withLock { $0.fileFaults = [:] }
        #expect(await module.sample(at: at(20)).severity("config_drift", "wg0") == .ok)
    }

    @Test("a file that is written from what runs is never differed from")
    func saved() async {
        var node = FakeNetwork.Node(peer(1, "10.88.0.9/32"))
        node.files["wg0"] = """
            [Interface]
            SaveConfig = true
            Address = 10.88.0.1/24
            [Peer]
            PublicKey = \(key(1))
            AllowedIPs = 10.88.0.2/32
            """
        let network = FakeNetwork(node)
        let module = module(network)
        for second in stride(from: Int64(0), to: 60, by: 5) {
            #expect(await module.sample(at: at(second)).raised.isEmpty)
        }
        network.node.withLock { node in
            node.files["wg0"] = node.files["wg0"]?.replacingOccurrences(of: "true", with: "false")
        }
        _ = await module.sample(at: at(60))
        #expect(await module.sample(at: at(75)).raised == ["config_drift \(Self.one)": .warning])
        network.node.withLock { node in
            node.files["wg0"] = node.files["wg0"]?.replacingOccurrences(of: "false", with: "true")
        }
        #expect(await module.sample(at: at(80)).severity("config_drift", Self.one) == .ok)
    }

    @Test("a peer that never was here, and to which nothing leads, is missed by nobody")
    func newcomer() async {
        var new = peer(9, "10.66.0.0/24")
        new.endpoint = nil
        new.handshake = 0
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"), new)
        node.ways[address("10.66.0.1")] = .nowhere(101)
        let course = Course(node)
        await course.look(20)
        #expect(course.sample.raised.isEmpty)
    }

    @Test("a route that is lost from a table of its own is a difference; another's there is not")
    func table() async throws {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32", "10.66.0.0/16"))
        node.files["wg0"] = """
            [Interface]
            Address = 10.88.0.1/24
            Table = 1234
            [Peer]
            PublicKey = \(key(1))
            AllowedIPs = 10.88.0.2/32, 10.66.0.0/16
            Endpoint = 192.0.2.1:51820
            """
        let ranges = ["10.88.0.2/32", "10.66.0.0/16"].compactMap { IPPrefix($0) }
        node.tables[1234] = ranges
        // Only in other tables.
        node.routed = []
        let network = FakeNetwork(node)
        let module = module(network)
        _ = await module.sample(at: at(0))
        #expect(await module.sample(at: at(20)).raised.isEmpty)
        network.node.withLock { $0.tables[1234] = [ranges[0]] }
        _ = await module.sample(at: at(25))
        let sample = await module.sample(at: at(40))
        #expect(sample.raised == ["config_drift \(Self.one)": .warning])
        let drift = sample.symptoms.first { $0.type == "config_drift" }
        #expect(drift?.details["not_routed"] == ["10.66.0.0/16"])
    }

    @Test("what was raised about a peer that is taken out is over")
    func removed() async {
        var node = FakeNetwork.Node(peer(1, "10.88.0.9/32"), peer(2, "10.88.0.3/32"))
        node.ways[address("10.88.0.9")] = .nowhere(22)
        let network = FakeNetwork(node)
        let module = module(network)
        _ = await module.sample(at: at(0))
        _ = module.askOnce(at: at(1))
        #expect(
            await module.sample(at: at(5)).raised == ["peer_unreachable \(Self.one)": .warning])
        network.node.withLock { _ = $0.devices["wg0"]?.peers.removeFirst() }
        let sample = await module.sample(at: at(10))
        #expect(sample.severity("peer_unreachable", Self.one) == .ok)
    }

    @Test("five thousand peers are bounded: those judged, those asked, those listed")
    func many() async {
        var node = FakeNetwork.Node()
        node.links = [NetworkLink(index: 3, name: "wg0", flags: 0x41, kind: "wireguard")]
        let peers = (0..<5000).map { peer($0, "10.\($0 >> 8).\($0 & 255).1/32") }
        node.devices["wg0"] = WireGuardDevice(name: "wg0", peers: peers)
        let network = FakeNetwork(node)
        let module = module(network)
        let sample = await module.sample(at: at(0))
        #expect(sample.symptoms.count <= MeshWatch.peerLimit * 6 + 1)
        #expect(sample.metadata["peers"]?.array?.count == 64)
        #expect(sample.metadata["peers_omitted"] == 4936)
        #expect(JSON.object(sample.metadata).encoded.count < 32 * 1024)
        _ = module.askOnce(at: at(1))
        #expect(network.node.withLock { $0.echoes } == EchoProbe.targetLimit)
    }

    @Test(
        "which address is asked",
        arguments: [
            (["10.0.0.0/24", "10.88.0.2/32"], "10.88.0.2"), (["10.20.0.0/16"], "10.20.0.1"),
            (["10.0.0.2/31"], "10.0.0.2"), (["0.0.0.0/0"], nil),
            (["::/0", "fd00::/64"], "fd00::1"),
            ([], nil),
        ])
    func choice(_ ranges: [String], _ wanted: String?) {
        var peer = WireGuardPeer(publicKey: key(1))
        peer.allowedIPs = ranges.compactMap { IPPrefix($0) }
        #expect(EchoChoice.address(peer)?.description == wanted)
    }
}
