import Glibc

/// An IPv4 or IPv6 address.
package struct IPAddress: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// 4 or 16 bytes, the most significant first.
    package let bytes: [UInt8]

    /// `nil` for any other number of bytes.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// Reads `10.0.0.1` or `fd00::1`; `nil` for anything else, names and zones included.
    package init?(_ text: String) {
        // No address is longer; and inet_pton wants no NUL inside.
        guard text.utf8.count <= 45, !text.utf8.contains(0) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 {
            self.bytes = Array(bytes.prefix(4))
        } else if inet_pton(AF_INET6, text, &bytes) == 1 {
            self.bytes = bytes
        } else {
            return nil
        }
    }

    package var isV6: Bool { bytes.count == 16 }

    /// The kernel's number of its family, `AF_INET` or `AF_INET6`.
    package var family: UInt8 { UInt8(isV6 ? AF_INET6 : AF_INET) }

    package var bitCount: Int { bytes.count * 8 }

    package var isLoopback: Bool {
        isV6 ? bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1 : bytes[0] == 127
    }

    package var description: String {
        var text = [CChar](repeating: 0, count: 64)
        guard inet_ntop(CInt(family), bytes, &text, socklen_t(text.count)) != nil else { return "" }
        return text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    package static func < (left: IPAddress, right: IPAddress) -> Bool {
        left.bytes.count != right.bytes.count
            ? left.bytes.count < right.bytes.count
            : left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    /// The address as the C library's functions want it, for a port.
    func withSocketAddress<T>(
        port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> T
    ) -> T {
        // sockaddr_in: family, port, 4 bytes; sockaddr_in6: family, port, flow, 16 bytes, scope.
        var raw = [UInt8](repeating: 0, count: isV6 ? 28 : 16)
        withUnsafeBytes(of: sa_family_t(family)) { raw.replaceSubrange(0..<2, with: $0) }
        raw[2] = UInt8(port >> 8)
        raw[3] = UInt8(port & 0xFF)
        let start = isV6 ? 8 : 4
        raw.replaceSubrange(start..<(start + bytes.count), with: bytes)
        return raw.withUnsafeBytes { buffer in
            // An array's storage is aligned for this structure, and is never empty here.
            guard let base = buffer.baseAddress else { preconditionFailure("an empty address") }
            return body(base.assumingMemoryBound(to: sockaddr.self), socklen_t(buffer.count))
        }
    }

    /// Reads a `sockaddr_in` or `sockaddr_in6`.
    package init?(socketAddress raw: [UInt8]) {
        guard raw.count >= 8 else { return nil }
        let family = raw.withUnsafeBytes { $0.loadUnaligned(as: sa_family_t.self) }
        let range = CInt(family) == AF_INET ? 4..<8 : 8..<24
        guard CInt(family) == AF_INET || CInt(family) == AF_INET6, raw.count >= range.upperBound
        else { return nil }
        bytes = Array(raw[range])
    }
}

/// A range of addresses, such as `10.88.0.0/24`.
package struct IPPrefix: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// With the bits behind the length set to zero.
    package let address: IPAddress
    package let length: Int

    /// `nil` when the length does not fit the address.
    package init?(address: IPAddress, length: Int) {
        guard (0...address.bitCount).contains(length) else { return nil }
        var bytes = address.bytes
        for index in bytes.indices {
            let kept = min(max(length - index * 8, 0), 8)
            bytes[index] &= kept == 0 ? 0 : 0xFF << (8 - kept)
        }
        guard let masked = IPAddress(bytes: bytes) else { return nil }
        self.address = masked
        self.length = length
    }

    /// Reads `10.88.0.0/24`; an address alone means that address only.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        switch parts.count {
        case 1: self.init(address: address, length: address.bitCount)
        case 2:
            guard (1...3).contains(parts[1].utf8.count), let length = Int(parts[1]), length >= 0
            else { return nil }
            self.init(address: address, length: length)
        default: return nil
        }
    }

    /// Whether it is one address only.
    package var isHost: Bool { length == address.bitCount }

    package func contains(_ other: IPAddress) -> Bool {
        other.isV6 == address.isV6 && IPPrefix(address: other, length: length) == self
    }

    /// Whether all of another range is in this one.
    package func covers(_ other: IPPrefix) -> Bool {
        length <= other.length && contains(other.address)
    }

    package var description: String { "\(address)/\(length)" }

    package static func < (left: IPPrefix, right: IPPrefix) -> Bool {
        (left.address, left.length) < (right.address, right.length)
    }
}
