internal import Glibc

/// Ends a handshake in which the server stalls.
///
/// When a server says INFO and then nothing, cnats 3.4.1 forgets its timeout: the call never
/// returns, uses up a core and grows by more than a megabyte a second (fixed in 3.8.0). It cannot
/// be told to stop, but it notices the end of its socket. So this finds the sockets to the
/// server's ports that were opened since the handshake began, and shuts them down.
struct HandshakeBreaker: Sendable {
    /// Descriptors looked at; a process that has more is not one of ours.
    private static let descriptorLimit: CInt = 4096

    private let ports: Set<UInt16>
    private let known: Set<CInt>

    init(ports: Set<UInt16>) {
        self.ports = ports
        known = Set(Self.sockets(to: ports))
    }

    /// Another connection to the same port that began at the same time may be hit as well; it
    /// comes back by itself.
    func shutDown() {
        for socket in Self.sockets(to: ports) where !known.contains(socket) {
            shutdown(socket, CInt(SHUT_RDWR))
        }
    }

    private static func sockets(to ports: Set<UInt16>) -> [CInt] {
        (3..<descriptorLimit).filter { descriptor in
            var peer = sockaddr_in6()
            var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
            let result = withUnsafeMutablePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    getpeername(descriptor, $0, &size)
                }
            }
            // The port is at the same place in both families.
            let family = CInt(peer.sin6_family)
            guard result == 0, family == AF_INET || family == AF_INET6 else { return false }
            return ports.contains(UInt16(bigEndian: peer.sin6_port))
        }
    }
}
