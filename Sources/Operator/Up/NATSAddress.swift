/// The address of a NATS server on this machine, taken from a URL.
package struct NATSAddress: Sendable, Equatable {
    /// The port of URLs that name none.
    static let defaultPort: UInt16 = 4222

    /// An address of the loopback interface, such as `127.0.0.1`.
    package var host: String
    package var port: UInt16
    /// What clients must know, when the URL says it.
    package var user: String?
    package var password: String?

    /// Reads the URL of a server that is to be started here.
    ///
    /// - `url`: valid by the rules of the configuration.
    /// - Throws: `Failure` when it is not on this machine, or needs what we cannot set up.
    package init(_ url: String) throws(Failure) {
        var rest = url[...]
        if rest.hasPrefix("tls://") {
            throw Self.refusal(url, "it asks for TLS, which `skos up` does not set up")
        }
        if rest.hasPrefix("nats://") { rest = rest.dropFirst(7) }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(
                separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            user = String(parts[0])
            password = parts.count > 1 ? String(parts[1]) : nil
            rest = rest[rest.index(after: at)...]
        }
        while rest.last == "/" { rest.removeLast() }
        port = Self.defaultPort
        if let colon = rest.lastIndex(of: ":"), rest.last != "]",
            let number = UInt16(rest[rest.index(after: colon)...])
        {
            port = number
            rest = rest[..<colon]
        }
        let name = rest.first == "[" ? String(rest.dropFirst().dropLast()) : String(rest)
        guard let host = Self.loopback(name) else {
            throw Self.refusal(url, "\(name) is not this machine's loopback interface")
        }
        self.host = host
    }

    private static func loopback(_ name: String) -> String? {
        switch name {
        case "localhost": return "127.0.0.1"
        case "::1": return name
        default:
            let numbers = name.split(separator: ".", omittingEmptySubsequences: false)
            let isLoopback =
                numbers.count == 4 && numbers[0] == "127" && numbers.allSatisfy { UInt8($0) != nil }
            return isLoopback ? name : nil
        }
    }

    private static func refusal(_ url: String, _ reason: String) -> Failure {
        Failure(
            .usage,
            "`skos up` cannot start a NATS server at \(Text.quoted(withoutPassword(url))): \(reason); "
                + "use --external-nats to join one that runs, or another address in nats.urls or "
                + "NATS_URL")
    }

    private static func withoutPassword(_ url: String) -> String {
        url.lastIndex(of: "@").map { "…" + url[$0...] } ?? url
    }

    /// `127.0.0.1:4222`
    package var text: String { Self.text(host, port) }

    static func text(_ host: String, _ port: UInt16) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
