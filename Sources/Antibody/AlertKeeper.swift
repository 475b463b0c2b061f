package import Protocol

/// Decides which alerts to send, from one look at the node to the next.
///
/// An alert goes out when the state of a watched thing changes, and again while it lasts; `ok` when it
/// has cleared. What is not known raises nothing and clears nothing. Pure: time comes with the sample.
package struct AlertKeeper: Sendable {
    /// Watched things that are remembered at most; more are not reported, and counted.
    package static let thingLimit = 256

    /// What is watched.
    package struct Key: Sendable, Hashable, Comparable {
        package var type: String
        package var resource: String

        package init(type: String, resource: String) {
            self.type = type
            self.resource = resource
        }

        package static func < (left: Key, right: Key) -> Bool {
            (left.type, left.resource) < (right.type, right.resource)
        }
    }

    /// One alert to send.
    package struct Report: Sendable, Equatable {
        package var key: Key
        package var alert: Alert
        /// Whether the severity differs from the last one reported.
        package var isChange: Bool

        package init(key: Key, alert: Alert, isChange: Bool) {
            self.key = key
            self.alert = alert
            self.isChange = isChange
        }
    }

    private struct Raised {
        var severity: Severity
        /// `nil`: reported by an earlier process; when is not known.
        var reportedAt: Timestamp?
    }

    private let identity: AgentIdentity
    private var raised: [Key: Raised] = [:]
    private var count: UInt64 = 0
    /// Symptoms that were not reported for want of room.
    package private(set) var dropped: UInt64 = 0

    /// A keeper that takes over what an earlier process of this agent has raised and not cleared.
    package init(identity: AgentIdentity, raised: [Key: Severity] = [:]) {
        self.identity = identity
        for (key, severity) in raised.sorted(by: { $0.key < $1.key }).prefix(Self.thingLimit)
        where severity > .ok {
            self.raised[key] = Raised(severity: severity, reportedAt: nil)
        }
    }

    /// Compares a sample with what has been reported, and returns what is to be reported now.
    /// - `watched`: see `Sample.watched`.
    package mutating func handle(
        _ symptoms: [Symptom], watched: [String: Set<String>] = [:], repeatInterval: Duration,
        at now: Timestamp
    ) -> [Report] {
        var reports = clear(symptoms, watched, at: now)
        for symptom in symptoms {
            guard let severity = symptom.severity else { continue }
            let key = Key(type: symptom.type, resource: symptom.resource)
            let previous = raised[key]
            guard severity > .ok else {
                if previous != nil {
                    raised[key] = nil
                    reports.append(report(symptom, severity, isChange: true, at: now))
                }
                continue
            }
            guard previous != nil || raised.count < Self.thingLimit else {
                dropped += 1
                continue
            }
            let isChange = previous?.severity != severity
            let isDue = previous?.reportedAt.map { now - $0 >= repeatInterval } ?? true
            guard isChange || isDue else { continue }
            raised[key] = Raised(severity: severity, reportedAt: now)
            reports.append(report(symptom, severity, isChange: isChange, at: now))
        }
        return reports
    }

    /// Clears what is not watched any more. What has a symptom speaks for itself.
    private mutating func clear(
        _ symptoms: [Symptom], _ watched: [String: Set<String>], at now: Timestamp
    ) -> [Report] {
        let gone = raised.keys.filter { watched[$0.type]?.contains($0.resource) == false }
        guard !gone.isEmpty else { return [] }
        let present = Set(symptoms.map { Key(type: $0.type, resource: $0.resource) })
        return gone.sorted().filter { !present.contains($0) }.map { key in
            raised[key] = nil
            let symptom = Symptom(
                type: key.type, resource: key.resource, severity: .ok,
                message:
                    "\(key.resource) is not watched any more: it is gone, or the settings leave "
                    + "it out")
            return report(symptom, .ok, isChange: true, at: now)
        }
    }

    private mutating func report(
        _ symptom: Symptom, _ severity: Severity, isChange: Bool, at now: Timestamp
    ) -> Report {
        count += 1
        var alert = Alert(
            type: symptom.type, severity: severity, node: identity.node, resource: symptom.resource)
        alert.id = "\(identity.agentID):\(identity.startID):\(count)"
        alert.agentID = identity.agentID
        alert.message = symptom.message
        alert.value = symptom.value
        alert.unit = symptom.unit
        alert.threshold = symptom.threshold
        alert.details = symptom.details
        alert.timestamp = now.inMilliseconds
        let key = Key(type: symptom.type, resource: symptom.resource)
        return Report(key: key, alert: alert, isChange: isChange)
    }
}
