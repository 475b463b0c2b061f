import Glibc

/// A route of the kernel, kept as it was told so that it can be put back exactly.
package struct NetworkRoute: Sendable, Equatable {
    static let structureBytes = 12

    /// The payload of its message: `struct rtmsg` and attributes.
    package let payload: [UInt8]
    package let prefix: IPPrefix
    package let table: Int
    /// The kernel's `RTA_PRIORITY`; 0 where there is none.
    package let metric: Int
    /// The interface's number; `nil` for routes that lead nowhere, or to several.
    package let device: Int32?
    package let gateway: IPAddress?
    /// `RTN_…`: 1 is an ordinary route, 6 a blackhole, 7 unreachable, 8 prohibited.
    package let type: UInt8

    /// Reads the payload of an `RTM_NEWROUTE`.
    package init?(payload: [UInt8]) {
        guard payload.count >= Self.structureBytes, payload[0] == 2 || payload[0] == 10 else {
            return nil
        }
        self.payload = payload
        var destination = [UInt8](repeating: 0, count: payload[0] == 10 ? 16 : 4)
        var (table, metric) = (Int(payload[4]), 0)
        var device: Int32?
        var gateway: IPAddress?
        for attribute in NetlinkAttribute.list(payload[Self.structureBytes...]) {
            switch attribute.type {
            case 1: destination = attribute.value
            case 4: device = attribute.number.map { Int32(bitPattern: $0) }
            case 5: gateway = IPAddress(bytes: attribute.value)
            case 6: metric = attribute.number.map(Int.init) ?? 0
            case 15: table = attribute.number.map(Int.init) ?? table
            default: break
            }
        }
        guard let address = IPAddress(bytes: destination),
            let prefix = IPPrefix(address: address, length: Int(payload[1]))
        else { return nil }
        self.prefix = prefix
        self.table = table
        self.metric = metric
        self.device = device
        self.gateway = gateway
        type = payload[7]
    }

    /// A new ordinary route.
    package init(
        prefix: IPPrefix, gateway: IPAddress?, device: Int32, metric: Int, table: Int
    ) {
        // family, length, source length, tos, table, protocol (static), scope, type (unicast), flags
        let scope: UInt8 = gateway == nil && !prefix.address.isV6 ? 253 : 0
        var payload: [UInt8] = [
            prefix.address.family, UInt8(prefix.length), 0, 0,
            table < 256 ? UInt8(table) : 252, 4, scope, 1, 0, 0, 0, 0,
        ]
        payload += NetlinkAttribute(1, prefix.address.bytes).encoded
        if let gateway { payload += NetlinkAttribute(5, gateway.bytes).encoded }
        payload += NetlinkAttribute(4, UInt32(bitPattern: device)).encoded
        if metric != 0 { payload += NetlinkAttribute(6, UInt32(clamping: metric)).encoded }
        payload += NetlinkAttribute(15, UInt32(clamping: table)).encoded
        self.payload = payload
        self.prefix = prefix
        self.table = table
        self.metric = metric
        self.device = device
        self.gateway = gateway
        type = 1
    }

    /// The payload that puts it back: without what only the kernel may say.
    var restoring: [UInt8] {
        var result = Array(payload.prefix(Self.structureBytes))
        let flags = result.number(at: 8, as: UInt32.self) & Self.ownFlags
        result.replaceSubrange(8..<12, with: withUnsafeBytes(of: flags) { Array($0) })
        let attributes = NetlinkAttribute.list(payload[Self.structureBytes...])
        // The hops of an object of their own are shown with the route, and must not be said with it.
        let isByObject = attributes.contains { $0.type == 30 }
        let hops: Set<UInt16> = isByObject ? [4, 5, 9, 18, 21, 22] : []
        // Not RTA_CACHEINFO, which is the kernel's book-keeping.
        for attribute in attributes where attribute.type != 12 && !hops.contains(attribute.type) {
            var attribute = attribute
            if attribute.type == 9 { attribute.value = Self.withoutStates(attribute.value) }
            result += attribute.encoded
        }
        return result
    }

    /// RTNH_F_PERVASIVE and RTNH_F_ONLINK; the others are states.
    private static let ownFlags: UInt32 = 0x2 | 0x4

    /// The next hops of a route with several, without the flags that are states.
    private static func withoutStates(_ hops: [UInt8]) -> [UInt8] {
        var hops = hops
        var start = 0
        while hops.count - start >= 8 {
            let length = Int(hops.number(at: start, as: UInt16.self))
            guard length >= 8, length <= hops.count - start else { break }
            hops[start + 2] &= UInt8(ownFlags)
            start += NetlinkMessage.aligned(length)
        }
        return hops
    }
}

/// The routes of this network namespace.
package enum NetworkRoutes {
    /// Where the kernel would send a packet.
    package enum Way: Sendable, Equatable {
        /// Out of this interface.
        case device(Int32, source: IPAddress?)
        /// To this machine itself.
        case local
        /// Nowhere: errno.
        case nowhere(Int32)
    }

    /// Asks the kernel where it would send a packet to an address. Rules may look at the packet's firewall
    /// mark.
    package static func way(to address: IPAddress, mark: UInt32 = 0) throws(NetlinkFailure) -> Way {
        var payload: [UInt8] = [
            address.family, UInt8(address.bitCount), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]
        payload += NetlinkAttribute(1, address.bytes).encoded
        if mark != 0 { payload += NetlinkAttribute(16, mark).encoded }
        let socket = try NetlinkSocket()
        let answers: [NetlinkMessage]
        do throws(NetlinkFailure) {
            answers = try socket.ask("find a route", type: Netlink.getRoute, flags: 0, payload)
        } catch {
            let isAnswer = [ENETUNREACH, EHOSTUNREACH, EINVAL, EACCES].contains(error.errno)
            guard isAnswer else { throw error }
            return .nowhere(error.errno)
        }
        guard let message = answers.first(where: { $0.type == Netlink.newRoute }),
            let route = NetworkRoute(payload: message.payload)
        else { throw NetlinkFailure(request: "find a route", errno: EIO) }
        switch route.type {
        case 2: return .local
        case 6: return .nowhere(EINVAL)
        case 7: return .nowhere(EHOSTUNREACH)
        case 8: return .nowhere(EACCES)
        default: break
        }
        guard let device = route.device else { return .nowhere(ENETUNREACH) }
        let source = NetlinkAttribute.list(message.payload[NetworkRoute.structureBytes...])
            .first { $0.type == 7 }.flatMap { IPAddress(bytes: $0.value) }
        return .device(device, source: source)
    }

    /// All routes of a family.
    package static func all(isV6: Bool) throws(NetlinkFailure) -> [NetworkRoute] {
        var payload = [UInt8](repeating: 0, count: NetworkRoute.structureBytes)
        payload[0] = UInt8(isV6 ? AF_INET6 : AF_INET)
        let answers = try NetlinkSocket().ask(
            "list routes", type: Netlink.getRoute, flags: Netlink.dump, payload)
        return answers.compactMap { NetworkRoute(payload: $0.payload) }
    }

    /// The route with exactly this destination, metric and table.
    package static func exact(
        _ prefix: IPPrefix, metric: Int, table: Int
    ) throws(NetlinkFailure) -> NetworkRoute? {
        try all(isV6: prefix.address.isV6).first {
            // For IPv6 the kernel says 1024 where nobody has named a metric.
            let isMetric =
                $0.metric == metric
                || prefix.address.isV6 && metric == 0
                    && $0.metric == 1024
            return $0.prefix == prefix && isMetric && $0.table == table
        }
    }

    /// Puts a route in the place of the one with the same destination, metric and table, if there is one.
    package static func replace(_ route: NetworkRoute) throws(NetlinkFailure) {
        _ = try NetlinkSocket().ask(
            "replace the route to \(route.prefix)", type: Netlink.newRoute,
            flags: Netlink.create | Netlink.replace, route.restoring)
    }

    /// Adds a route where there is none with the same destination, metric and table.
    ///
    /// - Returns: whether it was added; false: there is one, and it stays.
    package static func add(_ route: NetworkRoute) throws(NetlinkFailure) -> Bool {
        do throws(NetlinkFailure) {
            _ = try NetlinkSocket().ask(
                "add the route to \(route.prefix)", type: Netlink.newRoute,
                flags: Netlink.create | Netlink.exclusive, route.restoring)
            return true
        } catch {
            guard error.errno == EEXIST else { throw error }
            return false
        }
    }

    /// Removes a route; it is no error that it is not there any more.
    package static func remove(_ route: NetworkRoute) throws(NetlinkFailure) {
        do throws(NetlinkFailure) {
            _ = try NetlinkSocket().ask(
                "remove the route to \(route.prefix)", type: Netlink.deleteRoute, flags: 0,
                route.restoring)
        } catch {
            guard error.errno == ESRCH else { throw error }
        }
    }
}

extension NetworkRoute {
    /// Whether somebody has made it with `ip` or a script, and not the kernel or a routing program:
    /// RTPROT_BOOT, RTPROT_STATIC.
    package var isByHand: Bool { payload[5] == 3 || payload[5] == 4 }

    /// The metric that counts. For IPv6 the kernel says 1024 where nobody has named one.
    private var rank: Int { prefix.address.isV6 && metric == 0 ? 1024 : metric }

    /// Whether one takes the other's place: the same destination, metric and table.
    package func isSamePlace(as other: NetworkRoute) -> Bool {
        prefix == other.prefix && table == other.table && rank == other.rank
    }

    /// Whether packets take this one and not the other: the same destination and table, and a lower metric.
    package func comesBefore(_ other: NetworkRoute) -> Bool {
        prefix == other.prefix && table == other.table && rank < other.rank
    }

    /// Whether both lead packets the same way.
    package func isSameWay(as other: NetworkRoute) -> Bool {
        isSamePlace(as: other) && device == other.device && gateway == other.gateway
            && type == other.type
    }

    /// The same route through the interface that has a name now; `nil`: there is none.
    package func through(_ name: String, _ links: [NetworkLink]) -> NetworkRoute? {
        guard let link = links.first(where: { $0.name == name }) else { return nil }
        guard device != link.index else { return self }
        var changed = Array(payload.prefix(Self.structureBytes))
        for attribute in NetlinkAttribute.list(payload[Self.structureBytes...]) {
            changed +=
                attribute.type == 4
                ? NetlinkAttribute(4, UInt32(bitPattern: link.index)).encoded : attribute.encoded
        }
        return NetworkRoute(payload: changed)
    }

    /// The route as hexadecimal digits, to be kept.
    package var hex: String { Hexadecimal.text(payload) }

    /// Reads what `hex` gave.
    package init?(hex: String) {
        guard let bytes = Hexadecimal.bytes(hex) else { return nil }
        self.init(payload: bytes)
    }
}

/// Bytes as pairs of hexadecimal digits.
enum Hexadecimal {
    static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] },
            as: UTF8.self)
    }

    static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.compactMap { digit in
            Character(UnicodeScalar(digit)).hexDigitValue.map(UInt8.init)
        }
        guard digits.count == text.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}
