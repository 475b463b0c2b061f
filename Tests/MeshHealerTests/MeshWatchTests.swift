import Antibody
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

/// A module over time: one round of echoes and one look every five seconds.
final class Course {
    let network: FakeNetwork
    let module: MeshModule
    var seconds: Int64 = 0
    var sample = Sample()

    init(_ node: FakeNetwork.Node, config: Config = Config()) {
        network = FakeNetwork(node)
        module = MeshModule(
            network: network, toolkit: MeshToolkit(root: HostRoot(), network: network),
            config: config)
    }

    func look(_ count: Int = 1) async {
        // Peers are asked once they have been seen.
        if seconds == 0 { sample = await module.sample(at: at(0)) }
        for _ in 0..<count {
            seconds += 5
            _ = module.askOnce(at: at(seconds))
            sample = await module.sample(at: at(seconds))
        }
    }

    /// Echoes to a peer are lost until its fault is raised.
    func lose(_ number: Int, _ name: String) async {
        network.node.withLock { _ = $0.answering.remove(address(name)) }
        await look(8)
        #expect(sample.raised.keys.contains("peer_unreachable wg0/\(key(number))"))
    }

    /// The severity with which something is said in the last sample; `nil`: nothing is said.
    func severity(_ type: String, _ resource: String) -> Severity? {
        sample.severity(type, resource)
    }

    func change(_ body: (inout FakeNetwork.Node) -> Void) { network.node.withLock { body(&$0) } }
}

@Suite("What was raised about tunnels")
struct MeshWatchTests {
    private static let one = "wg0/\(key(1))"

    private static func node() -> FakeNetwork.Node {
        .init(peer(1, "10.88.0.2/32"), peer(2, "10.88.0.3/32"))
    }

    @Test(
        "lasts while the interface is down, gone or does not say how it is",
        arguments: ["down", "gone", "hung", "riddle"])
    func lasts(_ kind: String) async {
        let course = Course(Self.node())
        await course.look()
        await course.lose(1, "10.88.0.2")
        course.change { node in
            switch kind {
            case "down": node.links[0].flags = 0
            case "gone": node.mishaps["wg0"] = "it crashed"
            case "riddle": node.riddles["wg0"] = "systemd does not say"
            default: node.failures["wg0"] = "no answer in time"
            }
            if kind == "gone" || kind == "riddle" { node.links = [] }
        }
        // Longer than a coordinator waits for somebody to repeat it.
        for _ in 0..<60 {
            await course.look()
            #expect((course.severity("peer_unreachable", Self.one) ?? .ok) > .ok)
        }
        #expect(course.severity("peer_unreachable", "wg0/\(key(2))") == nil)
        let isKnown = kind == "down" || kind == "gone"
        #expect((course.severity("tunnel_down", "wg0") != nil) == isKnown)
    }

    @Test("is over when somebody removes the interface")
    func removed() async {
        let course = Course(Self.node())
        await course.look()
        await course.lose(1, "10.88.0.2")
        course.change { $0.links = [] }
        await course.look()
        #expect(course.severity("peer_unreachable", Self.one) == .ok)
        #expect(course.sample.raised.isEmpty)
    }

    @Test("lasts while nothing is known of the peer any more")
    func unknown() async {
        let course = Course(Self.node())
        await course.look()
        await course.lose(1, "10.88.0.2")
        course.change { $0.ownTrouble = 24 }
        for _ in 0..<60 {
            await course.look()
            #expect((course.severity("peer_unreachable", Self.one) ?? .ok) > .ok)
            #expect(course.sample.raised.count == 1, "what cannot be asked is not lost")
        }
        // It is asked elsewhere from now on, which proves nothing.
        course.change { node in
            node.ownTrouble = nil
            node.devices["wg0"]?.peers[0].allowedIPs = [IPPrefix("10.88.0.77/32")].compactMap { $0 }
            node.devices["wg0"]?.peers[0].handshake = at(course.seconds).seconds
        }
        for _ in 0..<20 {
            await course.look()
            #expect((course.severity("peer_unreachable", Self.one) ?? .ok) > .ok)
        }
        course.change { $0.answering.insert(address("10.88.0.77")) }
        await course.look()
        #expect(course.sample.raised.isEmpty)
    }

    @Test("lasts over a restart of the agent until the peer answers")
    func restart() async {
        let course = Course(Self.node())
        course.change { $0.answering.remove(address("10.88.0.2")) }
        course.module.recall([
            AlertKeeper.Key(type: "peer_unreachable", resource: Self.one): .warning
        ])
        course.sample = await course.module.sample(at: at(0))
        #expect(course.severity("peer_unreachable", Self.one) == .warning)
        for _ in 0..<60 {
            await course.look()
            #expect((course.severity("peer_unreachable", Self.one) ?? .ok) > .ok)
        }
        #expect(course.severity("peer_unreachable", Self.one) == .critical, "it is judged anew")
        course.change { $0.answering.insert(address("10.88.0.2")) }
        await course.look()
        #expect(course.severity("peer_unreachable", Self.one) == .ok)
    }

    @Test("is over after a restart when what it was about is there no more")
    func vanished() async {
        let course = Course(Self.node())
        let things = [
            ("peer_unreachable", "wg0/\(key(9))"), ("config_drift", "wg0/\(key(8))"),
            ("tunnel_down", "wg7"), ("endpoint_moved", "wg7/\(key(1))"),
        ]
        course.module.recall(
            Dictionary(
                uniqueKeysWithValues: things.map { type, resource in
                    (AlertKeeper.Key(type: type, resource: resource), Severity.warning)
                }))
        course.sample = await course.module.sample(at: at(0))
        for (type, resource) in things { #expect(course.severity(type, resource) == .ok) }
        #expect(course.sample.raised.isEmpty)
    }

    @Test("an interface that crashed while the agent was down is gone, and not removed")
    func crashedMeanwhile() async {
        let course = Course(.init())
        course.change { $0.mishaps["wg0"] = "it crashed" }
        course.module.recall([
            AlertKeeper.Key(type: "peer_unreachable", resource: Self.one): .warning
        ])
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .critical)
        #expect(course.severity("peer_unreachable", Self.one) == .warning)
    }

    @Test("settings that mean an interface no longer make nothing gone")
    func narrowed() async {
        let course = Course(Self.node())
        course.change { $0.mishaps["wg0"] = "systemd's wg-quick@wg0.service is active" }
        await course.look()
        await course.lose(1, "10.88.0.2")
        var config = Config()
        config.mesh.interfaces = ["wg1*"]
        course.module.apply(config)
        await course.look()
        #expect(course.sample.raised.isEmpty)
        #expect(course.severity("peer_unreachable", Self.one) == .ok)
        course.change { $0.links = [] }
        await course.look()
        #expect(course.sample.raised.isEmpty)
        #expect(course.network.node.withLock { $0.missed }.isEmpty)
    }

    @Test("an interface whose socket was deleted is not gone, and its peers are unknown")
    func disguised() async {
        let course = Course(Self.node())
        course.change { $0.mishaps["wg0"] = "it crashed" }
        await course.look()
        await course.lose(1, "10.88.0.2")
        course.change { $0.disguised = ["wg0"] }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == nil)
        #expect((course.severity("peer_unreachable", Self.one) ?? .ok) > .ok)
    }

    @Test("an interface that was removed is asked after for a while, and then no more")
    func missed() async {
        let course = Course(Self.node())
        await course.look()
        course.change { $0.links = [] }
        await course.look(200)
        #expect(course.network.node.withLock { $0.missed.count } == 10)
    }

    @Test("an interface that says nothing, and through which nothing comes, hangs")
    func hung() async {
        let course = Course(Self.node())
        await course.look(2)
        course.change { $0.failures["wg0"] = "no answer in time" }
        await course.look(8)
        #expect(course.severity("tunnel_down", "wg0") == nil, "echoes are answered all the while")
        course.change { $0.answering = [] }
        await course.look(4)
        #expect(course.severity("tunnel_down", "wg0") == nil)
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == .critical)
        let details = course.sample.symptoms.first { $0.type == "tunnel_down" }?.details
        #expect(details?["cause"] == "hung")
        course.change { node in
            node.failures = [:]
            node.answering = [address("10.88.0.2"), address("10.88.0.3")]
        }
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test(
        "one that has never said anything hangs when nobody whom its file names answers",
        arguments: [
            (true, false, false, true), (true, true, false, false), (false, false, false, false),
            (true, false, true, false),
        ])
    func hungBefore(
        _ hasFile: Bool, _ isAnswered: Bool, _ isDenied: Bool, _ isHung: Bool
    ) async {
        var node = Self.node()
        if isDenied { node.denied = ["wg0"] } else { node.failures["wg0"] = "no answer in time" }
        if !isAnswered { node.answering = [] }
        if hasFile {
            node.files["wg0"] = "[Peer]\nPublicKey = \(key(1))\nAllowedIPs = 10.88.0.2/32\n"
        }
        let course = Course(node)
        await course.look(4)
        #expect(course.sample.raised.isEmpty)
        await course.look(4)
        #expect((course.sample.raised["tunnel_down wg0"] == .critical) == isHung)
        course.change { node in
            node.failures = [:]
            node.denied = []
            node.answering = [address("10.88.0.2"), address("10.88.0.3")]
        }
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test("one that could not be asked for want of the machine's own hangs not")
    func notHung() async {
        let course = Course(Self.node())
        await course.look(2)
        course.change { node in
            node.failures["wg0"] = "no answer in time"
            node.ownTrouble = 24
        }
        await course.look(20)
        #expect(course.severity("tunnel_down", "wg0") == nil)
    }
}

@Suite("Many peers at once")
struct CrowdTests {
    /// Two interfaces with many peers each.
    private static func node(_ count: Int) -> FakeNetwork.Node {
        var node = FakeNetwork.Node()
        for (place, name) in ["wg0", "wg1"].enumerated() {
            node.links.append(
                NetworkLink(
                    index: Int32(3 + place), name: name, flags: 0x41, kind: "wireguard"))
            let peers = (0..<count).map { peer($0, "10.\(place).\($0 >> 8).\($0 & 255)/32") }
            node.devices[name] = WireGuardDevice(name: name, peers: peers)
            node.answering.formUnion(peers.compactMap(EchoChoice.address))
        }
        return node
    }

    @Test("the loss of hundreds is some alerts and one, and hides no tunnel that goes down")
    func hundreds() async {
        var config = Config()
        // Routes depend on the last of them: it is never one of many.
        var route = Config.FailoverRoute(prefix: "10.77.0.0/24", device: "eth1")
        route.peer = key(199)
        config.local.mesh.routes = [route]
        let course = Course(Self.node(200), config: config)
        await course.look(8)
        #expect(course.sample.raised.isEmpty)
        let all = course.network.node.withLock { $0.answering }
        course.change { $0.answering = [] }
        await course.look(16)
        var raised = course.sample.raised
        let counts = ["wg0", "wg1"].map { name in
            raised.keys.count { $0.hasPrefix("peer_unreachable \(name)/") }
        }
        #expect(counts.allSatisfy { $0 >= MeshWatch.leastFaults }, "\(counts)")
        #expect(counts.max() ?? 0 >= MeshWatch.faultLimit, "\(counts)")
        // Those that routes depend on are raised in any case.
        let limit = MeshWatch.faultLimit + MeshWatch.leastFaults + 2
        #expect(counts.reduce(0, +) <= limit, "\(counts)")
        for name in ["wg0", "wg1"] {
            #expect(raised["peer_unreachable \(name)/\(key(199))"] != nil)
        }
        let crowd = course.sample.symptoms.last {
            $0.type == "peer_unreachable" && $0.resource == "wg0"
        }
        #expect(crowd?.details["peers"] == .integer(Int64(200 - counts[0])))
        #expect(crowd?.details["examples"]?.array?.count == 8)
        #expect(crowd?.details["cause"] == "local_send")
        // A tunnel that goes down is told first.
        course.change { $0.links[1].flags = 0 }
        await course.look()
        #expect(course.sample.symptoms.prefix(2).map(\.type) == ["tunnel_down", "tunnel_down"])
        raised = course.sample.raised
        #expect(raised["tunnel_down wg1"] == .critical)
        #expect(raised["peer_unreachable wg1"] != nil, "it lasts")
        course.change { node in
            node.links[1].flags = 0x41
            node.answering = all
        }
        await course.look(6)
        #expect(course.sample.raised.isEmpty)
        #expect(course.severity("peer_unreachable", "wg0") == nil, "it was cleared before")
    }

    @Test("no more is raised than there is room for, and the heartbeat says so")
    func room() async {
        var node = FakeNetwork.Node()
        for place in 0..<80 {
            let name = "wg\(place)"
            node.links.append(
                NetworkLink(
                    index: Int32(3 + place), name: name, flags: 0x41, kind: "wireguard"))
            let peers = (0..<4).map { peer($0, "10.\(place).0.\($0)/32") }
            node.devices[name] = WireGuardDevice(name: name, peers: peers)
        }
        let course = Course(node)
        await course.look()
        course.change { node in
            for name in node.devices.keys {
                for index in 0..<4 { node.devices[name]?.peers[index].handshake = 1 }
            }
        }
        await course.look(24)
        #expect(course.sample.raised.count == MeshWatch.alertLimit)
        #expect((course.sample.metadata["alerts_omitted"]?.integer ?? 0) > 0)
    }

    @Test("ways are asked for few peers, and not for the peers of a hub")
    func questions() async {
        for (count, limit) in [(64, 256), (200, 0)] {
            let course = Course(Self.node(count))
            _ = await course.module.sample(at: at(0))
            #expect(course.network.node.withLock { $0.questions } <= limit)
        }
    }

    @Test("two rounds without an answer are enough for ping_peer")
    func ping() throws {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))
        node.answering = []
        let network = FakeNetwork(node)
        let verb = PingPeer(toolkit: MeshToolkit(root: HostRoot(), network: network))
        let plan = try verb.plan(VerbCall(parameters: ["resource": .string("wg0/\(key(1))")]))
        let failure = #expect(throws: VerbFailure.self) { try verb.execute(plan) }
        #expect(failure?.reason.contains("none of 2 echoes") == true)
        #expect(network.node.withLock { $0.echoes } == 2)
        network.node.withLock { $0.answering = [address("10.88.0.2")] }
        #expect(try verb.execute(plan)["answering"] == 1)
        #expect(network.node.withLock { $0.echoes } == 2 + PingPeer.count)
    }
}
