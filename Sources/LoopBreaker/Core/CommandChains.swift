package import Antibody
package import Protocol

/// Watches the healer itself: commands for one thing of a node that come again and again, and alerts of one
/// cause.
///
/// The same action for many things, such as for each peer behind a dead uplink, is no circle. A command that
/// is repeated is no new one. What the loop breaker causes does not count, so that it cannot feed on itself.
package struct CommandChains: Sendable {
    /// So many within `span` are one too many.
    package static let limit = 20
    static let span: Duration = .seconds(600)
    /// Kinds of commands, and causes, that are told apart; more are not watched.
    static let kindLimit = 256
    /// How long it is told that it has calmed down.
    static let recoveredFor: Duration = .seconds(60)

    private struct Kind {
        var seen: [(id: String, at: Timestamp)] = []
        var isRaised = false
        var calmSince: Timestamp?
    }

    private let node: String
    /// By what is done, and to what.
    private var commands: [String: Kind] = [:]
    private var causes: [String: Kind] = [:]

    package init(node: String) { self.node = node }

    /// A command for this node. Returns whether it was the one too many.
    package mutating func take(_ command: Command, at now: Timestamp) -> Bool {
        let own: Set = ["circuit_break", "reset_chain"]
        guard command.operation == .execute, !own.contains(command.actionType) else {
            return false
        }
        let resource = command.parameters["resource"]?.string
        let name = resource.map { "\(command.actionType) \($0)" } ?? command.actionType
        return Self.take(name, id: command.actionID, in: &commands, at: now)
    }

    /// An alert about this node. Returns whether it was the one too many.
    package mutating func take(_ alert: Alert, at now: Timestamp) -> Bool {
        guard let cause = alert.cause, !cause.isEmpty, alert.severity > .ok,
            !(alert.agentID ?? "").hasPrefix("loop-breaker-")
        else { return false }
        let id = alert.id ?? "\(alert.type) \(alert.resource) \(now.nanoseconds)"
        return Self.take("alert \(cause)", id: id, in: &causes, at: now)
    }

    private static func take(
        _ name: String, id: String, in kinds: inout [String: Kind], at now: Timestamp
    ) -> Bool {
        if kinds[name] == nil, kinds.count >= kindLimit {
            // Those of one or two are the first to go: a circle has more.
            let rest = kinds.filter { !$0.value.isRaised }
            guard let least = rest.min(by: { $0.value.seen.count < $1.value.seen.count }) else {
                return false
            }
            kinds[least.key] = nil
        }
        var kind = kinds[name] ?? Kind()
        kind.seen.removeAll { now - $0.at >= Self.span }
        if !kind.seen.contains(where: { $0.id == id }) {
            // The oldest of very many are not needed to see that they are too many.
            if kind.seen.count > 4 * Self.limit { kind.seen.removeFirst() }
            kind.seen.append((id, now))
        }
        let isNew = kind.seen.count > Self.limit && !kind.isRaised
        if isNew { kind.isRaised = true }
        kinds[name] = kind
        return isNew
    }

    /// The state of what was ever too much.
    package mutating func symptoms(at now: Timestamp) -> [Symptom] {
        symptoms(&commands, at: now) + symptoms(&causes, at: now)
    }

    private func symptoms(_ kinds: inout [String: Kind], at now: Timestamp) -> [Symptom] {
        var symptoms: [Symptom] = []
        for (name, var kind) in kinds.sorted(by: { $0.key < $1.key }) {
            kind.seen.removeAll { now - $0.at >= Self.span }
            let isOver = kind.seen.count > Self.limit
            if kind.isRaised, !isOver, kind.calmSince == nil { kind.calmSince = now }
            if isOver { kind.calmSince = nil }
            if let calmSince = kind.calmSince, now - calmSince >= Self.recoveredFor {
                kind.isRaised = false
                kind.calmSince = nil
            }
            if kind.isRaised { symptoms.append(symptom(name, kind.seen.count, isOver: isOver)) }
            kinds[name] = kind.seen.isEmpty && !kind.isRaised ? nil : kind
        }
        return symptoms
    }

    private func symptom(_ name: String, _ count: Int, isOver: Bool) -> Symptom {
        var symptom = Symptom(
            type: Verdict.iterationsExceeded.rawValue, resource: Self.resource(node, name),
            severity: isOver ? .critical : .ok,
            message: isOver
                ? "\(count) times \(name) for \(node) within ten minutes: healing runs in a circle"
                : "\(name) has calmed down")
        symptom.value = Double(count)
        symptom.unit = "count"
        symptom.threshold = Double(Self.limit)
        symptom.details = ["kind": .string(name), "window_s": 600]
        return symptom
    }

    /// What alerts about the healer itself are about; no chain has such a name, see `isOwn`.
    static func resource(_ node: String, _ name: String) -> String {
        String(decoding: "skos:\(node):\(name)".utf8.prefix(Limits.resourceBytes), as: UTF8.self)
    }

    /// Whether a resource is the healer itself and no chain of messages.
    static func isOwn(_ resource: String) -> Bool { resource.hasPrefix("skos:") }
}
