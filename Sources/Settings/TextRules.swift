import Protocol

extension TextRule {
    /// Nodes, roles, actions, alert types: one token of a NATS subject.
    static func name(_ what: String) -> TextRule {
        TextRule(
            what: what, rule: "1 to 63 of a-z, 0-9, _ and -", pattern: "^[a-z0-9_-]{1,63}$",
            longest: 63, accepts: { Name.isValid($0) },
            suggestion: { text in
                let valid = validName(from: text)
                return valid.isEmpty || valid == text ? nil : valid
            })
    }

    /// An action verb. `throttle_N` is a family; a member that does not exist is refused here and not
    /// skipped on the node.
    static var action: TextRule {
        var rule = name("an action")
        rule.rule = "1 to 63 of a-z, 0-9, _ and -; throttle_N takes 1 to 90"
        rule.pattern = "^(?!throttle_[0-9])[a-z0-9_-]{1,63}$|^throttle_([1-9]|[1-8][0-9]|90)$"
        rule.accepts = { text in
            let isThrottle =
                text.hasPrefix("throttle_")
                && text.utf8.dropFirst(9).first.map { (0x30...0x39).contains($0) } == true
            return Name.isValid(text)
                && (!isThrottle || ActionTable.throttlePercent(text) != nil)
        }
        return rule
    }

    /// A path of a file or folder.
    static func path(_ what: String, mustBeAbsolute: Bool = false) -> TextRule {
        TextRule(
            what: what,
            rule: (mustBeAbsolute ? "starts with /, " : "") + "at most 4096 bytes",
            pattern: mustBeAbsolute ? "^/.{0,4095}$" : "^.{1,4096}$",
            longest: 4096,
            accepts: { text in
                !text.isEmpty && !hasControlCharacter(text)
                    && (!mustBeAbsolute || text.hasPrefix("/"))
            })
    }

    /// The address of a NATS server.
    static var address: TextRule {
        TextRule(
            what: "a NATS address such as nats://localhost:4222",
            rule: "[nats:// or tls://][user:password@]host[:port]",
            pattern:
                "^((nats|tls)://)?([^@/\\s]*@)?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.%]+\\])(:[0-9]{1,5})?/?$",
            longest: 1024, accepts: isNATSAddress,
            shown: { Name.quoted(withoutSecrets($0)) })
    }

    /// The value of a label: short, on one line.
    static var label: TextRule {
        TextRule(
            what: "a label's value", rule: "1 to 256 bytes on one line", pattern: "^.{1,256}$",
            longest: 256, accepts: { !$0.isEmpty && !hasControlCharacter($0) })
    }
}

func hasControlCharacter(_ text: String) -> Bool {
    text.unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) }
}

/// A name of `[a-z0-9_-]{1,63}` made from a host name or the like; empty when nothing is left of it.
package func validName(from text: String) -> String {
    let bytes = text.lowercased().utf8.prefix(63).map { byte -> UInt8 in
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x5F
            ? byte : UInt8(ascii: "-")
    }
    let dash = UInt8(ascii: "-")
    let inner = bytes.drop { $0 == dash }.reversed().drop { $0 == dash }.reversed()
    return String(decoding: Array(inner), as: UTF8.self)
}

/// `[nats://|tls://][user:password@]host[:port][/]`
private func isNATSAddress(_ text: String) -> Bool {
    var rest = text.utf8[...]
    for scheme in ["nats://", "tls://"] where text.hasPrefix(scheme) {
        rest = rest.dropFirst(scheme.utf8.count)
    }
    if rest.last == UInt8(ascii: "/") { rest.removeLast() }
    return isAuthority(rest)
}

/// `[user:password@]host[:port]`
func isAuthority(_ text: Substring.UTF8View) -> Bool {
    var rest = text
    if let at = rest.lastIndex(of: UInt8(ascii: "@")) {
        let user = rest[..<at]
        let isBad = user.contains { $0 <= 0x20 || $0 == 0x2F || $0 == 0x40 || $0 >= 0x7F }
        guard !isBad else { return false }
        rest = rest[rest.index(after: at)...]
    }
    var host = rest
    if rest.first == UInt8(ascii: "[") {
        guard let end = rest.firstIndex(of: UInt8(ascii: "]")) else { return false }
        host = rest[rest.index(after: rest.startIndex)..<end]
        rest = rest[rest.index(after: end)...]
        let allowed = host.allSatisfy { isHexDigit($0) || [0x3A, 0x2E, 0x25].contains($0) }
        guard !host.isEmpty, allowed else { return false }
    } else {
        host = rest.prefix { isHostCharacter($0) }
        rest = rest[host.endIndex...]
        guard !host.isEmpty else { return false }
    }
    guard rest.first == UInt8(ascii: ":") else { return rest.isEmpty }
    let digits = rest.dropFirst()
    guard (1...5).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
        let port = Int(String(decoding: digits, as: UTF8.self))
    else { return false }
    return (1...65535).contains(port)
}

private func isHostCharacter(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte) || (0x30...0x39).contains(byte)
        || [0x2D, 0x2E, 0x5F].contains(byte)
}

func isHexDigit(_ byte: UInt8) -> Bool {
    (0x61...0x66).contains(byte) || (0x41...0x46).contains(byte) || (0x30...0x39).contains(byte)
}

/// An address without the user and password it may hold.
package func withoutSecrets(_ address: String) -> String {
    guard let at = address.lastIndex(of: "@") else { return address }
    var scheme = ""
    if let colon = address.firstIndex(of: ":"), address[colon...].hasPrefix("://") {
        scheme = String(address[...colon]) + "//"
    }
    return scheme + "…" + address[at...]
}
