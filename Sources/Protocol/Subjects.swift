/// The NATS subjects and streams of SKOS.
package enum Subjects {
    package static let heartbeats = "skos.heartbeat.*"
    package static let alerts = "skos.alert.*"
    package static let results = "skos.result.*"
    package static let rejections = "skos.rejected.*"
    package static let api = "skos.api.*"
    /// Who leads answers here. Not below `skos.`: a client that listens to `skos.>` would count as somebody
    /// who may answer, and NATS would not say at once that nobody does.
    package static let leader = "_SKOS.leader"
    package static let audit = "SKOS_AUDIT.*"
    package static let alertStream = "SKOS_ALERTS"
    package static let auditStream = "SKOS_AUDIT"
    package static let stateBucket = "SKOS_STATE"
    package static let configBucket = "SKOS_CONFIG"
    /// Where loop breakers keep which chains are broken.
    package static let chainBucket = "SKOS_CHAINS"

    package static func heartbeat(_ node: String) -> String { "skos.heartbeat.\(node)" }
    package static func alert(_ node: String) -> String { "skos.alert.\(node)" }
    package static func command(_ node: String) -> String { "skos.command.\(node)" }
    package static func result(_ node: String) -> String { "skos.result.\(node)" }
    package static func rejected(_ node: String) -> String { "skos.rejected.\(node)" }
    package static func event(_ type: String) -> String { "skos.event.\(type)" }
    package static func api(_ verb: String) -> String { "skos.api.\(verb)" }
    package static func audit(_ kind: String) -> String { "SKOS_AUDIT.\(kind)" }

    /// The node that a subject such as `skos.alert.nova` ends with; `nil` when it is not a valid name.
    package static func node(of subject: String) -> String? {
        guard let dot = subject.utf8.lastIndex(of: UInt8(ascii: ".")) else { return nil }
        let node = String(subject[subject.utf8.index(after: dot)...])
        return Name.isValid(node) ? node : nil
    }
}
