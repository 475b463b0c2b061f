import Antibody
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

@Suite("Interfaces that have gone")
struct LossTests {
    private static let crash = Mishap("it crashed")
    private static let unit = Mishap("its unit is active", isByUnit: true)

    private static func node() -> FakeNetwork.Node {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))
        node.files["wg0"] =
            "[Interface]\nAddress = 10.88.0.1/24\n[Peer]\nPublicKey = \(key(1))\n"
            + "AllowedIPs = 10.88.0.2/32\nEndpoint = 192.0.2.1:51820\n"
        return node
    }

    /// A node whose only interface has crashed, and that interface.
    private static func crashed() async -> (Course, NetworkLink) {
        let course = Course(node())
        await course.look()
        let link = course.network.node.withLock { $0.links[0] }
        course.change { node in
            node.links = []
            node.mishaps["wg0"] = "it crashed"
        }
        await course.look()
        return (course, link)
    }

    /// One look after another: what is seen, and whether it is lost then.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var looks: [(mishap: Mishap?, hasFile: Bool, isStopped: Bool, isLost: Bool)]
    }

    @Test(
        "are lost until somebody has given them up",
        arguments: [
            Case(testDescription: "removed in order", looks: [(nil, true, false, false)]),
            Case(
                testDescription: "somebody runs wg show",
                looks: [(crash, true, false, true), (nil, true, false, true)]),
            Case(
                testDescription: "the same without a file",
                looks: [(crash, false, false, true), (nil, false, false, true)]),
            Case(
                testDescription: "the file is taken away",
                looks: [
                    (crash, true, false, true), (crash, false, false, true),
                    (nil, false, false, false),
                ]),
            Case(
                testDescription: "the unit fails to start again",
                looks: [(unit, true, false, true), (nil, true, false, true)]),
            Case(
                testDescription: "the unit is stopped",
                looks: [(unit, true, false, true), (nil, true, true, false)]),
            Case(
                testDescription: "a unit that never was is not stopped",
                looks: [(crash, true, true, true), (nil, true, true, true)]),
            Case(
                testDescription: "a crash, and then the unit is stopped",
                looks: [
                    (crash, true, false, true), (unit, true, false, true), (nil, true, true, false),
                ]),
        ])
    func table(_ course: Case) {
        var loss: Loss?
        for look in course.looks {
            loss = Loss.now(
                loss, look.mishap, hasFile: look.hasFile, isStopped: look.isStopped)
            #expect((loss != nil) == look.isLost)
        }
    }

    @Test("stay gone when the traces vanish, and are back when they are there")
    func traces() async {
        let (course, link) = await Self.crashed()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        course.change { $0.mishaps = [:] }
        await course.look(30)
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        // What is there for a moment is not back, amid somebody's wg-quick.
        course.change { $0.links = [link] }
        await course.look(2)
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        course.change { $0.links = [] }
        await course.look()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        course.change { $0.links = [link] }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == .ok)
        // Who removes it now has meant to.
        course.change { $0.links = [] }
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test("that are being made are neither well nor forgotten until that is through")
    func unfinished() async {
        let (course, link) = await Self.crashed()
        let toolkit = course.module.toolkit
        toolkit.begin("wg0")
        course.change { node in
            node.links = [link]
            node.mishaps = [:]
        }
        await course.look(20)
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        // It fails, and what it has made goes with it.
        course.change { $0.links = [] }
        await course.look()
        toolkit.end("wg0")
        await course.look()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        toolkit.begin("wg0")
        course.change { $0.links = [link] }
        await course.look()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        toolkit.end("wg0", made: link)
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test("that somebody is just making are not switched off; those that stay so are")
    func halfBuilt() async {
        let course = Course(Self.node())
        await course.look()
        var link = NetworkLink(index: 7, name: "wg1", flags: 0, kind: "wireguard")
        course.change { node in
            node.links.append(link)
            node.devices["wg1"] = WireGuardDevice(name: "wg1", listenPort: 1, peers: [])
        }
        await course.look(23)
        #expect(course.severity("tunnel_down", "wg1") == nil)
        #expect(course.sample.raised.isEmpty)
        await course.look(2)
        #expect(course.severity("tunnel_down", "wg1") == .critical)
        // Made once more under the same name it is another one; and off after it was on, it is off at once.
        link.index = 8
        course.change { $0.links[1] = link }
        await course.look(20)
        course.change { $0.links[1].flags = 0x41 }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg1") == .ok)
        course.change { $0.links[1].flags = 0 }
        await course.look()
        #expect(course.severity("tunnel_down", "wg1") == .critical)
    }

    @Test("that were off when the agent was started are so after a moment, whatever the clock does")
    func first() async {
        var node = Self.node()
        node.links[0].flags = 0
        let course = Course(node)
        #expect(await course.module.sample(at: at(1000)).raised.isEmpty)
        #expect(await course.module.sample(at: at(10)).raised.isEmpty)
        #expect(await course.module.sample(at: at(24)).raised.isEmpty)
        #expect(await course.module.sample(at: at(25)).raised == ["tunnel_down wg0": .critical])
    }

    @Test(
        "before the agent was started are gone while their file is there", arguments: [true, false])
    func recalled(_ hasFile: Bool) async {
        var node = Self.node()
        node.links = []
        if !hasFile { node.files = [:] }
        let course = Course(node)
        course.module.recall([
            AlertKeeper.Key(type: "tunnel_down", resource: "wg0"): .critical
        ])
        await course.look(20)
        #expect(course.severity("tunnel_down", "wg0") == (hasFile ? .critical : nil))
    }
}
