import Glibc

/// The program `wg`: reads and changes interfaces of every kind. What it prints with keys in it is
/// never asked for, but for one function that says so.
package struct WireGuardTool: Sendable {
    private let program: String
    private let timeLimit: Duration

    /// - `program`: where it is.
    package init(program: String = "/usr/bin/wg", timeLimit: Duration = .seconds(2)) {
        self.program = program
        self.timeLimit = timeLimit
    }

    package var isInstalled: Bool { access(program, X_OK) == 0 }

    /// Reads the interface. Blocks for `timeLimit` a question at most, and ends with the first failure.
    package func device(_ name: String) throws(WireGuardFailure) -> WireGuardDevice {
        var device = WireGuardDevice(name: name)
        var places: [Substring: Int] = [:]
        let peers = try ask(name, "latest-handshakes")
        let lines = try Self.lines(peers, fields: 2, of: "latest-handshakes")
        for fields in lines {
            var peer = WireGuardPeer(publicKey: String(fields[0]))
            let seconds: Int64 = try Self.number(fields[1], "latest-handshakes")
            guard WireGuardLimits.handshakes.contains(seconds) else {
                throw WireGuardFailure("wg show latest-handshakes: an answer that makes no sense")
            }
            peer.handshake = seconds
            places[fields[0]] = device.peers.count
            device.peers.append(peer)
        }
        try each(name, "transfer", 3, places) { index, fields throws(WireGuardFailure) in
            device.peers[index].received = try Self.number(fields[1], "transfer")
            device.peers[index].sent = try Self.number(fields[2], "transfer")
        }
        try each(name, "endpoints", 2, places) { index, fields in
            device.peers[index].endpoint = fields[1] == "(none)" ? nil : String(fields[1])
        }
        try each(name, "allowed-ips", 2, places) { index, fields in
            device.peers[index].allowedIPs =
                fields[1].split(whereSeparator: { $0 == " " || $0 == "," })
                .prefix(WireGuardLimits.allowedIPs).compactMap { IPPrefix($0) }
        }
        try each(name, "persistent-keepalive", 2, places) { index, fields in
            device.peers[index].keepalive = Int(UInt16(fields[1]) ?? 0)
        }
        let port = String(decoding: try ask(name, "listen-port"), as: UTF8.self)
        device.listenPort = Int(port.prefix { $0.isNumber }) ?? 0
        let mark = String(decoding: try ask(name, "fwmark"), as: UTF8.self)
        device.mark = Self.mark(mark)
        return device
    }

    private func ask(_ name: String, _ what: String) throws(WireGuardFailure) -> [UInt8] {
        try run(["show", name, what])
    }

    /// Runs the program. What it was given, or printed, is not part of a failure: it may be secret.
    ///
    /// - Returns: what it printed.
    package func run(_ arguments: [String]) throws(WireGuardFailure) -> [UInt8] {
        let output: Subprocess.Output
        do throws(Subprocess.Failure) {
            output = try Subprocess(
                program, arguments, timeLimit: timeLimit, outputLimit: WireGuardLimits.bytes
            ).run()
        } catch { throw WireGuardFailure("\(error)") }
        guard output.exitCode == 0 else {
            let words = arguments.prefix(2).joined(separator: " ")
            throw WireGuardFailure("\(program) \(words): exit code \(output.exitCode)")
        }
        return output.output
    }

    private func each(
        _ name: String, _ what: String, _ count: Int, _ places: [Substring: Int],
        _ body: (Int, [Substring]) throws(WireGuardFailure) -> Void
    ) throws(WireGuardFailure) {
        for fields in try Self.lines(try ask(name, what), fields: count, of: what) {
            // A peer that came or went in between is seen the next time.
            if let index = places[fields[0]] { try body(index, fields) }
        }
    }

    /// The tab-separated lines of an answer, each of which begins with a key.
    static func lines(
        _ output: [UInt8], fields count: Int, of what: String
    ) throws(WireGuardFailure) -> [[Substring]] {
        var lines: [[Substring]] = []
        for line in String(decoding: output, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == count, WireGuardKey.isKey(fields[0]) else {
                throw WireGuardFailure("wg show \(what): an answer that makes no sense")
            }
            guard lines.count < WireGuardLimits.peers else {
                throw WireGuardFailure("wg show \(what): more than \(WireGuardLimits.peers) peers")
            }
            lines.append(fields)
        }
        return lines
    }

    private static func number<T: FixedWidthInteger>(
        _ text: Substring, _ what: String
    ) throws(WireGuardFailure) -> T {
        guard let number = T(text), number >= 0 else {
            throw WireGuardFailure("wg show \(what): an answer that makes no sense")
        }
        return number
    }

    /// `off`, or a number that may begin with 0x.
    private static func mark(_ text: String) -> UInt32 {
        let word = text.prefix { !$0.isWhitespace }
        return word.hasPrefix("0x") ? UInt32(word.dropFirst(2), radix: 16) ?? 0 : UInt32(word) ?? 0
    }
}
