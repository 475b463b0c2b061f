package import Protocol

/// What an incident is about.
package struct IncidentKey: Sendable, Hashable, Comparable {
    package var node: String
    /// The alert type, such as `thermal`.
    package var type: String
    /// Such as `cpu`; empty: the node as a whole.
    package var resource: String

    package init(node: String, type: String, resource: String) {
        self.node = node
        self.type = type
        self.resource = resource
    }

    package static func < (left: IncidentKey, right: IncidentKey) -> Bool {
        (left.node, left.type, left.resource) < (right.node, right.type, right.resource)
    }
}

/// One symptom's story, from its first alert to verified recovery, expiry or escalation.
package struct Incident: Sendable, Equatable {
    package enum Phase: String, Sendable, CaseIterable {
        /// Something is to be decided: now, or when `until` has come.
        case deciding
        /// A command is under way; `until` is its deadline.
        case acting
        /// An action succeeded; the symptom has until `until` to clear.
        case verifying
        /// The symptom is gone; if it stays so until `until`, the incident is resolved.
        case clearing
        /// A human was asked; nothing more is tried.
        case escalated
        /// Over: the symptom cleared and stayed clear.
        case resolved
        /// Over: nobody repeated the symptom.
        case expired
    }

    package var id: String
    package var key: IncidentKey
    package var phase: Phase
    /// When the phase ends by itself; its meaning depends on the phase.
    package var until: Timestamp?
    /// The severity last reported.
    package var severity: Severity
    /// The worst severity reported, whose policy is in force.
    package var policySeverity: Severity
    package var openedAt: Timestamp
    /// When the symptom was last reported present.
    package var assertedAt: Timestamp
    /// The newest time that a report about the symptom carried; older ones are out of order.
    package var reportedAt: Timestamp
    package var closedAt: Timestamp?
    /// The id of the last alert that belongs to it.
    package var alertID: String
    /// The last alert's message.
    package var message: String
    package var alertCount: Int
    /// Whether the last alert was a drill.
    package var isDrill: Bool
    /// The rung to try next or being tried.
    package var rung: Int
    package var attempts: [Attempt]
    /// Whether a human has been asked; happens once.
    package var isEscalated: Bool

    /// The attempts that may still hold the node in a changed state.
    package var attemptsInForce: [Attempt] { attempts.filter(\.isInForce) }

    /// How many attempts of the rung have been made under the policy in force.
    package func attemptCount(of rung: Int) -> Int {
        attempts.count { $0.rung == rung && $0.policySeverity == policySeverity }
    }

    /// Whether nothing can happen to it any more.
    package var isClosed: Bool { phase == .resolved || phase == .expired }
}

/// One execution of one action.
package struct Attempt: Sendable, Equatable {
    package enum Status: String, Sendable, CaseIterable {
        /// The command is durable and was sent, or will be.
        case dispatched
        case succeeded
        case transientFailure = "transient_failure"
        case permanentFailure = "permanent_failure"
        case superseded
        case cancelled
        /// No result came before the deadline: it may or may not have been done.
        case unknown
    }

    package var command: Command
    package var rung: Int
    /// The severity whose policy asked for it.
    package var policySeverity: Severity
    package var status: Status
    package var reason: String?
    package var finishedAt: Timestamp?
    /// Whether the agent said that it can be undone.
    package var isReversible: Bool
    /// Whether the coordinator has asked to undo it.
    package var undoRequestedAt: Timestamp?
    /// Whether the node has taken it back.
    package var undoneAt: Timestamp?

    package init(command: Command, rung: Int, policySeverity: Severity) {
        self.command = command
        self.rung = rung
        self.policySeverity = policySeverity
        status = .dispatched
        isReversible = false
    }

    /// Whether the node may be in the state that the action put it in: then its lease is renewed while
    /// the incident lasts, and it is undone when the incident ends. An action whose outcome is not
    /// known counts, for undoing what was never done does no harm.
    package var isInForce: Bool {
        guard undoneAt == nil, !command.dryRun else { return false }
        switch status {
        case .succeeded: return isReversible
        case .dispatched, .unknown: return true
        default: return false
        }
    }
}

/// What a circuit breaker, and a cooldown, is about: one action on one resource of one node.
package struct BreakerKey: Sendable, Hashable, Comparable {
    package var node: String
    package var action: String
    /// Empty: the node as a whole.
    package var resource: String

    package init(node: String, action: String, resource: String = "") {
        self.node = node
        self.action = action
        self.resource = resource
    }

    package static func < (left: BreakerKey, right: BreakerKey) -> Bool {
        (left.node, left.action, left.resource) < (right.node, right.action, right.resource)
    }

    /// `nova:throttle_50:cpu`, as operators write it.
    package var text: String { "\(node):\(action)" + (resource.isEmpty ? "" : ":\(resource)") }

    /// Reads `nova:throttle_50:cpu`, or `nova:throttle_50`.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, Name.isValid(String(parts[0])), Name.isValid(String(parts[1]))
        else { return nil }
        self.init(
            node: String(parts[0]), action: String(parts[1]),
            resource: parts.count > 2 ? String(parts[2]) : "")
    }

    /// Whether an operator who names `self` means `other` too: without a resource it means all.
    package func covers(_ other: BreakerKey) -> Bool {
        node == other.node && action == other.action
            && (resource.isEmpty || resource == other.resource)
    }
}
