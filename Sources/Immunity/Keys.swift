package import Protocol

/// What an incident is about.
package struct IncidentKey: Sendable, Hashable, Comparable {
    package var node: String
    /// The alert type, such as `thermal`.
    package var type: String
    /// Such as `cpu`; empty: the node as a whole.
    package var resource: String
    /// Whether it is a drill: a drill and a real symptom never share an incident, so that a drill cannot
    /// keep a real symptom from being healed, nor the other way round.
    package var isDrill: Bool

    package init(node: String, type: String, resource: String, isDrill: Bool = false) {
        self.node = node
        self.type = type
        self.resource = resource
        self.isDrill = isDrill
    }

    /// What an alert is about.
    package init(_ alert: Alert) {
        self.init(
            node: alert.node, type: alert.type, resource: alert.resource, isDrill: alert.drill)
    }

    /// What is counted together: all of a type on a node, so that a flood of one type keeps no other one
    /// from being healed.
    var kin: IncidentKey { IncidentKey(node: node, type: type, resource: "") }

    package static func < (left: IncidentKey, right: IncidentKey) -> Bool {
        (left.node, left.type, left.resource, left.isDrill ? 1 : 0)
            < (right.node, right.type, right.resource, right.isDrill ? 1 : 0)
    }
}

/// What a circuit breaker, and a cooldown, is about: one action on one resource of one node.
package struct BreakerKey: Sendable, Hashable, Comparable {
    package var node: String
    package var action: String
    /// Empty: the node as a whole.
    package var resource: String
    /// Whether it counts executions that only report: they must not hold up real ones.
    package var isDryRun: Bool

    package init(node: String, action: String, resource: String = "", isDryRun: Bool = false) {
        self.node = node
        self.action = action
        self.resource = resource
        self.isDryRun = isDryRun
    }

    /// The breaker that an attempt counts for.
    init(_ command: Command, about key: IncidentKey) {
        self.init(
            node: key.node, action: command.actionType, resource: key.resource,
            isDryRun: command.dryRun)
    }

    package static func < (left: BreakerKey, right: BreakerKey) -> Bool {
        (left.node, left.action, left.resource, left.isDryRun ? 1 : 0)
            < (right.node, right.action, right.resource, right.isDryRun ? 1 : 0)
    }

    private static let dryRunPrefix = "dry_run/"

    /// `nova:throttle_50:cpu`, as operators write it; of dry runs `dry_run/nova:throttle_50:cpu`.
    package var text: String {
        (isDryRun ? Self.dryRunPrefix : "") + "\(node):\(action)"
            + (resource.isEmpty ? "" : ":\(resource)")
    }

    /// Reads `nova:throttle_50:cpu`, or `nova:throttle_50`, or either with `dry_run/` before it.
    package init?(_ text: String) {
        let isDryRun = text.hasPrefix(Self.dryRunPrefix)
        let parts = text.dropFirst(isDryRun ? Self.dryRunPrefix.count : 0)
            .split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, Name.isValid(String(parts[0])), Name.isValid(String(parts[1]))
        else { return nil }
        self.init(
            node: String(parts[0]), action: String(parts[1]),
            resource: parts.count > 2 ? String(parts[2]) : "", isDryRun: isDryRun)
    }

    /// Whether an operator who names `self` means `other` too: without a resource it means all.
    package func covers(_ other: BreakerKey) -> Bool {
        node == other.node && action == other.action && isDryRun == other.isDryRun
            && (resource.isEmpty || resource == other.resource)
    }
}
