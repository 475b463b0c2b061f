import Foundation
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

    /// A `wg` of our own making.
    private func tool(_ script: String, limit: Duration = .seconds(10)) throws -> (
        tool: WireGuardTool, directory: URL
    ) {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("skos-wg-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let program = directory.appendingPathComponent("wg")
        try ("#!/bin/sh\n" + script).write(to: program, atomically: false, encoding: .utf8)
        chmod(program.path, 0o755)
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
            try tool.device("wg0") == WireGuardDevice(name: "wg0", mark: 0xCA6C, peers: [peer]))
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
        #expect(throws: WireGuardFailure.self) { try socket.device("wg0") }
    }
}
