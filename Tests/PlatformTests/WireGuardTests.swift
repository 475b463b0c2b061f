import Foundation
import TestSupport
import Testing

@testable import Platform

@Suite("Reading WireGuard")
struct WireGuardTests {
    static func hex(_ byte: UInt8) -> String {
        String(repeating: String(format: "%02x", byte), count: 32)
    }

    static func key(_ byte: UInt8) -> String {
        Data(repeating: byte, count: 32).base64EncodedString()
    }

    @Test("an answer of wireguard-go, without what is secret in it")
    func answer() throws {
        let text = """
            private_key=\(Self.hex(0xAA))
            listen_port=51820
            fwmark=7
            public_key=\(Self.hex(1))
            preshared_key=\(Self.hex(0xBB))
            protocol_version=1
            endpoint=10.99.1.2:51820
            last_handshake_time_sec=1700000000
            last_handshake_time_nsec=5
            tx_bytes=404
            rx_bytes=348
            persistent_keepalive_interval=25
            allowed_ip=10.88.0.2/32
            allowed_ip=fd00::/64
            public_key=\(Self.hex(2))
            endpoint=[fe80::1%eth0]:7
            errno=0


            """
        let device = try WireGuardSocket.parse(Array(text.utf8), name: "wg0")
        #expect(device.listenPort == 51820)
        #expect(device.mark == 7)
        #expect(device.peers.map(\.publicKey) == [Self.key(1), Self.key(2)])
        let peer = device.peers[0]
        #expect(peer.handshake == 1_700_000_000)
        #expect(peer.received == 348)
        #expect(peer.sent == 404)
        #expect(peer.keepalive == 25)
        #expect(peer.allowedIPs.map(\.description) == ["10.88.0.2/32", "fd00::/64"])
        #expect(peer.endpointAddress == IPAddress("10.99.1.2"))
        #expect(device.peers[1].endpointAddress == IPAddress("fe80::1"))
        let shown = "\(device)"
        for secret in [Self.hex(0xAA), Self.hex(0xBB), Self.key(0xAA), Self.key(0xBB)] {
            #expect(!shown.contains(secret))
        }
    }

    @Test(
        "nonsense is a failure with a reason, and never quotes",
        arguments: [
            "", "\n\n", "private_key=aa", "errno=1\n\n", "public_key=zz\nerrno=0\n\n",
            "what\nerrno=0\n\n", String(repeating: "x", count: 100_000),
        ])
    func nonsense(_ text: String) {
        let failure = #expect(throws: WireGuardFailure.self) {
            try WireGuardSocket.parse(Array(text.utf8), name: "wg0")
        }
        #expect(failure?.reason.isEmpty == false)
        #expect((failure?.reason.utf8.count ?? 0) < 200)
    }

    /// What may be said of when a handshake was, and what is made of it.
    static let handshakes: [(Int64, Int64)] = [
        (1_700_000_000, 1_700_000_000), (0, 0), (-1, 0), (.max, 0), (.min, 0),
        (9_223_372_036, 9_223_372_036), (9_223_372_037, 0),
    ]

    @Test("a handshake at a time that cannot be was never", arguments: handshakes)
    func impossible(_ row: (seconds: Int64, handshake: Int64)) throws {
        let text = """
            listen_port=99999999999
            public_key=\(String(repeating: "ab", count: 32))
            last_handshake_time_sec=\(row.seconds)
            persistent_keepalive_interval=\(Int64.min)
            errno=0


            """
        let device = try WireGuardSocket.parse(Array(text.utf8), name: "wg0")
        #expect(device.peers.map(\.handshake) == [row.handshake] && device.listenPort == 0)
        #expect(device.peers.map(\.keepalive) == [0])
        let answer = message(1, [], isFirst: true, handshake: row.seconds)
        let kernel = try WireGuardKernel.parse([answer], name: "wg0")
        #expect(kernel.peers.map(\.handshake) == [row.handshake])
        let (tool, directory) = try tool(
            """
            case $3 in
            latest-handshakes) printf '%s\\t\(row.seconds)\\n' \(Self.key(1)) ;;
            persistent-keepalive) printf '%s\\t\(Int64.max)\\n' \(Self.key(1)) ;;
            esac
            """)
        defer { try? FileManager.default.removeItem(at: directory) }
        guard row.seconds == row.handshake else {
            let failure = #expect(throws: WireGuardFailure.self) { try tool.device("wg0") }
            #expect(failure?.reason.contains("makes no sense") == true)
            return
        }
        #expect(try tool.device("wg0").peers.map(\.handshake) == [row.handshake])
    }

    @Test("thousands of peers are read, and too many are refused")
    func many() throws {
        func answer(_ count: Int) -> [UInt8] {
            var text = ""
            for number in 0..<count {
                text += "public_key=" + String(format: "%064x", number) + "\n"
                text += "allowed_ip=10.\(number >> 8 & 255).\(number & 255).1/32\n"
            }
            return Array((text + "errno=0\n\n").utf8)
        }
        #expect(try WireGuardSocket.parse(answer(5000), name: "wg0").peers.count == 5000)
        #expect(throws: WireGuardFailure.self) {
            try WireGuardSocket.parse(answer(WireGuardLimits.peers + 1), name: "wg0")
        }
    }

    /// One message of a dump: `struct genlmsghdr`, then the interface with one peer.
    private func message(
        _ peer: UInt8, _ ranges: [(String, UInt8)], isFirst: Bool,
        handshake: Int64 = 1_700_000_000
    ) -> [UInt8] {
        func bytes<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
            withUnsafeBytes(of: number) { Array($0) }
        }
        var entry = NetlinkAttribute(1, [UInt8](repeating: peer, count: 32)).encoded
        if isFirst {
            entry += NetlinkAttribute(2, [UInt8](repeating: 0xBB, count: 32)).encoded
            let endpoint: [UInt8] =
                bytes(UInt16(2)) + [0xCA, 0x6C, 10, 99, 1, 2] + [UInt8](repeating: 0, count: 8)
            entry += NetlinkAttribute(4, endpoint).encoded
            entry += NetlinkAttribute(5, bytes(UInt16(25))).encoded
            entry += NetlinkAttribute(6, bytes(handshake) + bytes(Int64(5))).encoded
            entry += NetlinkAttribute(7, bytes(UInt64(348))).encoded
            entry += NetlinkAttribute(8, bytes(UInt64(404))).encoded
        }
        var list: [UInt8] = []
        for (text, length) in ranges {
            let address = IPAddress(text)?.bytes ?? []
            let range =
                NetlinkAttribute(1, bytes(UInt16(2))).encoded + NetlinkAttribute(2, address).encoded
                + NetlinkAttribute(3, [length]).encoded
            list += NetlinkAttribute(0x8000, range).encoded
        }
        entry += NetlinkAttribute(9 | 0x8000, list).encoded
        var payload: [UInt8] = [0, 1, 0, 0]
        if isFirst {
            payload += NetlinkAttribute(3, [UInt8](repeating: 0xAA, count: 32)).encoded
            payload += NetlinkAttribute(6, bytes(UInt16(51820))).encoded
            payload += NetlinkAttribute(7, bytes(UInt32(7))).encoded
        }
        return payload
            + NetlinkAttribute(8 | 0x8000, NetlinkAttribute(0x8000, entry).encoded).encoded
    }

    @Test("the kernel's answer, in several messages, without what is secret in it")
    func kernel() throws {
        let device = try WireGuardKernel.parse(
            [
                message(1, [("10.88.0.2", 32)], isFirst: true),
                message(1, [("fd00::", 64)], isFirst: false), message(2, [], isFirst: false),
            ], name: "wg0")
        var peer = WireGuardPeer(publicKey: Self.key(1))
        peer.endpoint = "10.99.1.2:51820"
        peer.allowedIPs = ["10.88.0.2/32", "fd00::/64"].compactMap { IPPrefix($0) }
        peer.handshake = 1_700_000_000
        peer.received = 348
        peer.sent = 404
        peer.keepalive = 25
        let other = WireGuardPeer(publicKey: Self.key(2))
        #expect(
            device
                == WireGuardDevice(name: "wg0", listenPort: 51820, mark: 7, peers: [peer, other]))
    }

    @Test("spoilt answers of the kernel never crash")
    func spoiltKernel() {
        let bytes = message(1, [("10.88.0.2", 32)], isFirst: true)
        for place in bytes.indices {
            for value in [0, 1, 3, 0xFF] as [UInt8] {
                var spoilt = bytes
                spoilt[place] = value
                _ = try? WireGuardKernel.parse([spoilt, Array(spoilt.prefix(place))], name: "wg0")
            }
        }
    }

    @Test("a kernel without WireGuard, or an interface that is none, is a failure with a reason")
    func noKernel() {
        let failure = #expect(throws: WireGuardFailure.self) { try WireGuardKernel.device("lo") }
        #expect(failure?.reason.hasPrefix("lo: ") == true)
    }

    /// A `wg` of our own making.
    private func tool(_ script: String, limit: Duration = .seconds(10)) throws -> (
        tool: WireGuardTool, directory: URL
    ) {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("skos-wg-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let program = directory.appendingPathComponent("wg")
        try Script.write("#!/bin/sh\n" + script, to: program.path)
        return (WireGuardTool(program: program.path, timeLimit: limit), directory)
    }

    @Test("what wg prints is put together")
    func wg() throws {
        let (tool, directory) = try tool(
            """
            case $3 in
            latest-handshakes) printf '%s\\t5\\n' \(Self.key(1)) ;;
            transfer) printf '%s\\t10\\t20\\n' \(Self.key(1)) ;;
            endpoints) printf '%s\\t(none)\\n%s\\t1.2.3.4:5\\n' \(Self.key(1)) \(Self.key(9)) ;;
            allowed-ips) printf '%s\\t10.0.0.1/32 fd00::/8\\n' \(Self.key(1)) ;;
            persistent-keepalive) printf '%s\\toff\\n' \(Self.key(1)) ;;
            listen-port) echo 51821 ;;
            fwmark) echo 0xca6c ;;
            *) exit 1 ;;
            esac
            """)
        defer { try? FileManager.default.removeItem(at: directory) }
        var peer = WireGuardPeer(publicKey: Self.key(1))
        peer.handshake = 5
        peer.received = 10
        peer.sent = 20
        peer.allowedIPs = ["10.0.0.1/32", "fd00::/8"].compactMap { IPPrefix($0) }
        #expect(
            try tool.device("wg0")
                == WireGuardDevice(name: "wg0", listenPort: 51821, mark: 0xCA6C, peers: [peer]))
    }

    @Test(
        "a wg that hangs, prints nonsense, floods or fails is a failure with a reason",
        arguments: [
            ("sleep 60", "in time"), ("echo nonsense", "no sense"), ("yes '(none)'", "much"),
            ("printf '%s\\t-5\\n' \(Self.key(1))", "no sense"), ("exit 1", "exit code 1"),
        ])
    func badTool(_ script: String, _ word: String) throws {
        // What hangs is to be cut soon; the others are given time on a busy machine.
        let limit: Duration = script.hasPrefix("sleep") ? .milliseconds(200) : .seconds(20)
        let (tool, directory) = try tool(script, limit: limit)
        defer { try? FileManager.default.removeItem(at: directory) }
        let failure = #expect(throws: WireGuardFailure.self) { try tool.device("wg0") }
        #expect(failure?.reason.contains(word) == true, "\(failure?.reason ?? "")")
    }

    @Test("a wg that is not there is said so")
    func noTool() {
        let tool = WireGuardTool(program: "/nonexistent/wg")
        #expect(!tool.isInstalled)
        #expect(throws: WireGuardFailure.self) { try tool.device("wg0") }
    }

    @Test("a socket that nobody listens on is stale, one that is not there is absent")
    func sockets() throws {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("skos-wg-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let socket = WireGuardSocket(directory: directory.path)
        #expect(socket.presence("wg0") == .absent)
        #expect(socket.leftBehind { _ in true } == [])
        // What a program leaves behind that is killed.
        let listener = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = directory.appendingPathComponent("wg0.sock").path
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, size) }
        }
        #expect(status == 0)
        close(listener)
        #expect(socket.presence("wg0") == .stale)
        #expect(socket.leftBehind { _ in true } == ["wg0"])
        #expect(socket.leftBehind { $0 == "wg1" } == [])
        #expect(throws: WireGuardFailure.self) { try socket.device("wg0") }
    }
}
