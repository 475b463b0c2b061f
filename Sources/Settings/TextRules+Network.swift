import Glibc
import Protocol

// Subjects, interfaces, addresses, keys and webhooks.
extension TextRule {
    /// A subject that is subscribed to, with wildcards.
    static var subject: TextRule {
        TextRule(
            what: "a subject such as synthesis.>",
            rule: "words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words",
            pattern: "^(?!>|\\*\\.|skos\\.|SKOS_AUDIT\\.|_INBOX\\.|\\$(JS|KV|O|SYS)\\.)"
                + "(>|(\\$?[A-Za-z0-9_-]+|\\*)(\\.([A-Za-z0-9_-]+|\\*))*(\\.>)?)$",
            longest: 256, accepts: isSubject)
    }

    /// One side of the relay: everything below a subject.
    static var relayedSubject: TextRule {
        TextRule(
            what: "a subject that ends in .>, such as synthesis.in.>",
            rule: "words of A-Z a-z 0-9 _ - joined by dots, and .> at the end",
            pattern: "^(?!skos\\.|SKOS_AUDIT\\.|_INBOX\\.|\\$(JS|KV|O|SYS)\\.)"
                + "\\$?[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.>$",
            longest: 256,
            accepts: { isSubject($0) && $0.hasSuffix(".>") && !$0.utf8.contains(0x2A) })
    }

    /// A network interface.
    static func interface(_ what: String) -> TextRule {
        TextRule(
            what: what, rule: "1 to 15 of letters, digits and _ . = + -",
            pattern: "^(?!\\.{1,2}$)[A-Za-z0-9_.=+-]{1,15}$", longest: 15,
            accepts: { text in
                !text.isEmpty && text != "." && text != ".."
                    && text.utf8.allSatisfy(isInterfaceCharacter)
            })
    }

    /// Network interfaces, as a pattern.
    static var interfacePattern: TextRule {
        TextRule(
            what: "a pattern of interfaces such as wg*",
            rule: "1 to 31 of letters, digits and _ . = + - as they are, * and ? that match, and "
                + "[ ] that are closed",
            pattern: "^(?!\\.{1,2}$)[A-Za-z0-9_.=+*?!\\[\\]-]{1,31}$", longest: 31,
            accepts: { text in
                !text.isEmpty && text != "." && text != ".." && hasClosedBrackets(text)
                    && text.utf8.allSatisfy {
                        isInterfaceCharacter($0) || [0x2A, 0x3F, 0x21, 0x5B, 0x5D].contains($0)
                    }
            })
    }

    /// The public key of a peer of WireGuard: 32 bytes in base64, or empty.
    static var publicKey: TextRule {
        TextRule(
            what: "a peer's public key", rule: "32 bytes in base64: 44 characters, or empty",
            pattern: "^([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)?$", longest: 44,
            accepts: { $0.isEmpty || isWireGuardKey($0) },
            // It may be a private one by mistake.
            shown: { Name.quoted($0.utf8.count > 8 ? $0.prefix(4) + "…" : $0) })
    }

    /// An address of either family, or empty.
    static var ipAddress: TextRule {
        TextRule(
            what: "an address such as 10.1.0.1 or fd00::1", rule: "IPv4 or IPv6, or empty",
            pattern: "^[0-9A-Fa-f:.]{0,45}$", longest: 45,
            accepts: { $0.isEmpty || addressBytes($0) != nil })
    }

    /// The destination of a route.
    static var prefix: TextRule {
        TextRule(
            what: "a network such as 10.88.0.0/24",
            rule: "an address of IPv4 or IPv6, /, and the length; all bits after it are 0",
            pattern: "^[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}$", longest: 49,
            accepts: { text in
                guard let network = Network(text) else { return false }
                return network.isExact
            },
            suggestion: { text in
                if let network = Network(text) { return network.exact.text }
                return addressBytes(text).map { Network(address: $0, length: $0.count * 8).text }
            })
    }

    /// Where a webhook is, or empty.
    static var webhook: TextRule {
        TextRule(
            what: "a web address such as https://ntfy.example.org/skos",
            rule: "http:// or https://, [user:password@]host[:port][/path], or empty",
            pattern: "^(https?://([^@/?#\\s]*@)?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.%]+\\])"
                + "(:[0-9]{1,5})?([/?][!-\"$-~]*)?)?$",
            longest: 2048, accepts: { $0.isEmpty || isWebAddress($0) },
            shown: { Name.quoted(withoutPath($0)) })
    }
}

private func isInterfaceCharacter(_ byte: UInt8) -> Bool {
    isLetterOrDigit(byte) || [0x5F, 0x2E, 0x3D, 0x2B, 0x2D].contains(byte)
}

// MARK: Subjects

/// Whether NATS can be asked for a subject; the same rule as the bus has.
private func isSubject(_ text: String) -> Bool {
    let words = text.split(separator: ".", omittingEmptySubsequences: false)
    return words.enumerated().allSatisfy { index, word in
        if word == "*" { return true }
        if word == ">" { return index == words.count - 1 }
        let bare = index == 0 && word.hasPrefix("$") ? word.dropFirst() : word
        return !bare.isEmpty
            && bare.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x5F || $0 == 0x2D }
    }
}

/// Whether there is a subject that two subscriptions would both get.
func subjectsOverlap(_ left: String, _ right: String) -> Bool {
    let (left, right) = (left.split(separator: "."), right.split(separator: "."))
    for (word, other) in zip(left, right) {
        if word == ">" || other == ">" { return true }
        guard word == other || word == "*" || other == "*" else { return false }
    }
    return left.count == right.count
}

// MARK: Keys and addresses

private func isWireGuardKey(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard bytes.count == 44, bytes[43] == UInt8(ascii: "=") else { return false }
    let isBase64: (UInt8) -> Bool = { isLetterOrDigit($0) || $0 == 0x2B || $0 == 0x2F }
    // 43 characters hold two bits more than 32 bytes; they are 0 in the last one.
    return bytes[..<42].allSatisfy(isBase64) && "AEIMQUYcgkosw048".utf8.contains(bytes[42])
}

/// The 4 or 16 bytes of an address; `nil`: it is none.
func addressBytes(_ text: String) -> [UInt8]? {
    // A text that C would cut short at a NUL is none.
    guard !text.utf8.contains(0) else { return nil }
    var bytes = [UInt8](repeating: 0, count: 16)
    if inet_pton(AF_INET, text, &bytes) == 1 { return Array(bytes[..<4]) }
    return inet_pton(AF_INET6, text, &bytes) == 1 ? bytes : nil
}

/// A network: an address and how many of its bits count.
struct Network: Equatable {
    var address: [UInt8]
    var length: Int

    init(address: [UInt8], length: Int) {
        self.address = address
        self.length = length
    }

    /// Reads `10.88.0.0/24`; `nil`: it is none.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = addressBytes(String(parts[0])),
            let length = parseInteger(String(parts[1])), (0...address.count * 8).contains(length)
        else { return nil }
        self.init(address: address, length: length)
    }

    /// The same without the bits that do not count.
    var exact: Network {
        var copy = self
        for bit in length..<max(length, address.count * 8) {
            copy.address[bit / 8] &= ~(0x80 >> UInt8(bit % 8))
        }
        return copy
    }

    var isExact: Bool { self == exact }

    var text: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = address.count == 4 ? AF_INET : AF_INET6
        guard inet_ntop(family, address, &text, socklen_t(text.count)) != nil else { return "" }
        let end = text.firstIndex(of: 0) ?? text.endIndex
        return String(decoding: text[..<end].map(UInt8.init(bitPattern:)), as: UTF8.self)
            + "/\(length)"
    }
}

// MARK: Webhooks

private func isWebAddress(_ text: String) -> Bool {
    guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
    let rest = text.dropFirst(scheme.count)
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    return isAuthority(rest[..<end].utf8)
        && rest[end...].utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }
}

/// A web address without what may be secret: the user, the password, the path.
private func withoutPath(_ address: String) -> String {
    var scheme = ""
    var rest = address[...]
    if let colon = address.firstIndex(of: ":"), address[colon...].hasPrefix("://") {
        scheme = address[..<colon] + "://"
        rest = address[colon...].dropFirst(3)
    }
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    let shown = scheme + withoutSecrets(String(rest[..<end]))
    return end == rest.endIndex ? shown : shown + "/…"
}
