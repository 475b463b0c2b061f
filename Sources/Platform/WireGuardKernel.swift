import Glibc

/// Reads an interface of the kernel's own WireGuard, over generic netlink: no program is started, and
/// the private key that the kernel tells is passed over and overwritten.
package enum WireGuardKernel {
    /// Reads the interface. Needs the capability NET_ADMIN.
    package static func device(_ name: String) throws(WireGuardFailure) -> WireGuardDevice {
        var answers = try ask(name)
        defer {
            for index in answers.indices {
                for place in answers[index].indices { answers[index][place] = 0 }
            }
        }
        return try parse(answers, name: name)
    }

    private static func ask(_ name: String) throws(WireGuardFailure) -> [[UInt8]] {
        do throws(NetlinkFailure) {
            let socket = try NetlinkSocket(NetlinkSocket.genericProtocol)
            defer { socket.forget() }
            let family = try family(socket)
            // genlmsghdr: WG_CMD_GET_DEVICE, version 1; then WGDEVICE_A_IFNAME.
            let request = [0, 1, 0, 0] + NetlinkAttribute(2, text: name).encoded
            return try socket.ask(
                "describe \(name)", type: family, flags: Netlink.dump, request
            ).map(\.payload)
        } catch { throw WireGuardFailure("\(name): \(error)", errno: error.errno) }
    }

    /// The number that generic netlink has given to WireGuard.
    private static func family(_ socket: NetlinkSocket) throws(NetlinkFailure) -> UInt16 {
        // To GENL_ID_CTRL: CTRL_CMD_GETFAMILY, version 1, CTRL_ATTR_FAMILY_NAME.
        let request = [3, 1, 0, 0] + NetlinkAttribute(2, text: "wireguard").encoded
        let answers = try socket.ask("know WireGuard", type: 16, flags: 0, request)
        let number = answers.first.map { NetlinkAttribute.list($0.payload.dropFirst(4)) }?
            .first { $0.type == 1 && $0.value.count >= 2 }
        guard let number else { throw NetlinkFailure(request: "know WireGuard", errno: ENOENT) }
        return number.value.number(at: 0, as: UInt16.self)
    }

    /// Puts the messages of a dump together. A peer with many ranges may go on in the next message, and
    /// then begins there with its key again.
    package static func parse(
        _ payloads: [[UInt8]], name: String
    ) throws(WireGuardFailure) -> WireGuardDevice {
        var device = WireGuardDevice(name: name)
        for payload in payloads {
            guard payload.count >= 4 else {
                throw WireGuardFailure("\(name): an answer that makes no sense")
            }
            for attribute in NetlinkAttribute.list(payload[4...]) {
                switch attribute.type {
                // WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_FWMARK, WGDEVICE_A_PEERS
                case 6 where attribute.value.count >= 2:
                    device.listenPort = Int(attribute.value.number(at: 0, as: UInt16.self))
                case 7: device.mark = attribute.number ?? 0
                case 8:
                    for entry in NetlinkAttribute.list(attribute.value) {
                        try take(entry, &device)
                    }
                default: break
                }
            }
        }
        return device
    }

    private static func take(
        _ entry: NetlinkAttribute, _ device: inout WireGuardDevice
    ) throws(WireGuardFailure) {
        let attributes = NetlinkAttribute.list(entry.value)
        guard let bytes = attributes.first(where: { $0.type == 1 })?.value,
            let key = WireGuardKey.base64(bytes)
        else { throw WireGuardFailure("\(device.name): a peer's key that is none") }
        if device.peers.last?.publicKey != key {
            guard device.peers.count < WireGuardLimits.peers else {
                throw WireGuardFailure("\(device.name): more than \(WireGuardLimits.peers) peers")
            }
            device.peers.append(WireGuardPeer(publicKey: key))
        }
        let last = device.peers.count - 1
        for attribute in attributes { take(attribute, &device.peers[last]) }
    }

    private static func take(_ attribute: NetlinkAttribute, _ peer: inout WireGuardPeer) {
        let value = attribute.value
        switch attribute.type {
        // WGPEER_A_ENDPOINT: a sockaddr_in or sockaddr_in6
        case 4:
            guard let address = IPAddress(socketAddress: value) else { return }
            let port = UInt16(value[2]) << 8 | UInt16(value[3])
            peer.endpoint = address.isV6 ? "[\(address)]:\(port)" : "\(address):\(port)"
        // WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL
        case 5 where value.count >= 2: peer.keepalive = Int(value.number(at: 0, as: UInt16.self))
        // WGPEER_A_LAST_HANDSHAKE_TIME: two numbers of 64 bits, seconds first
        case 6 where value.count >= 8:
            let seconds = value.number(at: 0, as: Int64.self)
            peer.handshake = WireGuardLimits.handshakes.contains(seconds) ? seconds : 0
        case 7 where value.count >= 8: peer.received = value.number(at: 0, as: UInt64.self)
        case 8 where value.count >= 8: peer.sent = value.number(at: 0, as: UInt64.self)
        // WGPEER_A_ALLOWEDIPS
        case 9:
            for entry in NetlinkAttribute.list(value) {
                guard peer.allowedIPs.count < WireGuardLimits.allowedIPs,
                    let range = range(NetlinkAttribute.list(entry.value))
                else { continue }
                peer.allowedIPs.append(range)
            }
        default: break
        }
    }

    private static func range(_ attributes: [NetlinkAttribute]) -> IPPrefix? {
        // WGALLOWEDIP_A_IPADDR, WGALLOWEDIP_A_CIDR_MASK
        guard
            let address = attributes.first(where: { $0.type == 2 }).flatMap({
                IPAddress(bytes: $0.value)
            }), let length = attributes.first(where: { $0.type == 3 })?.value.first
        else { return nil }
        return IPPrefix(address: address, length: Int(length))
    }
}
