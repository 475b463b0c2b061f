import Platform
import Protocol
import Testing

@testable import MeshHealer

extension Course {
    func concerns(_ name: String, _ index: Int32) -> Bool {
        module.concerns(NetworkLink(index: index, name: name, flags: 0x41))
    }
}

@Suite("Small books of the mesh healer")
struct MeshBookTests {
    @Test("only tunnels and what leads to their other ends are looked at at once")
    func concerns() async {
        var node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))
        node.links.append(NetworkLink(index: 7, name: "eth0", flags: 0x41))
        node.ways[address("192.0.2.1")] = .device(7, source: nil)
        let course = Course(node)
        await course.look()
        #expect(course.concerns("wg5", 90))
        #expect(course.concerns("eth0", 7))
        #expect(!course.concerns("veth12", 91))
        course.change { $0.ways = [:] }
        await course.look()
        #expect(!course.concerns("eth0", 7))
    }

    @Test("links that come and go all the time cause a look a second, after a burst")
    func pace() {
        var pace = LookPace()
        var now: Duration = .seconds(100)
        var looks = 0
        while now < .seconds(160) {
            looks += 1
            now += pace.rest(at: now)
        }
        #expect((100...135).contains(looks))
        // After a while of quiet it is quick again.
        now += .seconds(60)
        #expect(pace.rest(at: now) == LookPace.shortRest)
    }

    @Test("those that did not answer are asked last, and in turn")
    func sick() {
        var list = SickList()
        let names = ["a", "b", "c", "d"]
        #expect(list.order(names) == names)
        list.note("a", failure: "no answer")
        list.note("c", failure: "no answer")
        #expect(list.order(names) == ["b", "d", "a", "c"])
        list.note("a", failure: "no answer")
        #expect(list.order(names) == ["b", "d", "c", "a"])
        #expect(list.failures("a") == 2)
        #expect(list.reason("c") == "no answer")
        list.note("a", failure: nil)
        #expect(list.failures("a") == 0)
        list.keep(["b"])
        #expect(list.failures("c") == 0)
    }

    @Test("who comes without an endpoint is a guest, and so is who travels; who moved once is not")
    func guests() {
        var book = GuestBook()
        func isGuest(_ number: Int, _ endpoint: String?, _ seconds: Int64, awake: Bool = false)
            -> Bool
        {
            book.isGuest(
                EchoBook.Key(interface: "wg0", peer: key(number)), at: endpoint,
                isKeptAwake: awake, now: at(seconds))
        }
        #expect(isGuest(1, nil, 0))
        #expect(isGuest(1, "192.0.2.1:1", 5), "for good")
        #expect(!isGuest(2, "192.0.2.1:1", 0))
        #expect(!isGuest(2, "192.0.2.2:1", 5))
        #expect(!isGuest(2, "192.0.2.2:1", 3000))
        #expect(isGuest(2, "192.0.2.3:1", 3500))
        // A site that moves once in a while.
        for day in 0..<5 { #expect(!isGuest(3, "192.0.2.\(day):1", Int64(day) * 86_400)) }
        // One that this node keeps awake is meant to be there.
        for place in 0..<5 { #expect(!isGuest(4, "192.0.2.\(place):1", 5, awake: true)) }
        book.keep([], unread: ["wg0"])
        #expect(isGuest(1, "192.0.2.1:1", 9))
        book.keep([], unread: [])
        #expect(!isGuest(1, "192.0.2.1:1", 9))
    }

    @Test("echoes of an interface that was not read are remembered, others are forgotten")
    func echoes() {
        var book = EchoBook()
        for name in ["wg0", "wg1", "wg2"] {
            _ = book.record(
                EchoBook.Key(interface: name, peer: key(1)),
                target: EchoTarget(device: name, address: address("10.88.0.2")))
        }
        book.keep([EchoBook.Key(interface: "wg0", peer: key(1))], unread: ["wg1"])
        #expect(book.next().map(\.key.interface) == ["wg0", "wg1"])
    }
}
