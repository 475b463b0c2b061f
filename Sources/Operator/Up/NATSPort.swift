import Glibc

/// Looks at TCP ports of this machine.
enum NATSPort {
    /// How long whoever has the port may take to say something.
    private static let greetingMilliseconds: Int32 = 300

    /// What answers at a port.
    enum Holder: Equatable {
        case nobody
        /// A NATS server; the beginning of its greeting.
        case nats(String)
        case somethingElse
    }

    /// Who listens at an address. Blocks for less than a second.
    static func holder(host: String, port: UInt16) -> Holder {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0, let info = list?.pointee else {
            return .nobody
        }
        defer { freeaddrinfo(list) }
        let type = info.ai_socktype | CInt(SOCK_CLOEXEC.rawValue)
        let socket = Glibc.socket(info.ai_family, type, info.ai_protocol)
        guard socket >= 0 else { return .nobody }
        defer { close(socket) }
        // On the loopback interface this succeeds or fails at once.
        guard connect(socket, info.ai_addr, info.ai_addrlen) == 0 else { return .nobody }
        var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&waiting, 1, greetingMilliseconds) > 0 else { return .somethingElse }
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = recv(socket, &bytes, bytes.count, 0)
        let text = String(decoding: bytes[..<max(0, count)], as: UTF8.self)
        return text.hasPrefix("INFO ") ? .nats(text) : .somethingElse
    }
}
