import Glibc

/// A WireGuard interface as it runs. Keys that are secret are never part of it.
package struct WireGuardDevice: Sendable, Equatable {
    package var name: String
    /// 0 where the kernel chooses.
    package var listenPort: Int
    /// The mark of the packets it sends; 0: none.
    package var mark: UInt32
    /// At most `WireGuardLimits.peers`, in the order in which they were told.
    package var peers: [WireGuardPeer]

    package init(name: String, listenPort: Int = 0, mark: UInt32 = 0, peers: [WireGuardPeer] = []) {
        self.name = name
        self.listenPort = listenPort
        self.mark = mark
        self.peers = peers
    }
}

/// One peer of a WireGuard interface.
package struct WireGuardPeer: Sendable, Equatable {
    /// In base 64, as everybody writes it.
    package var publicKey: String
    /// `10.0.0.1:51820` or `[fd00::1]:51820`; `nil`: not known.
    package var endpoint: String?
    package var allowedIPs: [IPPrefix] = []
    /// Seconds since the epoch; 0: never.
    package var handshake: Int64 = 0
    package var received: UInt64 = 0
    package var sent: UInt64 = 0
    /// Seconds; 0: off.
    package var keepalive: Int = 0

    package init(publicKey: String) { self.publicKey = publicKey }

    /// The endpoint's address, without its port.
    package var endpointAddress: IPAddress? {
        guard let endpoint, let colon = endpoint.lastIndex(of: ":") else { return nil }
        var host = endpoint[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return IPAddress(String(host.prefix { $0 != "%" }))
    }
}

/// Bounds of what is read of WireGuard.
package enum WireGuardLimits {
    /// Peers of one interface.
    package static let peers = 8192
    /// Ranges of one peer.
    package static let allowedIPs = 1024
    /// Bytes of one answer.
    static let bytes = 8 << 20
    /// Seconds since the epoch that a handshake may be at; others make no sense. The end is that of the
    /// range of times, in the year 2262.
    static let handshakes: ClosedRange<Int64> = 0...9_223_372_036
}

/// Why an interface could not be read or changed. Holds nothing that is secret.
package struct WireGuardFailure: Error, Equatable, CustomStringConvertible {
    package var reason: String
    /// This process has no right to it.
    package var isDenied: Bool

    /// - `errno`: what the kernel said, where it did.
    package init(_ reason: String, errno code: Int32 = 0) {
        self.reason = reason
        isDenied = code == EACCES || code == EPERM
    }

    package var description: String { reason }
}

/// Keys of WireGuard: 32 bytes.
package enum WireGuardKey {
    private static let digits = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Base 64 of 32 bytes; `nil` for any other number of them.
    package static func base64(_ bytes: some Collection<UInt8>) -> String? {
        let bytes = Array(bytes)
        guard bytes.count == 32 else { return nil }
        var text: [UInt8] = []
        for start in stride(from: 0, to: 32, by: 3) {
            let group = bytes[start..<min(start + 3, 32)]
            var value = 0
            for index in 0..<3 {
                value = value << 8 | (index < group.count ? Int(group[start + index]) : 0)
            }
            for index in 0..<4 {
                text.append(
                    index <= group.count
                        ? digits[value >> (18 - 6 * index) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether a text is a key in base 64, 44 characters of it.
    package static func isKey(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        return bytes.count == 44 && bytes[43] == UInt8(ascii: "=")
            && bytes[..<43].allSatisfy(digits.contains)
    }

    /// The bytes that 64 hexadecimal digits stand for.
    static func bytes(hex: some Collection<UInt8>) -> [UInt8]? {
        guard hex.count == 64 else { return nil }
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in hex {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x61 + 10
            case 0x41...0x46: value = digit - 0x41 + 10
            default: return nil
            }
            if let upper = high {
                bytes.append(upper << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return bytes
    }
}
