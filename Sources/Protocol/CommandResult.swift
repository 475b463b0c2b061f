/// What became of a command: `skos.result.<node>`.
package struct CommandResult: Sendable, Equatable, ObjectEncodable {
    package enum Status: String, Sendable, CaseIterable {
        /// Understood, and being executed.
        case accepted
        /// Not executed, for the reason given.
        case refused
        /// Executed, with the outcome given.
        case done
        /// Taken back, whether asked to or because its lease ran out.
        case undone
    }

    package enum Outcome: String, Sendable, CaseIterable {
        case succeeded
        /// Failed in a way that another try may mend.
        case transientFailure = "transient_failure"
        /// Failed, or ended in a way that is not known; not to be tried again by itself.
        case permanentFailure = "permanent_failure"
        /// Somebody else has changed the thing since.
        case superseded
        case cancelled
    }

    package var actionID: String
    package var actionType: String
    package var node: String
    package var status: Status
    /// With `done` and `undone`.
    package var outcome: Outcome?
    /// Why, for people.
    package var reason: String?
    package var agentID: String?
    package var incident: String?
    package var durationMilliseconds: Double?
    /// What was changed, as read back.
    package var effect: JSON.Object?
    /// What undoing it will restore; absent when the action cannot be undone.
    package var undo: JSON.Object?
    package var dryRun: Bool
    /// With `undone`: whether somebody asked for it, and the node has not done it by itself.
    package var isAsked: Bool
    /// With `refused`: the agent had no time for it, and has not looked at it any further.
    package var isBusy: Bool
    package var timestamp: Timestamp?
    /// Members that this version does not know; passed on as they came.
    package var extra: JSON.Object

    package init(
        actionID: String, actionType: String, node: String, status: Status,
        outcome: Outcome? = nil, reason: String? = nil
    ) {
        self.actionID = actionID
        self.actionType = actionType
        self.node = node
        self.status = status
        self.outcome = outcome
        self.reason = reason
        dryRun = false
        isAsked = false
        isBusy = false
        extra = JSON.Object()
    }

    private static let names = [
        "action_id", "action_type", "agent_id", "node", "status", "outcome", "reason",
        "duration_ms", "effect", "undo", "dry_run", "asked", "busy", "incident", "timestamp",
    ]

    /// Reads a message of `skos.result.<node>`.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(decoding message: UnsafeRawBufferPointer, node: String) throws(MessageError) {
        try self.init(Fields(message: message), node: node)
    }

    /// Reads a result that is part of another message.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(_ fields: Fields, node: String) throws(MessageError) {
        actionID = try fields.required("action_id", try fields.identifier("action_id"))
        status = try fields.required("status", try fields.choice("status", Status.self))
        actionType = try fields.name("action_type") ?? ""
        self.node = try fields.node(of: node)
        outcome = try fields.choice("outcome", Outcome.self)
        if status == .done, outcome == nil { throw fields.error("outcome", "is missing") }
        reason = try fields.string("reason")
        agentID = try fields.agentID()
        incident = try fields.identifier("incident")
        durationMilliseconds = try fields.double("duration_ms")
        effect = try fields.object("effect")
        undo = try fields.object("undo")
        dryRun = try fields.bool("dry_run") ?? false
        isAsked = try fields.bool("asked") ?? false
        isBusy = try fields.bool("busy") ?? false
        timestamp = try fields.timestamp("timestamp")
        extra = fields.others(than: Self.names)
    }

    package func write(to object: inout ObjectWriter) {
        object.put("action_id", actionID)
        object.put("action_type", actionType.isEmpty ? nil : actionType)
        object.put("agent_id", agentID)
        object.put("node", node)
        object.put("status", status.rawValue)
        object.put("outcome", outcome?.rawValue)
        object.put("reason", reason)
        object.put("duration_ms", durationMilliseconds)
        object.put("effect", effect)
        object.put("undo", undo)
        object.put("dry_run", dryRun ? true : nil)
        object.put("asked", isAsked ? true : nil)
        object.put("busy", isBusy ? true : nil)
        object.put("incident", incident)
        object.put("timestamp", timestamp)
        object.put(extra, except: Self.names)
    }
}
