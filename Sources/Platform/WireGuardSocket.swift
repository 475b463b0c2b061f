import Glibc

/// Reads an interface of `wireguard-go` (and of its relatives) through the socket it listens on.
///
/// The sockets of all network namespaces lie in one directory: whether the interface is in this one is
/// for the caller to know.
package struct WireGuardSocket: Sendable {
    package static let directory = "/var/run/wireguard"

    /// What a socket of a name tells by itself.
    package enum Presence: Sendable, Equatable {
        case absent, alive
        /// It is there, and nobody listens: the program was killed.
        case stale
    }

    private let directory: String
    private let timeLimit: Duration

    /// - `timeLimit`: how long a program that hangs is waited for, in whole seconds.
    package init(directory: String = Self.directory, timeLimit: Duration = .seconds(1)) {
        self.directory = directory
        self.timeLimit = timeLimit
    }

    private func path(_ name: String) -> String { "\(directory)/\(name).sock" }

    package func presence(_ name: String) -> Presence {
        guard access(path(name), F_OK) == 0 else { return .absent }
        let (descriptor, code) = connecting(name)
        if descriptor >= 0 { close(descriptor) }
        // One that does not answer is alive, if not well.
        return code == ECONNREFUSED ? .stale : .alive
    }

    /// The interfaces whose programs were killed and have left their sockets behind, of those that are
    /// meant. One that hangs may take a second to be told from them.
    package func leftBehind(_ isMeant: (String) -> Bool) -> [String] {
        let names = (try? HostFiles(root: HostRoot()).names(in: directory)) ?? []
        let suffix = ".sock"
        return names.filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
            .filter { isMeant($0) && presence($0) == .stale }
    }

    /// Reads the interface. Blocks for a few seconds at most.
    package func device(_ name: String) throws(WireGuardFailure) -> WireGuardDevice {
        let descriptor = try connected(name)
        defer { close(descriptor) }
        let request = Array("get=1\n\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
        else { throw WireGuardFailure("\(path(name)): \(errnoText(errno))") }
        var answer = try collect(descriptor, name)
        // It holds the private key.
        defer { for index in answer.indices { answer[index] = 0 } }
        return try Self.parse(answer, name: name)
    }

    private func connected(_ name: String) throws(WireGuardFailure) -> Int32 {
        let (descriptor, code) = connecting(name)
        guard descriptor >= 0 else {
            throw WireGuardFailure(
                "\(path(name)): \(errnoText(code)) (\(errnoName(code)))", errno: code)
        }
        return descriptor
    }

    /// A connection to the program, or -1 and errno.
    private func connecting(_ name: String) -> (descriptor: Int32, errno: Int32) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path(name).utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            return (-1, ENAMETOOLONG)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return (-1, errno) }
        var limit = timeval(tv_sec: Int(timeLimit.components.seconds), tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let code = errno
            close(descriptor)
            return (-1, code)
        }
        return (descriptor, 0)
    }

    /// Reads up to the empty line that ends an answer.
    private func collect(
        _ descriptor: Int32, _ name: String
    ) throws(WireGuardFailure) -> [UInt8] {
        let end = ContinuousClock.now + .seconds(3)
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        defer { for index in chunk.indices { chunk[index] = 0 } }
        while !answer.suffix(2).elementsEqual([0x0A, 0x0A]) {
            let got = recv(descriptor, &chunk, chunk.count, 0)
            if got < 0 && errno == EINTR { continue }
            if got == 0 { break }
            guard got > 0, ContinuousClock.now < end else {
                throw WireGuardFailure("\(path(name)): no answer in time")
            }
            guard answer.count + got <= WireGuardLimits.bytes else {
                throw WireGuardFailure("\(path(name)): the answer is too long")
            }
            answer += chunk[..<got]
        }
        return answer
    }

    /// Reads an answer to `get=1`: lines of `name=value`, a peer begins with its key. Secret lines are
    /// passed over without being looked at.
    package static func parse(
        _ answer: [UInt8], name: String
    ) throws(WireGuardFailure) -> WireGuardDevice {
        var device = WireGuardDevice(name: name)
        var isComplete = false
        for line in answer.split(separator: 0x0A) {
            guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else {
                throw WireGuardFailure("\(name): an answer that makes no sense")
            }
            let value = line[(equals + 1)...]
            let key = line[..<equals]
            if key.elementsEqual("public_key".utf8) {
                guard let bytes = WireGuardKey.bytes(hex: value),
                    let text = WireGuardKey.base64(bytes)
                else { throw WireGuardFailure("\(name): a peer's key that is none") }
                guard device.peers.count < WireGuardLimits.peers else {
                    throw WireGuardFailure("\(name): more than \(WireGuardLimits.peers) peers")
                }
                device.peers.append(WireGuardPeer(publicKey: text))
            } else if key.elementsEqual("errno".utf8) {
                guard value.elementsEqual("0".utf8) else {
                    throw WireGuardFailure(
                        "\(name): errno \(String(decoding: value.prefix(16), as: UTF8.self))")
                }
                isComplete = true
            } else if !key.ends(with: "_key") {
                let text = String(decoding: value.prefix(64), as: UTF8.self)
                take(String(decoding: key.prefix(64), as: UTF8.self), text, &device)
            }
        }
        guard isComplete else { throw WireGuardFailure("\(name): an answer that has no end") }
        return device
    }

    private static func take(
        _ key: String, _ value: String, _ device: inout WireGuardDevice
    ) {
        if device.peers.isEmpty {
            if key == "listen_port" { device.listenPort = Int(UInt16(value) ?? 0) }
            if key == "fwmark" { device.mark = UInt32(value) ?? 0 }
            return
        }
        let last = device.peers.count - 1
        switch key {
        case "endpoint": device.peers[last].endpoint = value
        case "last_handshake_time_sec":
            let seconds = Int64(value) ?? 0
            device.peers[last].handshake =
                WireGuardLimits.handshakes.contains(seconds) ? seconds : 0
        case "rx_bytes": device.peers[last].received = UInt64(value) ?? 0
        case "tx_bytes": device.peers[last].sent = UInt64(value) ?? 0
        case "persistent_keepalive_interval": device.peers[last].keepalive = Int(UInt16(value) ?? 0)
        case "allowed_ip":
            guard device.peers[last].allowedIPs.count < WireGuardLimits.allowedIPs,
                let prefix = IPPrefix(value)
            else { return }
            device.peers[last].allowedIPs.append(prefix)
        default: break
        }
    }
}

extension ArraySlice<UInt8> {
    fileprivate func ends(with text: StaticString) -> Bool {
        text.withUTF8Buffer { self.suffix($0.count).elementsEqual($0) }
    }
}
