package import Protocol

/// One symptom's story, from its first alert to verified recovery, expiry or escalation.
package struct Incident: Sendable, Equatable {
    package enum Phase: String, Sendable, CaseIterable {
        /// Something is to be decided: now, or when `until` has come.
        case deciding
        /// A command is under way; `until` is its deadline.
        case acting
        /// An action succeeded; the symptom has until `until` to clear.
        case verifying
        /// The symptom is gone; if it stays so until `until`, the incident is resolved. If it comes back,
        /// the incident goes on with `resumption`.
        case clearing
        /// A human was asked; nothing more is tried.
        case escalated
        /// Over: the symptom cleared and stayed clear.
        case resolved
        /// Over: nobody repeated the symptom.
        case expired
    }

    /// A phase and its end.
    package struct Course: Sendable, Equatable {
        package var phase: Phase
        package var until: Timestamp?
    }

    package var id: String
    package var key: IncidentKey
    package var phase: Phase
    /// When the phase ends by itself; its meaning depends on the phase.
    package var until: Timestamp?
    /// What the incident goes on with if the symptom comes back; set while it is clearing.
    package var resumption: Course?
    /// The severity last reported.
    package var severity: Severity
    /// The worst severity reported, whose policy is in force.
    package var policySeverity: Severity
    package var openedAt: Timestamp
    /// When the symptom was last reported present.
    package var assertedAt: Timestamp
    /// The time that the newest report about the symptom carried; older ones are out of order.
    package var reportedAt: Timestamp
    package var closedAt: Timestamp?
    /// The id of the last alert that belongs to it.
    package var alertID: String
    /// The last alert's message.
    package var message: String
    package var alertCount: Int
    /// The rung to try next or being tried.
    package var rung: Int
    package var attempts: [Attempt]
    /// Whether a human has been asked; happens once.
    package var isEscalated: Bool
    /// When that was.
    package var escalatedAt: Timestamp?

    /// Whether it is a drill: nothing may touch hardware.
    package var isDrill: Bool { key.isDrill }

    /// The attempts that may still hold the node in a changed state.
    package var attemptsInForce: [Attempt] { attempts.filter(\.isInForce) }

    /// How many attempts of a rung have been made under the policy in force, or have found its agent
    /// without time for it.
    package func attemptCount(of rung: Int, action: String, untried: Bool = false) -> Int {
        attempts.count {
            $0.rung == rung && $0.policySeverity == policySeverity
                && $0.command.actionType == action && $0.isUntried == untried
        }
    }

    /// Whether nothing can happen to it any more.
    package var isClosed: Bool { phase == .resolved || phase == .expired }

    /// Whether it is over but something it did is still to be taken back.
    var isUndoing: Bool { isClosed && attempts.contains(where: \.owesUndo) }

    /// What is going on, leaving aside that the symptom has cleared.
    var course: Course { resumption ?? Course(phase: phase, until: until) }

    /// Goes on to a phase; while the symptom is gone, that is what it would go on with.
    mutating func proceed(to phase: Phase, until: Timestamp? = nil) {
        if self.phase == .clearing {
            resumption = Course(phase: phase, until: until)
        } else {
            self.phase = phase
            self.until = until
        }
    }

    /// The symptom is back: the incident goes on where it was. An action that had succeeded has had its
    /// chance: where it is in force it has not been enough, else it can be done again.
    mutating func resume(at time: Timestamp) {
        guard var course = resumption else { return }
        if course.phase == .verifying {
            course =
                attempts.last?.isInForce == true || attempts.last?.status == .superseded
                ? Course(phase: .verifying, until: time) : Course(phase: .deciding, until: nil)
        }
        resumption = nil
        phase = course.phase
        until = course.until
    }

    func attempt(_ actionID: String) -> Attempt? {
        attempts.last { $0.command.actionID == actionID }
    }
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
    /// When the coordinator has asked to undo it.
    package var undoRequestedAt: Timestamp?
    /// When the node had taken it back, or nothing more could be done about it.
    package var undoneAt: Timestamp?
    /// Whether somebody has asked the node for it, the coordinator or anybody else.
    package var isUndoneOnRequest: Bool
    /// Whether the agent had no time for it, so that it has not been tried at all.
    package var isUntried: Bool

    package init(command: Command, rung: Int, policySeverity: Severity) {
        self.command = command
        self.rung = rung
        self.policySeverity = policySeverity
        status = .dispatched
        isReversible = false
        isUndoneOnRequest = false
        isUntried = false
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

    /// When the node had taken back by itself what had succeeded, because nobody renewed it, or because
    /// the node or its agent was stopped. What somebody has taken back is not done again for that.
    var lapsedAt: Timestamp? {
        guard status == .succeeded, isReversible, !command.dryRun, undoRequestedAt == nil,
            !isUndoneOnRequest
        else { return nil }
        return undoneAt
    }

    /// Whether somebody else has changed what another action would set again.
    func isForeign(to action: String) -> Bool {
        func isThrottle(_ action: String) -> Bool { ActionTable.throttlePercent(action) != nil }
        guard status == .superseded, undoneAt != nil else { return false }
        return action == command.actionType || isThrottle(action) && isThrottle(command.actionType)
    }

    /// Whether it is to be taken back once its incident is over: what has a lease, and what somebody
    /// has asked to undo.
    var owesUndo: Bool { isInForce && (command.lease != nil || undoRequestedAt != nil) }
}
