/// One line of the healing rules: what to do about one type of alert at one severity.
///
/// All sections of `config.yaml` that name actions (`thermal:`, `policies:` …) compile to a list of
/// these; `skos policy show` prints it.
package struct Policy: Sendable, Equatable {
    /// The actions in the order they are tried.
    package var ladder: [Rung]
    /// The alert type it matches, such as `thermal`.
    package var type: String
    /// The severity it matches.
    package var severity: Severity
    /// Least time between two attempts of one action on one node, measured from the last attempt.
    package var cooldown: Duration
    /// How often one rung may be attempted in one incident.
    package var maxAttempts: Int
    /// How long a command may be executed after it was issued; an agent refuses it later.
    package var deadline: Duration
    /// How long after a successful action the symptom may last before the next rung is tried.
    package var verify: Duration
    /// How long the symptom must stay away before the incident is resolved.
    package var stayClear: Duration
    /// How long the node keeps a reversible action without hearing from the coordinator.
    package var lease: Duration
    /// Whether the node's changes are undone when the incident ends.
    package var undo: Bool

    package init(
        type: String, severity: Severity, ladder: [Rung], cooldown: Duration = .seconds(60),
        maxAttempts: Int = 3, deadline: Duration = .seconds(30), verify: Duration = .seconds(60),
        stayClear: Duration = .seconds(10), lease: Duration = .seconds(120), undo: Bool = true
    ) {
        self.type = type
        self.severity = severity
        self.ladder = ladder
        self.cooldown = cooldown
        self.maxAttempts = maxAttempts
        self.deadline = deadline
        self.verify = verify
        self.stayClear = stayClear
        self.lease = lease
        self.undo = undo
    }

    /// A name for records and `policy show`, such as `thermal/critical`.
    package var name: String { "\(type)/\(severity.rawValue)" }
}

/// One step of a policy's ladder: an action verb and its parameters.
package struct Rung: Sendable, Equatable {
    /// The verb, such as `throttle_50`.
    package var action: String
    /// Parameters that the agent receives with the command.
    package var parameters: JSON.Object

    package init(action: String, parameters: JSON.Object = JSON.Object()) {
        self.action = action
        self.parameters = parameters
    }
}

/// The circuit breaker of each (node, action), in the terms of resilience4j.
package struct BreakerPolicy: Sendable, Equatable {
    /// Failures within `window` that open the breaker.
    package var failureThreshold: Int
    /// Executions within `window`, whatever their outcome, that open it: a healing loop.
    package var executionThreshold: Int
    /// The time over which both are counted.
    package var window: Duration
    /// How long it stays open before one trial is let through (half open).
    package var openFor: Duration

    package init(
        failureThreshold: Int = 3, executionThreshold: Int = 10, window: Duration = .seconds(600),
        openFor: Duration = .seconds(300)
    ) {
        self.failureThreshold = failureThreshold
        self.executionThreshold = executionThreshold
        self.window = window
        self.openFor = openFor
    }
}

/// Everything the decision core needs to know of the configuration.
package struct PolicySet: Sendable, Equatable {
    /// The policies; of several that match an alert the first counts.
    package var policies: [Policy]
    package var breaker: BreakerPolicy
    /// An alert older than this is recorded and not acted on.
    package var staleAfter: Duration
    /// A symptom that is not repeated for this long ends its incident as `expired`.
    package var expireAfter: Duration
    /// An agent is late after half of this, and offline after all of it, without a heartbeat.
    package var heartbeatTimeout: Duration
    /// The nodes that may take part; `nil`: any.
    package var nodes: Set<String>?
    /// When set, commands say `dry_run` and agents only report what they would do.
    package var dryRun: Bool

    package init(
        policies: [Policy] = [], breaker: BreakerPolicy = BreakerPolicy(),
        staleAfter: Duration = .seconds(300), expireAfter: Duration = .seconds(180),
        heartbeatTimeout: Duration = .seconds(30), nodes: Set<String>? = nil, dryRun: Bool = false
    ) {
        self.policies = policies
        self.breaker = breaker
        self.staleAfter = staleAfter
        self.expireAfter = expireAfter
        self.heartbeatTimeout = heartbeatTimeout
        self.nodes = nodes
        self.dryRun = dryRun
    }

    /// The policy for an alert, or `nil` when none matches.
    package func policy(type: String, severity: Severity) -> Policy? {
        policies.first { $0.type == type && $0.severity == severity }
    }
}
