import Antibody
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

@Suite("A node in want of something")
struct WantTests {
    @Test("nothing is moved or called silent because this process can send no echo")
    func verbs() throws {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))
        node.ownTrouble = 24
        let network = FakeNetwork(node)
        let toolkit = MeshToolkit(root: HostRoot(), network: network)
        var config = Config()
        var route = Config.FailoverRoute(prefix: "10.77.0.0/24", device: "eth1")
        route.peer = key(1)
        config.local.mesh.routes = [route]
        toolkit.apply(config)
        let call = VerbCall(parameters: ["resource": .string("wg0/\(key(1))")])
        let ping = PingPeer(toolkit: toolkit)
        let plan = try ping.plan(call)
        for failure in [
            #expect(throws: VerbFailure.self) { try FailoverRoute(toolkit: toolkit).plan(call) },
            #expect(throws: VerbFailure.self) { try ping.execute(plan) },
        ] {
            #expect(failure?.isTransient == true)
            #expect(failure?.reason.contains("can send no echo") == true)
        }
    }

    @Test("interfaces that do not answer blind nobody to the others")
    func slow() async {
        var node = FakeNetwork.Node()
        for place in 0..<5 {
            let name = "wg\(place)"
            node.links.append(
                NetworkLink(
                    index: Int32(3 + place), name: name, flags: 0x41, kind: "wireguard"))
            node.devices[name] = WireGuardDevice(name: name)
            guard place < 4 else { continue }
            node.failures[name] = "no answer in time"
            node.slow.insert(name)
        }
        let course = Course(node)
        var all: Set<String> = []
        // Three looks are enough, unless this thread sleeps for longer than an interface does.
        for _ in 0..<5 where !all.contains("wg4") {
            course.change { $0.asked = [] }
            course.sample = await course.module.sample(at: at(course.seconds))
            let asked = course.network.node.withLock { $0.asked }
            #expect((1...3).contains(asked.count) && asked.count { $0 != "wg4" } <= 2, "\(asked)")
            all.formUnion(asked)
            #expect(course.sample.raised.isEmpty)
        }
        #expect(course.severity("tunnel_down", "wg4") == .ok)
    }

    @Test("what runs otherwise than a file says is over when there is no file any more")
    func unwritten() async {
        let course = Course(.init(peer(1, "10.88.0.2/32")))
        let name = "wg0/\(key(1))"
        course.change {
            $0.files["wg0"] = "[Peer]\nPublicKey = \(key(1))\nAllowedIPs = 10.88.0.9/32\n"
        }
        await course.look(5)
        #expect(course.severity("config_drift", name) == .warning)
        course.change { $0.files["wg0"] = "[Nonsense" }
        await course.look(2)
        #expect(course.severity("config_drift", name) == .warning, "nothing is known to be over")
        course.change { $0.files = [:] }
        await course.look()
        #expect(course.severity("config_drift", name) == .ok)
    }
}
