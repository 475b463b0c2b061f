import Glibc
import Testing

@testable import Platform

@Suite("Netlink's bytes")
struct NetlinkTests {
    /// An `RTM_NEWLINK` as a kernel sent it: `ip link add dm0 type dummy`, switched on.
    static func link(
        _ index: Int32, _ name: String, flags: UInt32, kind: String = "dummy",
        type: UInt16 = Netlink.newLink
    ) -> NetlinkMessage {
        var payload: [UInt8] = [0, 0, 1, 0]
        payload.append(number: index)
        payload.append(number: flags)
        payload.append(number: UInt32(0))
        payload += NetlinkAttribute(3, text: name).encoded
        payload += NetlinkAttribute(4, UInt32(1500)).encoded
        payload += NetlinkAttribute(18, NetlinkAttribute(1, text: kind).encoded).encoded
        return NetlinkMessage(type: type, payload: payload)
    }

    @Test("a message is what it was, and several are told apart")
    func messages() {
        let first = NetlinkMessage(type: 16, flags: 2, sequence: 7, payload: [1, 2, 3])
        let second = NetlinkMessage(type: 17, payload: [9, 9, 9, 9])
        #expect(NetlinkMessage.split(first.encoded + [0] + second.encoded) == [first, second])
    }

    @Test("a link's description")
    func linkMessage() throws {
        let link = try #require(
            NetworkLink(payload: Self.link(5, "wg0", flags: 0x41, kind: "wireguard").payload))
        #expect(link == NetworkLink(index: 5, name: "wg0", flags: 0x41, kind: "wireguard"))
        #expect(link.isUp)
        #expect(link.isRunning)
    }

    @Test("what was left of a full tunnel's rules is told when they have come once more")
    func doubledRules() throws {
        func rule(
            _ place: UInt32, isInverted: Bool = false, family: UInt8 = 2,
            _ attributes: NetlinkAttribute...
        ) throws -> NetworkRule {
            let header: [UInt8] = [family, 0, 0, 0, 0, 0, 0, 1, isInverted ? 2 : 0, 0, 0, 0]
            let parts = attributes + [NetlinkAttribute(6, place)]
            return try #require(NetworkRule(payload: header + parts.flatMap(\.encoded)))
        }
        func around(_ place: UInt32) throws -> NetworkRule {
            try rule(place, NetlinkAttribute(15, 254), NetlinkAttribute(14, 0))
        }
        func into(_ place: UInt32, _ table: UInt32, family: UInt8 = 2) throws -> NetworkRule {
            try rule(
                place, isInverted: true, family: family, NetlinkAttribute(15, table),
                NetlinkAttribute(10, table))
        }
        let main = try rule(32766, NetlinkAttribute(15, 254), NetlinkAttribute(14, .max))
        let left = [try around(32764), try into(32765, 51820)]
        let former = left + [main]
        let new = [try around(32762), try into(32763, 51820)]
        #expect(NetworkRules.doubled(former, now: new + former) == left)
        #expect(NetworkRules.doubled(former, now: former).isEmpty)
        #expect(NetworkRules.doubled([], now: new).isEmpty)
        // What has gone meanwhile needs no removing.
        #expect(NetworkRules.doubled(former, now: new + [main]).isEmpty)
        // Another tunnel's, another family's, and what is nobody's of wg-quick.
        let second = [try around(32760), try into(32761, 51821)]
        #expect(NetworkRules.doubled(former, now: second + former).isEmpty)
        let sixth = try into(32763, 51820, family: 10)
        #expect(NetworkRules.doubled(former, now: former + [sixth]).isEmpty)
        let other = try rule(9, NetlinkAttribute(15, 254), NetlinkAttribute(14, .max))
        #expect(NetworkRules.doubled(former, now: former + [other]).isEmpty)
        #expect(NetworkRule(payload: [2, 0, 0]) == nil)
        #expect(NetworkRule(payload: [128] + [UInt8](repeating: 0, count: 11)) == nil)
    }

    @Test("cut or spoilt bytes never crash and never make up a link")
    func damage() {
        let bytes = Self.link(5, "wg0", flags: 1).encoded
        for count in 0..<bytes.count {
            #expect(NetlinkMessage.split(bytes.prefix(count)).isEmpty)
        }
        for place in bytes.indices {
            for value in [0, 1, 0x7F, 0xFF] as [UInt8] {
                var spoilt = bytes
                spoilt[place] = value
                for message in NetlinkMessage.split(spoilt) {
                    _ = NetworkLink(payload: message.payload)
                    _ = NetworkRoute(payload: message.payload)
                    _ = message.errorCode
                }
            }
        }
    }

    @Test("only what changes is news")
    func changes() {
        var changes = LinkChanges([NetworkLink(index: 5, name: "wg0", flags: 0x41)])
        #expect(changes.take([Self.link(5, "wg0", flags: 0x41)]).isEmpty)
        #expect(changes.take([Self.link(5, "wg0", flags: 0x1041)]).isEmpty)
        #expect(changes.take([Self.link(5, "wg0", flags: 0x40)]).map(\.name) == ["wg0"])
        #expect(changes.take([Self.link(6, "wg1", flags: 0)]).map(\.name) == ["wg1"])
        #expect(
            changes.take([Self.link(5, "wg0", flags: 0, type: Netlink.deleteLink)]).map(\.name)
                == ["wg0"])
        #expect(changes.take([NetlinkMessage(type: 99, payload: [1])]).isEmpty)
        // One that has another name is news for those who know the old one.
        #expect(changes.take([Self.link(6, "eth9", flags: 0)]).map(\.name) == ["eth9", "wg1"])
    }

    @Test("a route is put back with what it was told with, but for what only the kernel may say")
    func restoring() throws {
        let prefix = try #require(IPPrefix("10.88.0.0/24"))
        let gateway = try #require(IPAddress("10.99.1.2"))
        let route = NetworkRoute(
            prefix: prefix, gateway: gateway, device: 7, metric: 100, table: 1000)
        #expect(NetworkRoute(payload: route.payload) == route)
        #expect(NetworkRoute(hex: route.hex) == route)
        var told = route.payload
        // RTNH_F_LINKDOWN, and an RTA_CACHEINFO.
        told[8] |= 0x10
        told += NetlinkAttribute(12, [UInt8](repeating: 1, count: 32)).encoded
        #expect(try #require(NetworkRoute(payload: told)).restoring == route.payload)
        #expect(NetworkRoute(hex: "zz") == nil)
        #expect(NetworkRoute(hex: "0a0") == nil)
    }

    @Test("the machine's own links are listed, and the loopback is one of them")
    func real() throws {
        let links = try NetworkLinks.all()
        #expect(links.contains { $0.name == "lo" && $0.index == 1 })
        let loopback = try #require(IPAddress("127.0.0.1"))
        #expect(try NetworkRoutes.way(to: loopback) == .local)
    }

    @Test(
        "addresses and ranges",
        arguments: [
            ("10.88.0.9/24", "10.88.0.0/24"), ("10.88.0.9", "10.88.0.9/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::5/64", "fd00::/64"), ("fd00::5", "fd00::5/128"), ("10.0.0.1/33", nil),
            ("10.0.0/8", nil), ("", nil), ("/8", nil), ("10.0.0.1/", nil), ("10.0.0.1/-1", nil),
            ("10.0.0.1/8/8", nil), ("host/8", nil),
        ])
    func ranges(_ text: String, _ wanted: String?) {
        #expect(IPPrefix(text)?.description == wanted)
    }

    @Test("a range contains its addresses and no others")
    func contains() throws {
        let range = try #require(IPPrefix("10.88.0.0/22"))
        #expect(range.contains(try #require(IPAddress("10.88.3.255"))))
        #expect(!range.contains(try #require(IPAddress("10.88.4.0"))))
        #expect(!range.contains(try #require(IPAddress("fd00::1"))))
    }
}

@Suite("Echoes")
struct EchoProbeTests {
    @Test("a request has its checksum, and its answer names the target")
    func packets() {
        let request = EchoProbe.request(300, isV6: false)
        #expect(EchoProbe.checksum(request) == 0)
        var answer = request
        answer[0] = 0
        #expect(EchoProbe.answer(answer, isV6: false, hasHeader: false) == 300)
        #expect(EchoProbe.answer(request, isV6: false, hasHeader: false) == nil, "our own request")
        let header = [0x45] + [UInt8](repeating: 0, count: 19)
        #expect(EchoProbe.answer(header + answer, isV6: false, hasHeader: true) == 300)
        for count in 0..<answer.count {
            #expect(EchoProbe.answer(answer.prefix(count), isV6: false, hasHeader: false) == nil)
        }
    }

    @Test(
        "the loopback answers by every means",
        .enabled(if: getuid() == 0, "raw sockets and binding to an interface need root"),
        arguments: [[EchoProbe.Means.raw], [.tcp], [.datagram, .raw, .tcp]])
    func loopback(_ means: [EchoProbe.Means]) throws {
        let addresses = ["127.0.0.1", "127.0.0.2"].compactMap { IPAddress($0) }
        let outcomes = EchoProbe(means: means).run(
            addresses.map { EchoTarget(device: "lo", address: $0) }, limit: .seconds(5))
        for outcome in outcomes {
            guard case .answered = outcome else {
                Issue.record("\(outcome)")
                continue
            }
        }
    }

    @Test("an interface that is not there is said so")
    func noInterface() throws {
        let target = EchoTarget(device: "skos-none", address: try #require(IPAddress("127.0.0.1")))
        #expect(
            EchoProbe(means: [.tcp]).run([target], limit: .seconds(1)) == [.impossible(ENODEV)])
    }

    @Test(
        "what this machine lacks is told apart from a way that there is not",
        arguments: [
            (EMFILE, true), (ENFILE, true), (ENOBUFS, true), (ENOMEM, true), (EAGAIN, true),
            (ENETUNREACH, false), (EPERM, false), (EINVAL, false),
        ])
    func want(_ code: Int32, _ isWant: Bool) {
        #expect(EchoProbe.isWant(code) == isWant)
    }
}
