package import Protocol

extension Record {
    /// Reads the payload of an audit record.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(decoding payload: UnsafeRawBufferPointer) throws(MessageError) {
        let json: JSON
        do throws(JSONError) { json = try JSON.parse(payload) } catch {
            throw MessageError(field: "", reason: error.description)
        }
        guard case .object(let object) = json else {
            throw MessageError(field: "", reason: "a JSON object is expected, not \(json.kind)")
        }
        try self.init(Fields(object))
    }

    /// Reads a record's members.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(_ fields: Fields) throws(MessageError) {
        time = try fields.required("time", try fields.timestamp("time"))
        actor = try fields.text("actor")
        event = try Event(fields)
    }
}

extension Fields {
    /// A string that must be there.
    func text(_ name: String) throws(MessageError) -> String {
        try required(name, try string(name, limit: Limits.messageBytes))
    }

    /// A count or an index that must be there; no ladder and no story is as long as the limit.
    func count(_ name: String) throws(MessageError) -> Int {
        let value = try required(name, try integer(name))
        guard (0...1_000_000_000).contains(value) else { throw error(name, "\(value) is no count") }
        return Int(value)
    }

    func chosen<T: RawRepresentable & CaseIterable>(
        _ name: String, _ type: T.Type
    ) throws(MessageError) -> T where T.RawValue == String {
        try required(name, try choice(name, type))
    }

    func members(_ name: String) throws(MessageError) -> Fields {
        Fields(try required(name, try object(name)), path: error(name, "").field)
    }
}

extension Event {
    init(_ fields: Fields) throws(MessageError) {
        let kind = try fields.text("kind")
        switch kind {
        case "coordinator":
            self = .started(
                version: try fields.text("version"), configuration: try fields.text("config"),
                isAlertStreamNew: try fields.bool("alert_stream_is_new") ?? false)
        case "config":
            self = .configured(
                fingerprint: try fields.text("config"), refused: try fields.string("reason"))
        case "alert": self = .alert(try AlertEvent(fields))
        case "decision": self = .decision(try Decision(fields))
        case "result": self = .result(try ResultEvent(fields))
        case "incident":
            self = .incident(
                IncidentEvent(
                    incident: try fields.text("incident"), node: try fields.text("node"),
                    change: try fields.chosen("change", IncidentEvent.Change.self),
                    reason: try fields.text("reason"),
                    isLapsed: try fields.bool("lapsed") ?? false))
        case "breaker":
            let text = try fields.text("breaker")
            guard let key = BreakerKey(text) else {
                throw fields.error("breaker", "\(Name.quoted(text)) is not node:action")
            }
            self = .breaker(
                BreakerEvent(
                    key: key, change: try fields.chosen("change", BreakerEvent.Change.self),
                    reason: try fields.text("reason"), until: try fields.timestamp("until")))
        case "operator":
            self = .operation(
                OperatorEvent(
                    verb: try fields.text("verb"), actor: try fields.text("actor"),
                    parameters: try fields.object("parameters") ?? JSON.Object(),
                    outcome: try fields.text("outcome")))
        case "rejected":
            self = .rejected(
                Rejection(
                    subject: try fields.text("subject"), node: try fields.text("node"),
                    field: try fields.string("field") ?? "", reason: try fields.text("reason"),
                    excerpt: try fields.string("excerpt") ?? "",
                    sequence: try fields.integer("sequence").map { UInt64(clamping: $0) }))
        case "clock": self = .clock(reason: try fields.text("reason"))
        default: throw fields.error("kind", "\(Name.quoted(kind)) is not a kind of record")
        }
    }
}

extension AlertEvent {
    fileprivate init(_ fields: Fields) throws(MessageError) {
        alert = try Alert(fields.members("alert"), node: fields.text("node"))
        sequence = UInt64(clamping: try fields.integer("sequence") ?? 0)
        effect = try fields.chosen("effect", Effect.self)
        incident = try fields.string("incident")
        until = try fields.timestamp("until")
        policySeverity = try fields.choice("policy_severity", Severity.self)
        reason = try fields.string("reason")
    }
}

extension Decision {
    fileprivate init(_ fields: Fields) throws(MessageError) {
        node = try fields.text("node")
        incident = try fields.text("incident")
        cause = try fields.string("cause")
        policy = try fields.text("policy")
        rung = try fields.count("rung")
        action = try fields.string("action") ?? ""
        verdict = try fields.chosen("verdict", Verdict.self)
        reason = try fields.text("reason")
        until = try fields.timestamp("until")
        guards = []
        for (index, element) in (fields.object["guards"]?.array ?? []).enumerated() {
            guard let object = element.object else {
                throw fields.error("guards[\(index)]", "an object is expected")
            }
            let inner = Fields(object, path: "guards[\(index)]")
            guards.append(
                Guard(
                    name: try inner.text("guard"),
                    passed: try inner.required("passed", try inner.bool("passed")),
                    reason: try inner.text("reason")))
        }
        if try fields.object("command") != nil {
            command = try Command(fields.members("command"), node: node)
        }
    }
}

extension ResultEvent {
    fileprivate init(_ fields: Fields) throws(MessageError) {
        result = try CommandResult(fields.members("result"), node: fields.text("node"))
        incident = try fields.text("incident")
        timedOut = try fields.bool("timed_out") ?? false
        until = try fields.timestamp("until")
    }
}
