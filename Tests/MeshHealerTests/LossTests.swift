import Antibody
import Glibc
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

    static func node() -> FakeNetwork.Node {
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

    /// The agent begins to make an interface, and it is there.
    private static func remake(_ link: NetworkLink, _ course: Course) -> MeshToolkit {
        course.module.toolkit.begin("wg0")
        course.change { node in
            node.links = [link]
            node.mishaps = [:]
        }
        return course.module.toolkit
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
        let toolkit = Self.remake(link, course)
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

    /// A program that goes on after the action that has started it.
    private static func endless() throws -> pid_t {
        var child: pid_t = 0
        let program = Subprocess("/usr/bin/env", ["sleep", "600"], timeLimit: .milliseconds(10))
        _ = try program.complete { running in
            child = running
            return true
        }
        return child
    }

    @Test(
        "that are made are back although what made them goes on; if it fails yet, they are lost again"
    )
    func goesOn() async throws {
        let (course, link) = await Self.crashed()
        let child = try Self.endless()
        defer { kill(child, SIGKILL) }
        let toolkit = Self.remake(link, course)
        await course.look(4)
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
        toolkit.end("wg0", made: link, running: child)
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
        // Somebody switches it off: whoever made it is not about to switch it on.
        course.change { $0.links[0].flags = 0 }
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .critical)
        course.change { $0.links[0].flags = 0x41 }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == .ok)
        // It fails, and takes away what it has made.
        course.change { $0.links = [] }
        kill(child, SIGKILL)
        for _ in 0..<6000 where Subprocess.goesOn(child) { usleep(10_000) }
        await course.look()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
    }

    @Test("that are made and of no use are not back while what made them goes on")
    func isOfNoUse() async throws {
        let (course, link) = await Self.crashed()
        let child = try Self.endless()
        defer { kill(child, SIGKILL) }
        course.module.toolkit.end("wg0", running: child)
        course.change { node in
            node.links = [link]
            node.mishaps = [:]
        }
        await course.look(10)
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
    }

    /// What an agent finds at its first look, and what somebody does ten seconds later.
    struct Leftover: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var name = "wg0"
        var pattern = "wg*"
        var hasFile = true
        var change: @Sendable (inout FakeNetwork.Node) -> Void = { _ in }
        var isLost = true
    }

    static let leftovers = [
        Leftover(testDescription: "nobody does anything"),
        Leftover(testDescription: "somebody runs wg show", change: { $0.leftBehind = [] }),
        Leftover(testDescription: "it is named", pattern: "wg0"),
        Leftover(testDescription: "it has no file", hasFile: false, isLost: false),
        Leftover(testDescription: "it is none of the watched ones", name: "x0", isLost: false),
        Leftover(
            testDescription: "somebody gives it up",
            change: { node in
                node.leftBehind = []
                node.files = [:]
            }, isLost: false),
        Leftover(
            testDescription: "somebody makes it anew",
            change: { node in
                let other = LossTests.node()
                (node.links, node.devices, node.leftBehind) = (other.links, other.devices, [])
            }, isLost: false),
    ]

    @Test("before the agent's first look are told from what they have left", arguments: leftovers)
    func leftBehind(_ leftover: Leftover) async {
        var node = FakeNetwork.Node()
        node.leftBehind = [leftover.name]
        if leftover.hasFile { node.files[leftover.name] = "[Interface]\n" }
        var config = Config()
        config.mesh.interfaces = [leftover.pattern]
        let course = Course(node, config: config)
        // Somebody may be starting it together with the agent; what is named must be there.
        await course.look(2)
        #expect(course.sample.raised.isEmpty == (leftover.pattern == "wg*"))
        course.change(leftover.change)
        await course.look(4)
        let isLost = course.sample.raised["tunnel_down \(leftover.name)"] == .critical
        #expect(isLost == leftover.isLost)
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

    @Test("before the first look last until their program has a socket again")
    func leftBehindAndMade() async {
        var node = FakeNetwork.Node()
        node.leftBehind = ["wg0"]
        node.files["wg0"] = "[Interface]\n"
        let course = Course(node)
        await course.look(4)
        #expect(course.sample.raised == ["tunnel_down wg0": .critical])
        course.change { node in
            node.links = [NetworkLink(index: 9, name: "wg0", flags: 0, kind: "tun")]
            node.leftBehind = []
        }
        await course.look()
        #expect(course.sample.raised == ["tunnel_down wg0": .critical])
        course.change { node in
            (node.links, node.devices) = (Self.node().links, Self.node().devices)
        }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test("that somebody makes anew are not switched off before their program has a socket")
    func restarted() async {
        let course = Course(Self.node())
        await course.look()
        var link = NetworkLink(index: 9, name: "wg0", flags: 0, kind: "wireguard")
        course.change { node in
            node.links = [link]
            node.disguised = ["wg0"]
        }
        await course.look()
        #expect(course.sample.raised.isEmpty)
        link.flags = 0x41
        course.change { node in
            node.links = [link]
            node.disguised = []
        }
        await course.look(3)
        #expect(course.severity("tunnel_down", "wg0") == .ok)
        // Off once it was on it is off, whether its program has a socket or not.
        course.change { node in
            node.links[0].flags = 0
            node.disguised = ["wg0"]
        }
        await course.look()
        #expect(course.sample.raised["tunnel_down wg0"] == .critical)
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
