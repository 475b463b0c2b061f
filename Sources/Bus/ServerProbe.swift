internal import Glibc
internal import Protocol
internal import Threads

/// What a server says about itself in its first line.
struct ServerInfo: Sendable, Equatable {
    var version: String?
    var name: String?
    var jetStream = false
}

/// Where a server is, taken from a URL.
struct ServerAddress: Sendable {
    static let defaultPort: UInt16 = 4222

    /// As cnats gets it; without a user where that could not say who.
    var url: String
    var host: String
    var port: UInt16
    /// Whom to be, when the URL names a user with percent-encoded characters: cnats would take them as
    /// they stand, and take a `:` or `@` for its own.
    var encodedUser: (name: String, password: String)?

    /// - Throws: `invalidArgument` naming what is wrong with the URL.
    init(_ url: String) throws(BusError) {
        func refuse(_ reason: String) -> BusError {
            BusError(
                .invalidArgument,
                "NATS URL '\(Self.redacted(url))': \(reason); write nats://host:4222 or tls://host:4222"
            )
        }
        var rest = url[...]
        if let scheme = Self.position(of: "://", in: rest) {
            guard ["nats", "tls"].contains(rest[..<scheme]) else {
                throw refuse("scheme '\(rest[..<scheme])' is not supported")
            }
            rest = rest[rest.index(scheme, offsetBy: 3)...]
        }
        var plainURL = url
        if let at = rest.lastIndex(of: "@") {
            if rest[..<at].contains("%") {
                guard let user = Self.decodedUser(rest[..<at]) else {
                    throw refuse("a % in its user or password is written %25")
                }
                encodedUser = user
                plainURL = Self.redacted(url)
            }
            rest = rest[rest.index(after: at)...]
        }
        while rest.last == "/" { rest.removeLast() }
        guard rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }) else {
            throw refuse("it has a blank, a path or a character that is not ASCII")
        }
        port = Self.defaultPort
        if let colon = rest.lastIndex(of: ":"), rest.last != "]" {
            guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else {
                throw refuse("'\(rest[rest.index(after: colon)...])' is not a port")
            }
            port = number
            rest = rest[..<colon]
        }
        if rest.first == "[", rest.last == "]" { rest = rest.dropFirst().dropLast() }
        guard !rest.isEmpty else { throw refuse("it names no host") }
        host = String(rest)
        self.url = plainURL
    }

    /// The URL without user and password, for people to read.
    static func redacted(_ url: String) -> String {
        guard let at = url.lastIndex(of: "@") else { return url }
        let scheme = position(of: "://", in: url[...])
        let prefix = scheme.map { url[..<url.index($0, offsetBy: 3)] } ?? ""
        return String(prefix + url[url.index(after: at)...])
    }

    /// The parts of `user:password`, with `%40` and the like as the characters they stand for.
    private static func decodedUser(_ text: Substring) -> (name: String, password: String)? {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let plain = parts.compactMap { decoded($0) }
        guard plain.count == parts.count else { return nil }
        return (plain[0], plain.count > 1 ? plain[1] : "")
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = [UInt8](text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, digits.allSatisfy(\.isHexDigit),
                let value = UInt8(digits, radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func position(of needle: String, in text: Substring) -> String.Index? {
        var index = text.startIndex
        while index < text.endIndex {
            if text[index...].hasPrefix(needle) { return index }
            index = text.index(after: index)
        }
        return nil
    }
}

/// Looks whether NATS answers at an address, before cnats is let at it: cnats 3.4.1 reports the
/// same for everything that is not NATS, and may hang on it.
enum ServerProbe {
    /// A server's first line is a few hundred bytes; cnats takes 32 KiB at most.
    private static let lineLimit = 32 * 1024

    /// Blocks: for the resolver as long as that takes, otherwise at most `timeout`.
    static func ask(_ address: ServerAddress, timeout: Duration) throws(BusError) -> ServerInfo {
        let place = "\(address.host):\(address.port)"
        let deadline = MonotonicClock.deadline(after: timeout)
        let socket = try connect(address, place, deadline)
        defer { close(socket) }
        let line = try firstLine(of: socket, place, deadline)
        let notNATS = { (reason: String) in
            BusError(
                .notNATS,
                "\(place) answers, but it is not NATS: \(reason); check host and port "
                    + "(NATS clients use 4222, the monitoring page is 8222)")
        }
        guard line.starts(with: Array("INFO ".utf8)) else {
            throw notNATS("it begins with \(printable(line))")
        }
        guard let json = try? JSON.parse(Array(line.dropFirst(5))), let info = json.object else {
            throw notNATS("its INFO line is not JSON")
        }
        return ServerInfo(
            version: info["version"]?.string, name: info["server_name"]?.string,
            jetStream: info["jetstream"]?.bool ?? false)
    }

    private static func connect(
        _ address: ServerAddress, _ place: String, _ deadline: UInt64
    ) throws(BusError) -> CInt {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(address.host, String(address.port), &hints, &list)
        guard code == 0 else {
            let reason = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
            throw BusError(.refused, "cannot resolve \(address.host): \(reason)")
        }
        defer { freeaddrinfo(list) }
        var failure = ETIMEDOUT
        var next = list
        while let info = next?.pointee {
            next = info.ai_next
            let type = info.ai_socktype | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
            let socket = Glibc.socket(info.ai_family, type, info.ai_protocol)
            guard socket >= 0 else {
                failure = errno
                continue
            }
            failure = establish(socket, info, deadline)
            if failure == 0 { return socket }
            close(socket)
        }
        let reason = String(cString: strerror(failure))
        throw BusError(
            failure == ETIMEDOUT ? .timeout : .refused,
            "cannot reach NATS at \(place): \(reason); check the address and that nats-server runs")
    }

    /// Returns 0 or the `errno`.
    private static func establish(_ socket: CInt, _ info: addrinfo, _ deadline: UInt64) -> CInt {
        if Glibc.connect(socket, info.ai_addr, info.ai_addrlen) == 0 { return 0 }
        guard errno == EINPROGRESS else { return errno }
        guard wait(socket, CShort(POLLOUT), deadline) else { return ETIMEDOUT }
        var code: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else { return errno }
        return code
    }

    private static func firstLine(
        of socket: CInt, _ place: String, _ deadline: UInt64
    ) throws(BusError) -> [UInt8] {
        var line: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while line.count < lineLimit {
            guard wait(socket, CShort(POLLIN), deadline) else {
                let what = line.isEmpty ? "says nothing" : "does not finish its first line"
                throw BusError(
                    line.isEmpty ? .timeout : .notNATS,
                    "\(place) accepts the connection but \(what); it is frozen or not NATS")
            }
            let got = recv(socket, &buffer, buffer.count, 0)
            if got < 0, errno == EAGAIN || errno == EINTR { continue }
            guard got > 0 else {
                // Without a word: a server that was about to end, or a proxy before one that is not there.
                throw BusError(
                    line.isEmpty ? .refused : .notNATS,
                    "\(place) closed the connection without a greeting; is it NATS?",
                    detail: line.isEmpty ? nil : "it said \(printable(line))")
            }
            for byte in buffer[..<got] {
                if byte == UInt8(ascii: "\n") { return line }
                line.append(byte)
            }
            // Whatever it is, it is not going to become an INFO line.
            let greeting = Array("INFO ".utf8)
            if !line.starts(with: greeting.prefix(line.count)), line.count >= greeting.count {
                return line
            }
        }
        throw BusError(.notNATS, "\(place) answers, but its first line is too long for NATS")
    }

    private static func wait(_ socket: CInt, _ events: CShort, _ deadline: UInt64) -> Bool {
        while true {
            let now = MonotonicClock.now
            let isLast = now >= deadline
            // Asked once more when time is up: on a starved machine it may be this thread that is late.
            let limit = isLast ? 0 : CInt(clamping: (deadline - now) / 1_000_000 + 1)
            var descriptor = pollfd(fd: socket, events: events, revents: 0)
            let result = poll(&descriptor, 1, limit)
            if result > 0 { return true }
            if isLast || (result < 0 && errno != EINTR) { return false }
        }
    }

    private static func printable(_ line: [UInt8]) -> String {
        let shown = line.prefix(40).map { $0 >= 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") }
        return "'\(String(decoding: shown, as: UTF8.self))'"
    }
}
