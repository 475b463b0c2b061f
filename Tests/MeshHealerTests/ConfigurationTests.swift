import Platform
import Protocol
import Testing

@testable import MeshHealer

@Suite("Configuration files")
struct ConfigurationTests {
    static let key = String(repeating: "A", count: 42) + "E="
    static let peer = String(repeating: "b", count: 42) + "E="
    static let other = String(repeating: "c", count: 42) + "E="
    static let text = """
        # the tunnel
        [Interface]
        PrivateKey = \(key)   # secret
        Address = 10.88.0.1/24
        ListenPort = 51820
        PostUp = echo [Peer] = x

        [peer]
        publickey=\(peer)
        PresharedKey = \(other)
        AllowedIPs = 10.88.0.2/32, 10.20.0.9/16,fd00::2
        Endpoint = hub.example.org:51820
        PersistentKeepalive = 25

        """

    @Test("what is compared is read, what is secret is not")
    func peers() throws {
        let peers = try WireGuardConf(Self.text.utf8).peers
        var wanted = ConfiguredPeer(publicKey: Self.peer)
        wanted.endpoint = "hub.example.org:51820"
        wanted.allowedIPs = ["10.88.0.2/32", "10.20.0.0/16", "fd00::2/128"]
        #expect(peers == [wanted])
    }

    @Test("only what wg understands is given to it")
    func stripped() throws {
        let conf = try WireGuardConf(Self.text.utf8)
        #expect(!conf.stripped.contains("Address"))
        #expect(!conf.stripped.contains("PostUp"))
        for word in ["PrivateKey", "ListenPort", "publickey", "PresharedKey", "Endpoint"] {
            #expect(conf.stripped.contains(word))
        }
        #expect(conf.quickLines == ["Address = 10.88.0.1/24", "PostUp = echo [Peer] = x"])
        #expect(conf.routes == .automatic)
        #expect(conf.has("listenport"))
        #expect(!conf.has("fwmark"))
    }

    @Test(
        "the routes that wg-quick makes",
        arguments: [
            ("Address = 10.0.0.1/24", QuickRoutes.automatic), ("ListenPort = 1", .none),
            ("Address = 10.0.0.1/24\nTable = off", .none),
            ("Address = 10.0.0.1/24\nTable = auto", .automatic),
            ("Address = 10.0.0.1/24\nTable = 1234", .table(1234)),
            ("Address = 10.0.0.1/24\nTable = main", .table(254)),
            ("Address = 10.0.0.1/24\nTable = mine", .none),
            ("Address = 10.0.0.1/24\nTable = 99999999999", .none),
        ])
    func routes(_ text: String, _ wanted: QuickRoutes) throws {
        #expect(try WireGuardConf("[Interface]\n\(text)\n".utf8).routes == wanted)
    }

    @Test(
        "a key may come from a program",
        arguments: [
            ("PostUp = wg set %i private-key /etc/wireguard/key", true),
            ("PostUp = wg addconf %i <(pass vpn)", true), ("PostUp = iptables -A x", false),
            ("PreUp = wg set %i private-key x", false), ("", false),
        ])
    func keyless(_ line: String, _ wanted: Bool) throws {
        #expect(try WireGuardConf("[Interface]\n\(line)\n".utf8).setsKey == wanted)
    }

    @Test("a key is put into a template in its one place")
    func template() throws {
        let template = "[Interface]\nListenPort = 1\nPrivateKey = @KEY@\n\n[Peer]\nPublicKey = x\n"
        let filled = try WireGuardConf(template.utf8).with(privateKey: Self.key)
        #expect(
            filled
                == "[Interface]\nPrivateKey = \(Self.key)\nListenPort = 1\n\n[Peer]\nPublicKey = x\n"
        )
        #expect(try WireGuardConf(filled.utf8).privateKey == Self.key)
        let bare = try WireGuardConf("[Peer]\nPublicKey = x\n".utf8).with(privateKey: Self.key)
        #expect(bare.hasPrefix("[Interface]\nPrivateKey = "))
    }

    @Test(
        "nonsense is an error with its line, and never with its content",
        arguments: [
            ("[Interface]\nPrivateKey\n", 2), ("PrivateKey = secret\n", 1), ("[Secret]\n", 1),
            ("[Interface]\n\u{0}\u{1}secret\n", 2),
        ])
    func nonsense(_ text: String, _ line: Int) {
        let failure = #expect(throws: WireGuardFailure.self) { try WireGuardConf(text.utf8) }
        #expect(failure?.reason.contains("line \(line)") == true)
        #expect(failure?.reason.lowercased().contains("secret") == false)
    }

    @Test("a file that is too long is refused")
    func tooLong() {
        let text = [UInt8](repeating: 0x23, count: WireGuardConf.limit + 1)
        #expect(throws: WireGuardFailure.self) { try WireGuardConf(text) }
    }

    @Test("differences between what runs and what is written")
    func drift() {
        func peer(_ key: String, _ ranges: String...) -> ConfiguredPeer {
            var peer = ConfiguredPeer(publicKey: key)
            peer.allowedIPs = ranges
            return peer
        }
        let running = ["a": ["10.0.0.1/32"], "b": ["10.0.0.9/32"], "d": ["10.0.0.4/32"]]
        #expect(
            Drift.compare(
                running: running,
                configured: [
                    peer("a", "10.0.0.1/32"), peer("b", "10.0.0.9/32"), peer("d", "10.0.0.4/32"),
                ]
            ).isEmpty)
        let findings = Drift.compare(
            running: running,
            configured: [
                peer("a", "10.0.0.1/32"), peer("b", "10.0.0.2/32"), peer("c", "10.0.0.3/32"),
            ])
        #expect(findings.map(\.peer) == ["b", "c", "d"])
        #expect(findings.map(\.kind) == ["allowed_ips", "missing", "unknown"])
        #expect(findings[0].details["not_running"] == ["10.0.0.2/32"])
        #expect(findings[0].details["not_written"] == ["10.0.0.9/32"])
    }

    @Test("a range that is written for two peers runs with one, and is no difference")
    func shared() {
        var one = ConfiguredPeer(publicKey: "a")
        one.allowedIPs = ["10.0.0.0/24"]
        var two = ConfiguredPeer(publicKey: "b")
        two.allowedIPs = ["10.0.0.0/24"]
        let running = ["a": [], "b": ["10.0.0.0/24"]]
        #expect(Drift.compare(running: running, configured: [one, two]).isEmpty)
    }
}
