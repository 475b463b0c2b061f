package import Platform
package import Protocol

/// Which addresses are asked for echoes, whose turn it is, and what came of it. Pure.
package struct EchoBook: Sendable {
    /// A peer of an interface.
    package struct Key: Sendable, Hashable, Comparable {
        package var interface: String
        package var peer: String

        package init(interface: String, peer: String) {
            self.interface = interface
            self.peer = peer
        }

        /// What `resource` gave.
        package init(resource: String) {
            let parts = resource.split(separator: "/", maxSplits: 1)
            interface = parts.first.map(String.init) ?? ""
            peer = parts.count > 1 ? String(parts[1]) : ""
        }

        /// As alerts name it; without a peer it is the interface itself.
        package var resource: String { peer.isEmpty ? interface : "\(interface)/\(peer)" }

        package static func < (left: Key, right: Key) -> Bool {
            (left.interface, left.peer) < (right.interface, right.peer)
        }
    }

    private var records: [Key: (target: EchoTarget, record: EchoRecord)] = [:]
    /// All keys, in the order in which they are asked.
    private var order: [Key] = []
    private var turn = 0
    /// Interfaces that have not said who their peers are; those of their files are asked.
    private var unheard: Set<String> = []

    package init() {}

    /// Asks those whom an interface's file names, until it says itself who its peers are.
    package mutating func guess(_ interface: String, _ targets: [(key: Key, target: EchoTarget)]) {
        guard !records.keys.contains(where: { $0.interface == interface }) else { return }
        for (key, target) in targets { _ = record(key, target: target) }
        unheard.insert(interface)
    }

    /// The record of a peer, which is asked at `target` from now on. Another address than before is a
    /// new beginning: what answered at the old one proves nothing.
    package mutating func record(_ key: Key, target: EchoTarget) -> EchoRecord {
        unheard.remove(key.interface)
        if let entry = records[key], entry.target == target { return entry.record }
        if records[key] == nil { order.append(key) }
        let record = EchoRecord(target: "\(target.address)")
        records[key] = (target, record)
        return record
    }

    /// Whether none of an interface's peers has answered for a while, although some have before, or nobody
    /// has heard of the interface yet.
    package func areSilent(_ interface: String, since: Timestamp) -> Bool {
        let own = records.filter { $0.key.interface == interface }.map(\.value.record)
        let isFirst = unheard.contains(interface) && !own.isEmpty
        return (isFirst || own.contains { $0.answeredAt != nil })
            && own.allSatisfy {
                $0.ownTrouble == nil && $0.lost > 1 && $0.lostSince.map { $0 <= since } == true
            }
    }

    /// Forgets all peers but these, and those of interfaces of which nothing is known now.
    package mutating func keep(_ keys: Set<Key>, unread: Set<String> = []) {
        records = records.filter { keys.contains($0.key) || unread.contains($0.key.interface) }
        guard order.count != records.count else { return }
        order.removeAll { records[$0] == nil }
        unheard.formIntersection(records.keys.map(\.interface))
    }

    /// The next ones to ask, at most as many as one round takes.
    package mutating func next() -> [(key: Key, target: EchoTarget)] {
        guard !order.isEmpty else { return [] }
        let count = min(order.count, EchoProbe.targetLimit)
        turn %= order.count
        let keys = (0..<count).map { order[(turn + $0) % order.count] }
        turn += count
        return keys.compactMap { key in records[key].map { (key, $0.target) } }
    }

    /// Takes what came of a round; says whether a peer was lost or has come back.
    package mutating func take(
        _ asked: [(key: Key, target: EchoTarget)], _ outcomes: [EchoOutcome], sentAt: Timestamp
    ) -> Bool {
        var isChange = false
        for ((key, target), outcome) in zip(asked, outcomes) {
            guard var entry = records[key], entry.target == target else { continue }
            let before = entry.record.lost
            let isFirst = entry.record.firstSentAt == nil
            switch outcome {
            case .answered(let time):
                let milliseconds = (time.inSeconds * 1e6).rounded() / 1e3
                entry.record.take(sentAt: sentAt, milliseconds: milliseconds)
            case .silent: entry.record.take(sentAt: sentAt, milliseconds: nil)
            case .notSent(let code):
                entry.record.take(sentAt: sentAt, milliseconds: nil, notSent: errnoText(code))
            case .impossible(let code): entry.record.ownTrouble = errnoText(code)
            }
            records[key] = entry
            isChange = isChange || isFirst || (before == 0) != (entry.record.lost == 0)
        }
        return isChange
    }
}

/// Where a peer is asked.
package enum EchoChoice {
    /// The address to ask: that of a single host where there is one, else the first of the first range.
    package static func address(_ peer: WireGuardPeer) -> IPAddress? {
        if let host = peer.allowedIPs.first(where: \.isHost) { return host.address }
        // A range of everything is a way out, and names nobody.
        guard let range = peer.allowedIPs.first(where: { $0.length > 0 }) else { return nil }
        var bytes = range.address.bytes
        if range.length < range.address.bitCount - 1 { bytes[bytes.count - 1] |= 1 }
        return IPAddress(bytes: bytes)
    }
}
