import Protocol

extension IncidentKey {
    var snapshot: JSON.Object {
        var object: JSON.Object = ["node": .string(node), "type": .string(type)]
        object["resource"] = resource.isEmpty ? nil : .string(resource)
        object["drill"] = isDrill ? true : nil
        return object
    }

    init(_ fields: Fields) throws(MessageError) {
        self.init(
            node: try fields.text("node"), type: try fields.text("type"),
            resource: try fields.string("resource") ?? "",
            isDrill: try fields.bool("drill") ?? false)
    }
}

extension Incident {
    var snapshot: JSON.Object {
        var object = key.snapshot
        object["id"] = .string(id)
        object["phase"] = .string(phase.rawValue)
        object["until"] = until.map { .integer($0.nanoseconds) }
        if let resumption {
            object["resumption"] = .string(resumption.phase.rawValue)
            object["resumption_until"] = resumption.until.map { .integer($0.nanoseconds) }
        }
        object["severity"] = .string(severity.rawValue)
        object["policy_severity"] = .string(policySeverity.rawValue)
        object["opened"] = .integer(openedAt.nanoseconds)
        object["asserted"] = .integer(assertedAt.nanoseconds)
        object["reported"] = .integer(reportedAt.nanoseconds)
        object["closed"] = closedAt.map { .integer($0.nanoseconds) }
        object["alert"] = .string(alertID)
        object["message"] = message.isEmpty ? nil : .string(message)
        object["alerts"] = .integer(Int64(alertCount))
        object["rung"] = .integer(Int64(rung))
        object["escalated"] = isEscalated ? true : nil
        object["escalated_at"] = escalatedAt.map { .integer($0.nanoseconds) }
        object["attempts"] = .array(attempts.map { .object($0.snapshot) })
        return object
    }

    init(_ fields: Fields) throws(MessageError) {
        let key = try IncidentKey(fields)
        var attempts: [Attempt] = []
        for inner in try fields.elements("attempts") {
            attempts.append(try Attempt(inner, node: key.node))
        }
        var resumption: Course?
        if let phase = try fields.choice("resumption", Phase.self) {
            resumption = Course(phase: phase, until: try fields.optionalTime("resumption_until"))
        }
        self.init(
            id: try fields.text("id"), key: key, phase: try fields.chosen("phase", Phase.self),
            until: try fields.optionalTime("until"), resumption: resumption,
            severity: try fields.chosen("severity", Severity.self),
            policySeverity: try fields.chosen("policy_severity", Severity.self),
            openedAt: try fields.time("opened"), assertedAt: try fields.time("asserted"),
            reportedAt: try fields.time("reported"),
            closedAt: try fields.optionalTime("closed"), alertID: try fields.text("alert"),
            message: try fields.string("message") ?? "",
            alertCount: try fields.count("alerts"),
            rung: try fields.count("rung"), attempts: attempts,
            isEscalated: try fields.bool("escalated") ?? false,
            escalatedAt: try fields.optionalTime("escalated_at"))
    }
}

extension Attempt {
    fileprivate var snapshot: JSON.Object {
        var object: JSON.Object = [
            "command": .object(command.object), "rung": .integer(Int64(rung)),
            "policy_severity": .string(policySeverity.rawValue),
            "status": .string(status.rawValue),
        ]
        object["reason"] = reason.map(JSON.string)
        object["finished"] = finishedAt.map { .integer($0.nanoseconds) }
        object["reversible"] = isReversible ? true : nil
        object["undo_requested"] = undoRequestedAt.map { .integer($0.nanoseconds) }
        object["undone"] = undoneAt.map { .integer($0.nanoseconds) }
        object["undone_on_request"] = isUndoneOnRequest ? true : nil
        object["untried"] = isUntried ? true : nil
        return object
    }

    fileprivate init(_ fields: Fields, node: String) throws(MessageError) {
        self.init(
            command: try Command(fields.members("command"), node: node),
            rung: try fields.count("rung"),
            policySeverity: try fields.chosen("policy_severity", Severity.self))
        status = try fields.chosen("status", Status.self)
        reason = try fields.string("reason")
        finishedAt = try fields.optionalTime("finished")
        isReversible = try fields.bool("reversible") ?? false
        undoRequestedAt = try fields.optionalTime("undo_requested")
        undoneAt = try fields.optionalTime("undone")
        isUndoneOnRequest = try fields.bool("undone_on_request") ?? false
        isUntried = try fields.bool("untried") ?? false
    }
}
