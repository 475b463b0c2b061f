import Antibody
import Platform
import Protocol
import Settings
import Testing

@testable import MeshHealer

@Suite("More peers than there is room for")
struct PeerChoiceTests {
    /// An interface with peers of these numbers, of whom those in `known` are somewhere.
    private static func device(
        _ name: String, _ numbers: some Sequence<Int>, somewhere: Set<Int> = []
    ) -> WireGuardDevice {
        let peers = numbers.map { number in
            var one = peer(number, "10.\(number >> 8).\(number & 255).1/32")
            if !somewhere.contains(number) { (one.endpoint, one.handshake) = (nil, 0) }
            return one
        }
        return WireGuardDevice(name: name, listenPort: 1, peers: peers)
    }

    private static func keys(_ name: String, _ numbers: Int...) -> Set<EchoBook.Key> {
        Set(numbers.map { .init(interface: name, peer: key($0)) })
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var choice: PeerChoice
        var devices: [WireGuardDevice]
        var judged: [String: Set<Int>]
    }

    static let cases: [Case] = [
        Case(
            testDescription: "there is room for all", choice: .init(limit: 4),
            devices: [device("wg0", 1...3), device("wg1", [4])],
            judged: ["wg0": [1, 2, 3], "wg1": [4]]),
        Case(
            testDescription: "by their keys, where nothing else is known", choice: .init(limit: 2),
            devices: [device("wg0", [3, 1, 2])], judged: ["wg0": [1, 2]]),
        Case(
            testDescription: "those that are somewhere first", choice: .init(limit: 2),
            devices: [device("wg0", 1...9, somewhere: [5, 7])], judged: ["wg0": [5, 7]]),
        Case(
            testDescription: "those that are known before new ones",
            choice: .init(limit: 2, known: keys("wg0", 8, 2)),
            devices: [device("wg0", 1...9, somewhere: [5, 7, 8])], judged: ["wg0": [5, 8]]),
        Case(
            testDescription: "those in trouble before all others",
            choice: .init(limit: 3, first: keys("wg0", 9, 8, 4)),
            devices: [
                device("wg0", 1...9, somewhere: [5, 7]), device("wg1", [1], somewhere: [1]),
            ],
            judged: ["wg0": [4, 8, 9]]),
        Case(
            testDescription: "a small interface beside a large one", choice: .init(limit: 6),
            devices: [device("wg0", 10...90, somewhere: Set(10...90)), device("wg1", [1, 2])],
            judged: ["wg0": [10, 11, 12, 13], "wg1": [1, 2]]),
    ]

    @Test("the same ones are judged, in whatever order they are named", arguments: cases)
    func table(_ one: Case) {
        for isReversed in [false, true] {
            let devices = one.devices.map { device in
                var device = device
                if isReversed { device.peers.reverse() }
                return device
            }
            let judged = one.choice.judged(isReversed ? devices.reversed() : devices)
            #expect(
                judged.mapValues { Set($0.map(\.publicKey)) }
                    == one.judged.mapValues { Set($0.map(key)) })
        }
    }

    @Test("a dead one stays dead among them, and the heartbeat counts those that nobody judges")
    func lasting() async {
        let numbers = 1...(MeshWatch.peerLimit + 8)
        var node = FakeNetwork.Node()
        node.links = [NetworkLink(index: 3, name: "wg0", flags: 0x41, kind: "wireguard")]
        let device = Self.device("wg0", numbers, somewhere: Set(numbers))
        node.devices["wg0"] = device
        node.answering = Set(device.peers.compactMap(EchoChoice.address))
        let dead = MeshWatch.peerLimit
        let course = Course(node)
        await course.look(8)
        course.change { _ = $0.answering.remove(address("10.\(dead >> 8).\(dead & 255).1")) }
        for _ in 0..<30 {
            course.change { $0.devices["wg0"]?.peers.shuffle() }
            await course.look(1)
        }
        #expect(course.sample.raised.keys.contains("peer_unreachable wg0/\(key(dead))"))
        let entry = course.sample.metadata["interfaces"]?.array?.first?.object
        #expect(entry?["peers_not_judged"] == 8)
        #expect(!course.sample.symptoms.contains { $0.message.contains("no longer configured") })
    }

    @Test("what was raised of one that there is no room for is not over")
    func withoutRoom() {
        var watch = MeshWatch()
        let thing = AlertKeeper.Key(type: "peer_unreachable", resource: "wg0/\(key(2))")
        watch.recall([thing: .critical])
        var look = InterfaceLook(
            name: "wg0", link: NetworkLink(index: 3, name: "wg0", flags: 0x41, kind: "wireguard"))
        look.device = Self.device("wg0", [1, 2])
        look.peers = [(EchoBook.Key(interface: "wg0", peer: key(1)), PeerFacts())]
        #expect(look.unjudged == [.init(interface: "wg0", peer: key(2))])
        var said = watch.observe([look], at: at(0)).first { $0.resource == thing.resource }
        #expect(said?.severity == .critical)
        look.device?.peers.removeLast()
        said = watch.observe([look], at: at(5)).first { $0.resource == thing.resource }
        #expect(said?.severity == .ok)
    }
}
