package import Platform

/// The routes that `wg-quick` makes of a configuration file.
package enum QuickRoutes: Sendable, Equatable {
    case none
    /// Those to allowed IPs to which the interface has none yet; for everything, rules and a table.
    case automatic
    /// One to each of the allowed IPs, in a table of their own.
    case table(Int)
}

/// The text of a configuration file as `wg-quick` reads it. Pure. Nothing that is secret leaves it but
/// in a text that goes into such a file again.
package struct WireGuardConf: Sendable {
    /// A file is at most this long; 5,000 peers take a quarter of it.
    package static let limit = 4 << 20

    /// One line: the section it stands in, and its name and value where it has them.
    private struct Line {
        var text: Substring
        var section: String
        var name: String
        var value: Substring
        var isSection: Bool
    }

    /// The lines that `wg` itself knows; the others are for `wg-quick`.
    private static let known: [String: Set<String>] = [
        "interface": ["privatekey", "listenport", "fwmark"],
        "peer": ["publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"],
    ]

    private let lines: [Line]

    /// - Throws: `WireGuardFailure` naming the line that makes no sense, without its content.
    package init(_ text: some Collection<UInt8>) throws(WireGuardFailure) {
        guard text.count <= Self.limit else {
            throw WireGuardFailure("it is longer than \(Self.limit) bytes")
        }
        var lines: [Line] = []
        var section = ""
        let whole = String(decoding: text, as: UTF8.self)
        for (index, line) in whole.split(
            omittingEmptySubsequences: false, whereSeparator: \.isNewline
        ).enumerated() {
            let bare = Self.trimmed(line.prefix { $0 != "#" })
            if bare.isEmpty {
                lines.append(
                    Line(text: line, section: section, name: "", value: "", isSection: false))
                continue
            }
            if bare.hasPrefix("["), bare.hasSuffix("]") {
                section = bare.dropFirst().dropLast().lowercased()
                guard Self.known[section] != nil else {
                    throw WireGuardFailure("line \(index + 1): an unknown section")
                }
                lines.append(
                    Line(text: line, section: section, name: "", value: "", isSection: true))
                continue
            }
            guard let equals = bare.firstIndex(of: "="), !section.isEmpty else {
                throw WireGuardFailure("line \(index + 1): neither a section nor a setting")
            }
            lines.append(
                Line(
                    text: line, section: section,
                    name: Self.trimmed(bare[..<equals]).lowercased(),
                    value: Self.trimmed(bare[bare.index(after: equals)...]), isSection: false))
        }
        self.lines = lines
    }

    /// Its peers, without what is secret about them.
    package var peers: [ConfiguredPeer] {
        var peers: [ConfiguredPeer] = []
        var current: ConfiguredPeer?
        for line in lines {
            if line.isSection {
                if let peer = current, !peer.publicKey.isEmpty { peers.append(peer) }
                current = line.section == "peer" ? ConfiguredPeer(publicKey: "") : nil
                if peers.count >= WireGuardLimits.peers { return peers }
                continue
            }
            switch line.name {
            case "publickey" where WireGuardKey.isKey(line.value):
                current?.publicKey = String(line.value)
            case "endpoint": current?.endpoint = String(line.value)
            case "allowedips":
                let ranges = line.value.split(separator: ",").compactMap {
                    IPPrefix(Self.trimmed($0))?.description
                }
                current?.allowedIPs += ranges
            default: break
            }
        }
        if let peer = current, !peer.publicKey.isEmpty { peers.append(peer) }
        return peers
    }

    /// Whether it is written for `wg-quick`: it gives the interface addresses, which `wg` cannot.
    package var isForQuick: Bool { has("address") }

    /// The addresses that `wg-quick` gives the interface, as written.
    package var addresses: [String] {
        lines.filter { $0.section == "interface" && $0.name == "address" }
            .flatMap { $0.value.split(separator: ",") }.map { String(Self.trimmed($0)) }
    }

    /// The port that is written; `nil`: none, so that any is right.
    package var listenPort: Int? {
        lines.last { $0.section == "interface" && $0.name == "listenport" }
            .flatMap { Int($0.value) }
    }

    /// The routes that `wg-quick` makes for the allowed IPs by itself.
    package var routes: QuickRoutes {
        guard isForQuick else { return .none }
        let table = lines.last { $0.section == "interface" && $0.name == "table" }
        guard let word = table?.value.lowercased(), word != "auto" else { return .automatic }
        // Other names are in a file of the system's, and nobody knows which it is here.
        let number = ["main": 254, "default": 253][word] ?? Int(word) ?? 0
        return (1...Int(UInt32.max)).contains(number) ? .table(number) : .none
    }

    /// The private key that is written, if one is. Secret: only for a file that is to hold it.
    package var privateKey: String? {
        lines.first { $0.section == "interface" && $0.name == "privatekey" }
            .flatMap { WireGuardKey.isKey($0.value) ? String($0.value) : nil }
    }

    /// Whether a program that `wg-quick` runs gives the interface its key, for the file to hold none.
    package var setsKey: Bool {
        lines.contains { line in
            line.section == "interface" && line.name == "postup"
                && ["private-key", "setconf", "addconf", "syncconf"].contains {
                    line.value.contains($0)
                }
        }
    }

    /// Whether `wg-quick` writes it from what runs when the interface is taken down: what runs is right.
    package var isSaved: Bool {
        lines.contains { line in
            line.section == "interface" && line.name == "saveconfig"
                && line.value.lowercased() == "true"
        }
    }

    /// Whether its interface has a setting, which is named in lower case.
    package func has(_ name: String) -> Bool {
        lines.contains { $0.section == "interface" && $0.name == name }
    }

    /// What `wg syncconf` understands of it. Secret.
    package var stripped: String {
        lines.filter { line in
            line.isSection || Self.known[line.section]?.contains(line.name) == true
        }.map { $0.text + "\n" }.joined()
    }

    /// The lines that are for `wg-quick` only, such as `Address`.
    package var quickLines: [String] {
        lines.filter { line in
            line.section == "interface" && !line.name.isEmpty
                && Self.known["interface"]?.contains(line.name) != true
        }.map { String(Self.trimmed($0.text)) }
    }

    /// The same text with a private key in the place of the one it has, or lacks. Secret.
    package func with(privateKey: String) -> String {
        var text = ""
        var isWritten = false
        for line in lines where !(line.section == "interface" && line.name == "privatekey") {
            text += line.text + "\n"
            if line.isSection, line.section == "interface", !isWritten {
                text += "PrivateKey = \(privateKey)\n"
                isWritten = true
            }
        }
        if !isWritten { text = "[Interface]\nPrivateKey = \(privateKey)\n\n" + text }
        // Splitting a text that ends with a newline leaves an empty line behind it.
        while text.hasSuffix("\n\n") { text.removeLast() }
        return text
    }

    /// The same text with further lines in its interface's section.
    package func adding(_ extra: [String]) -> String {
        var text = ""
        var isWritten = false
        for line in lines {
            text += line.text + "\n"
            if line.isSection, line.section == "interface", !isWritten {
                for line in extra { text += line + "\n" }
                isWritten = true
            }
        }
        while text.hasSuffix("\n\n") { text.removeLast() }
        return text
    }

    // MARK: Parts for wg

    /// What `wg` understands of the interface's own section. Secret.
    package var interfacePart: String {
        "[Interface]\n"
            + lines.filter { line in
                line.section == "interface" && !line.isSection
                    && Self.known["interface"]?.contains(line.name) == true
            }.map { $0.text + "\n" }.joined()
    }

    /// What it says of one peer, for `wg addconf`; empty: nothing. An endpoint is in it only when one is
    /// given here: names are for the caller to resolve, and a peer that is well stays where it is.
    /// `without` are ranges that are another's now. Secret.
    package func peerPart(
        _ publicKey: String, endpoint: String? = nil, without: Set<String> = []
    ) -> String {
        var (part, section) = ("", [Line]())
        func close() {
            let isMeant = section.contains { $0.name == "publickey" && $0.value == publicKey }
            guard isMeant else { return }
            let kept = section.filter { line in
                Self.known["peer"]?.contains(line.name) == true && line.name != "endpoint"
            }
            part += "[Peer]\n" + kept.map { Self.text($0, without: without) + "\n" }.joined()
            if let endpoint { part += "Endpoint = \(endpoint)\n" }
        }
        for line in lines {
            if line.isSection {
                close()
                section = []
            }
            if line.section == "peer" { section.append(line) }
        }
        close()
        return part
    }

    private static func text(_ line: Line, without ranges: Set<String>) -> String {
        guard line.name == "allowedips", !ranges.isEmpty else { return String(line.text) }
        let kept = line.value.split(separator: ",").map(trimmed).filter { text in
            IPPrefix(text).map { !ranges.contains($0.description) } ?? true
        }
        return "AllowedIPs = " + kept.joined(separator: ", ")
    }

    /// Its lines without any value that is secret, to be compared with another; in any order, for
    /// `wireguard-go` tells its peers in any.
    package var withoutSecrets: String {
        lines.map { line in
            ["privatekey", "presharedkey"].contains(line.name) ? line.name : String(line.text)
        }.sorted().joined(separator: "\n")
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var rest = text
        while rest.last?.isWhitespace == true { rest.removeLast() }
        while rest.first?.isWhitespace == true { rest.removeFirst() }
        return rest
    }
}
