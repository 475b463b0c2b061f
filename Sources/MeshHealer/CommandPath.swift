import Glibc
import Platform

/// Whether the way to NATS leads through an interface: who commands over a tunnel must not cut it.
struct CommandPath: Sendable {
    /// How long names may take to be resolved.
    private static let nameLimit: Duration = .seconds(2)
    private static let worker = TimedWorker(maxHung: 2)

    private let network: any MeshNetwork

    init(network: any MeshNetwork) { self.network = network }

    /// Why an interface must not be cut; `nil`: NATS is not reached through it. `urls` are the NATS
    /// servers, as configured.
    func obstacle(_ device: WireGuardDevice, _ link: NetworkLink, urls: [String]) -> String? {
        for url in urls {
            guard let host = Self.host(url) else {
                return "the NATS server \(url) cannot be parsed"
            }
            let addresses = IPAddress(host).map { [$0] } ?? Self.resolve(host)
            guard let addresses else {
                return "the address of the NATS server \(host) cannot be found out now"
            }
            for address in addresses where !address.isLoopback {
                if leads(to: address, device, link) {
                    return "the NATS server \(host) (\(address)) is reached through \(link.name)"
                }
            }
        }
        return nil
    }

    private func leads(
        to address: IPAddress, _ device: WireGuardDevice, _ link: NetworkLink
    ) -> Bool {
        switch network.way(to: address, mark: 0) {
        case .device(let index, _):
            index == link.index || isCarried(by: index, address, link, depth: 3)
        case .local: false
        // Nobody knows: the tunnel would take it if it were asked.
        case .nowhere, nil:
            device.peers.contains { $0.allowedIPs.contains { $0.contains(address) } }
        }
    }

    /// Whether the way leads through another tunnel, and that one through the link.
    private func isCarried(
        by index: Int32, _ address: IPAddress, _ link: NetworkLink, depth: Int
    ) -> Bool {
        guard depth > 0, let links = try? network.links(),
            let outer = links.first(where: { $0.index == index }), network.isWireGuard(outer),
            let device = try? network.device(outer)
        else { return false }
        let carriers = device.peers.filter { $0.allowedIPs.contains { $0.contains(address) } }
        return carriers.compactMap(\.endpointAddress).contains { endpoint in
            guard case .device(let next, _)? = network.way(to: endpoint, mark: device.mark) else {
                return false
            }
            return next == link.index
                || next != index && isCarried(by: next, endpoint, link, depth: depth - 1)
        }
    }

    /// The host of `nats://user:password@host:port`.
    static func host(_ url: String) -> String? {
        var rest = url[...]
        if let scheme = rest.firstRange(of: "://") { rest = rest[scheme.upperBound...] }
        rest = rest.prefix { $0 != "/" }
        if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            return String(rest[rest.index(after: rest.startIndex)..<end])
        }
        let host = rest.prefix { $0 != ":" }
        return host.isEmpty ? nil : String(host)
    }

    /// The addresses of a name; `nil`: they cannot be found out in time. Blocks.
    static func resolve(_ host: String) -> [IPAddress]? {
        let found: [IPAddress]?? = worker.runBlocking(limit: nameLimit) {
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, nil, &hints, &list) == 0 else { return nil }
            defer { freeaddrinfo(list) }
            var addresses: [IPAddress] = []
            var next = list
            while let entry = next {
                if let raw = entry.pointee.ai_addr {
                    let bytes = UnsafeRawBufferPointer(
                        start: raw, count: Int(entry.pointee.ai_addrlen))
                    if let address = IPAddress(socketAddress: Array(bytes)) {
                        addresses.append(address)
                    }
                }
                next = entry.pointee.ai_next
            }
            return addresses
        }
        guard let found, let addresses = found, !addresses.isEmpty else { return nil }
        return addresses
    }
}
