/// What the coordinator asks the agents of a node to do: `skos.command.<node>`.
package struct Command: Sendable, Equatable, ObjectEncodable {
    /// What is to be done about the action that `actionID` names.
    package enum Operation: String, Sendable, CaseIterable {
        /// Execute it, once.
        case execute
        /// Keep it for another lease.
        case renew
        /// Take it back.
        case undo
    }

    /// Unique for each attempt, such as `nova:thermal:throttle_50:1704067200`; a repeat of the command
    /// has the same.
    package var actionID: String
    /// The verb, such as `throttle_50`.
    package var actionType: String
    package var operation: Operation
    package var parameters: JSON.Object
    /// When it was issued.
    package var timestamp: Timestamp?
    package var node: String
    /// Which kind of agent is meant; `nil`: whichever knows the verb.
    package var agentType: String?
    /// The coordinator's term; an agent refuses a command of an older one than it has seen.
    package var epoch: Int64?
    /// Refused after this time.
    package var deadline: Timestamp?
    /// How long the node keeps a reversible action that is not renewed.
    package var lease: Duration?
    /// The incident it belongs to.
    package var incident: String?
    /// Only report what would be done.
    package var dryRun: Bool
    /// Members that this version does not know; passed on as they came.
    package var extra: JSON.Object

    package init(
        actionID: String, actionType: String, node: String, operation: Operation = .execute,
        parameters: JSON.Object = JSON.Object()
    ) {
        self.actionID = actionID
        self.actionType = actionType
        self.operation = operation
        self.parameters = parameters
        self.node = node
        dryRun = false
        extra = JSON.Object()
    }

    private static let names = [
        "action_id", "action_type", "operation", "parameters", "timestamp", "node", "agent_type",
        "epoch", "deadline", "lease", "incident", "dry_run",
    ]

    /// Reads a message of `skos.command.<node>`.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(decoding message: UnsafeRawBufferPointer, node: String) throws(MessageError) {
        try self.init(Fields(message: message), node: node)
    }

    /// Reads a command that is part of another message.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(_ fields: Fields, node: String) throws(MessageError) {
        actionID = try fields.required("action_id", try fields.identifier("action_id"))
        actionType = try fields.required("action_type", try fields.name("action_type"))
        operation = try fields.choice("operation", Operation.self) ?? .execute
        parameters = try fields.object("parameters") ?? JSON.Object()
        timestamp = try fields.timestamp("timestamp")
        self.node = try fields.node(of: node)
        agentType = try fields.name("agent_type")
        epoch = try fields.integer("epoch")
        deadline = try fields.timestamp("deadline")
        lease = try fields.seconds("lease")
        incident = try fields.identifier("incident")
        dryRun = try fields.bool("dry_run") ?? false
        extra = fields.others(than: Self.names)
    }

    package func write(to object: inout ObjectWriter) {
        object.put("action_id", actionID)
        object.put("action_type", actionType)
        object.put("operation", operation == .execute ? nil : operation.rawValue)
        object.put("parameters", parameters)
        object.put("timestamp", timestamp)
        object.put("node", node)
        object.put("agent_type", agentType)
        object.put("epoch", epoch)
        object.put("deadline", deadline)
        object.put("lease", lease.map { JSON(seconds: $0) })
        object.put("incident", incident)
        object.put("dry_run", dryRun ? true : nil)
        object.put(extra, except: Self.names)
    }
}

extension JSON {
    /// A duration as messages carry it: a number of seconds, whole where it is whole.
    package init(seconds duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = attoseconds == 0 ? .integer(seconds) : .number(duration.inSeconds)
    }
}
