import Glibc

/// A rule by which the kernel chooses a routing table, kept as it was told.
package struct NetworkRule: Sendable, Equatable {
    static let structureBytes = 12
    /// FRA_PRIORITY
    private static let place: UInt16 = 6
    /// FIB_RULE_INVERT
    private static let inverted: UInt32 = 0x2

    /// The payload of its message: `struct fib_rule_hdr` and attributes.
    package let payload: [UInt8]

    /// Reads the payload of an `RTM_NEWRULE`; `nil`: it is about something else than addresses.
    package init?(payload: [UInt8]) {
        guard payload.count >= Self.structureBytes,
            payload[0] == UInt8(AF_INET) || payload[0] == UInt8(AF_INET6)
        else { return nil }
        self.payload = payload
    }

    /// What it says, wherever among the others it stands.
    package var meaning: [UInt8] {
        let attributes = NetlinkAttribute.list(payload[Self.structureBytes...])
        return payload.prefix(Self.structureBytes)
            + attributes.filter { $0.type != Self.place }.flatMap(\.encoded)
    }
}

extension NetworkRule {
    package var isV6: Bool { payload[0] == UInt8(AF_INET6) }

    private func number(_ type: UInt16) -> UInt32? {
        NetlinkAttribute.list(payload[Self.structureBytes...]).first { $0.type == type }?.number
    }

    /// `not fwmark N lookup N`, by which `wg-quick` sends everything but WireGuard's own into a tunnel.
    var isIntoTunnel: Bool {
        // FRA_FWMARK and FRA_TABLE
        guard let mark = number(10), payload.number(at: 8, as: UInt32.self) & Self.inverted != 0
        else { return false }
        return mark == number(15)
    }

    /// `lookup main suppress_prefixlength 0`, by which it leaves to the main table what that knows.
    var isAroundTunnel: Bool { number(15) == 254 && number(14) == 0 }
}

/// The rules of this network namespace.
package enum NetworkRules {
    private static let deleteRule: UInt16 = 33
    private static let getRule: UInt16 = 34

    package static func all() throws(NetlinkFailure) -> [NetworkRule] {
        let answers = try NetlinkSocket().ask(
            "list routing rules", type: getRule, flags: Netlink.dump,
            [UInt8](repeating: 0, count: NetworkRule.structureBytes))
        return answers.compactMap { NetworkRule(payload: $0.payload) }
    }

    /// Removes a rule; it is no error that it is not there any more.
    package static func remove(_ rule: NetworkRule) throws(NetlinkFailure) {
        do throws(NetlinkFailure) {
            _ = try NetlinkSocket().ask(
                "remove a routing rule", type: deleteRule, flags: 0, rule.payload)
        } catch {
            guard error.errno == ENOENT else { throw error }
        }
    }

    /// Of the rules of full tunnels that there were, those that have come once more since: what was left of
    /// a tunnel that has been made anew.
    package static func doubled(_ former: [NetworkRule], now rules: [NetworkRule]) -> [NetworkRule]
    {
        var new = rules.filter { !former.contains($0) }.map(\.meaning)
        let doubled = former.filter { rule in
            guard rule.isIntoTunnel || rule.isAroundTunnel, rules.contains(rule),
                let place = new.firstIndex(of: rule.meaning)
            else { return false }
            new.remove(at: place)
            return true
        }
        // Another tunnel's may be like one of the two, and never like both.
        return doubled.filter { rule in
            doubled.contains { $0.isIntoTunnel && $0.isV6 == rule.isV6 }
        }
    }
}
