import Glibc

/// An interface's address with the length of its network, such as `10.88.0.1/24`.
package struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
    package let address: IPAddress
    package let length: Int

    /// As `wg-quick` and `ip` read it: without a length it is a single host.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = IPAddress(String(parts[0])) else {
            return nil
        }
        let length = parts.count == 2 ? Int(parts[1]) : address.bitCount
        guard let length, (0...address.bitCount).contains(length) else { return nil }
        self.address = address
        self.length = length
    }

    package var description: String { "\(address)/\(length)" }
}

/// The addresses of this network namespace's interfaces.
package enum NetworkAddresses {
    private static let structureBytes = 8
    /// IFA_F_NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN
    private static let ownFlags: UInt32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400

    private static func dump(_ index: Int32) throws(NetlinkFailure) -> [[UInt8]] {
        let answers = try NetlinkSocket().ask(
            "list addresses", type: 22, flags: Netlink.dump,
            [UInt8](repeating: 0, count: structureBytes))
        return answers.map(\.payload).filter {
            $0.count >= structureBytes && $0.number(at: 4, as: Int32.self) == index
        }
    }

    /// The addresses of an interface with the lengths of their networks; not those that the kernel
    /// gives by itself.
    package static func all(_ index: Int32) throws(NetlinkFailure) -> [String] {
        try dump(index).filter { $0[3] != 253 }.compactMap(text)
    }

    /// The address of a message with the length of its network.
    package static func text(_ payload: [UInt8]) -> String? {
        guard payload.count >= structureBytes else { return nil }
        // Its own address; the peer's on a link between two.
        let attributes = NetlinkAttribute.list(payload[structureBytes...])
        let value = (attributes.first { $0.type == 2 } ?? attributes.first { $0.type == 1 })
        guard let value, let address = IPAddress(bytes: value.value) else { return nil }
        return "\(address)/\(payload[1])"
    }

    /// Gives an interface an address; it is no error that it has it already.
    package static func add(
        _ address: NetworkAddress, to index: Int32
    ) throws(NetlinkFailure) {
        // family, length, flags, scope (global)
        var request: [UInt8] = [address.address.family, UInt8(address.length), 0, 0]
        request += withUnsafeBytes(of: index) { Array($0) }
        // IFA_LOCAL and IFA_ADDRESS
        request += NetlinkAttribute(2, address.address.bytes).encoded
        request += NetlinkAttribute(1, address.address.bytes).encoded
        _ = try NetlinkSocket().ask(
            "add the address \(address)", type: 20, flags: Netlink.create | Netlink.replace, request
        )
    }

    /// The addresses that the kernel drops when a link is switched off, as `restore` takes them: those
    /// of IPv6 that somebody has given.
    package static func lostWithLink(_ index: Int32) throws(NetlinkFailure) -> [[UInt8]] {
        try dump(index).filter { $0[0] == 10 && !isKernels($0) }
    }

    /// Whether the kernel has given a link-local address by itself, and will again.
    private static func isKernels(_ payload: [UInt8]) -> Bool {
        guard payload[3] == 253 else { return false }
        let attributes = NetlinkAttribute.list(payload[structureBytes...])
        // IFA_PROTO, which old kernels do not tell; IFA_FLAGS with IFA_F_STABLE_PRIVACY.
        let origin = attributes.first { $0.type == 11 }?.value.first
        let flags = attributes.first { $0.type == 8 }?.number ?? 0
        return origin == 3 || flags & 0x800 != 0
    }

    /// A message as hexadecimal digits, to be kept.
    package static func hex(_ payload: [UInt8]) -> String { Hexadecimal.text(payload) }

    /// Reads what `hex` gave.
    package static func payload(hex: String) -> [UInt8]? {
        Hexadecimal.bytes(hex).flatMap { $0.count >= structureBytes ? $0 : nil }
    }

    /// Puts an address back.
    package static func restore(_ payload: [UInt8]) throws(NetlinkFailure) {
        var request = Array(payload.prefix(structureBytes))
        for attribute in NetlinkAttribute.list(payload[structureBytes...]) {
            switch attribute.type {
            // IFA_ADDRESS, IFA_LOCAL, IFA_RT_PRIORITY, IFA_PROTO
            case 1, 2, 9, 11: request += attribute.encoded
            // IFA_FLAGS: what somebody has asked for, without states.
            case 8:
                let flags = (attribute.number ?? 0) & ownFlags
                request += NetlinkAttribute(8, flags).encoded
            // IFA_CACHEINFO and others are the kernel's own.
            default: break
            }
        }
        request[2] = 0
        _ = try NetlinkSocket().ask(
            "put an address back", type: 20, flags: Netlink.create | Netlink.replace, request)
    }
}
