package import Protocol

/// How long the node keeps an action: until a point in the uptime of one boot.
package struct Lease: Sendable, Equatable {
    /// The boot in which it counts; in any other it has run out.
    package var boot: String
    /// Time since that boot.
    package var until: Duration

    package init(boot: String, until: Duration) {
        self.boot = boot
        self.until = until
    }
}

/// An action as it was planned: everything that is needed to take it back.
package struct PlannedAction: Sendable, Equatable {
    package var id: String
    /// The verb, such as `throttle_50`.
    package var verb: String
    package var family: String
    package var isReversible: Bool
    /// What the verb needs to take it back.
    package var undo: JSON.Object
    package var incident: String?
    /// The coordinator's term that asked for it.
    package var epoch: Int64?
    /// Until when its id is remembered.
    package var keepUntil: Timestamp

    package init(
        id: String, verb: String, family: String, isReversible: Bool, undo: JSON.Object,
        incident: String? = nil, epoch: Int64? = nil, keepUntil: Timestamp
    ) {
        self.id = id
        self.verb = verb
        self.family = family
        self.isReversible = isReversible
        self.undo = undo
        self.incident = incident
        self.epoch = epoch
        self.keepUntil = keepUntil
    }
}

/// One line of the journal.
package enum JournalRecord: Sendable, Equatable {
    /// Written before anything is changed.
    case planned(PlannedAction)
    /// It has been executed, with this result; the lease of what is in force.
    case done(id: String, CommandResult, Lease?)
    /// The lease of what is in force is longer now.
    case renewed(id: String, Lease)
    /// What it had changed is as before.
    case undone(id: String, CommandResult)
    /// It has never changed anything and never will, with this result.
    case closed(id: String, CommandResult, keepUntil: Timestamp)
    /// The highest term of a coordinator that was heard of.
    case epoch(Int64)
    /// An alert that was reported and has not cleared; with `ok`: that has.
    case raised(AlertKeeper.Key, Severity)
}

extension JournalRecord {
    package var object: JSON.Object {
        switch self {
        case .planned(let action):
            var object: JSON.Object = [
                "record": "planned", "id": .string(action.id), "verb": .string(action.verb),
                "family": .string(action.family), "reversible": .bool(action.isReversible),
                "undo": .object(action.undo), "keep_ns": .integer(action.keepUntil.nanoseconds),
            ]
            object["incident"] = action.incident.map(JSON.string)
            object["epoch"] = action.epoch.map(JSON.integer)
            return object
        case .done(let id, let result, let lease):
            var object: JSON.Object = [
                "record": "done", "id": .string(id), "result": .object(result.object),
            ]
            if let lease { object.set(lease) }
            return object
        case .renewed(let id, let lease):
            var object: JSON.Object = ["record": "renewed", "id": .string(id)]
            object.set(lease)
            return object
        case .undone(let id, let result):
            return [
                "record": "undone", "id": .string(id), "result": .object(result.object),
            ]
        case .closed(let id, let result, let keepUntil):
            return [
                "record": "closed", "id": .string(id), "result": .object(result.object),
                "keep_ns": .integer(keepUntil.nanoseconds),
            ]
        case .epoch(let epoch): return ["record": "epoch", "epoch": .integer(epoch)]
        case .raised(let key, let severity):
            return [
                "record": "raised", "type": .string(key.type), "resource": .string(key.resource),
                "severity": .string(severity.rawValue),
            ]
        }
    }

    /// Reads what `object` wrote.
    ///
    /// - Throws: `MessageError` naming the field; a record of an unknown kind was written by a later
    ///   version, whose actions this one must not touch.
    package init(_ object: JSON.Object) throws(MessageError) {
        let fields = Fields(object)
        let kind = try fields.required("record", try fields.string("record"))
        switch kind {
        case "planned": self = .planned(try PlannedAction(fields))
        case "done":
            let lease = object["until_ns"] == nil ? nil : try Lease(fields)
            self = .done(id: try fields.id, try fields.result, lease)
        case "renewed": self = .renewed(id: try fields.id, try Lease(fields))
        case "undone": self = .undone(id: try fields.id, try fields.result)
        case "closed":
            self = .closed(id: try fields.id, try fields.result, keepUntil: try fields.keepUntil)
        case "epoch": self = .epoch(try fields.required("epoch", try fields.integer("epoch")))
        case "raised":
            let key = AlertKeeper.Key(
                type: try fields.required("type", try fields.string("type")),
                resource: try fields.required("resource", try fields.string("resource")))
            let severity = try fields.choice("severity", Severity.self)
            self = .raised(key, try fields.required("severity", severity))
        default:
            throw fields.error("record", "\(Name.quoted(kind)) is not a record of this version")
        }
    }
}

extension PlannedAction {
    fileprivate init(_ fields: Fields) throws(MessageError) {
        id = try fields.id
        verb = try fields.required("verb", try fields.string("verb"))
        family = try fields.required("family", try fields.string("family"))
        isReversible = try fields.required("reversible", try fields.bool("reversible"))
        undo = try fields.required("undo", try fields.object("undo"))
        incident = try fields.string("incident")
        epoch = try fields.integer("epoch")
        keepUntil = try fields.keepUntil
    }
}

extension Lease {
    fileprivate init(_ fields: Fields) throws(MessageError) {
        boot = try fields.required("boot", try fields.string("boot"))
        until = .nanoseconds(try fields.required("until_ns", try fields.integer("until_ns")))
    }
}

extension JSON.Object {
    fileprivate mutating func set(_ lease: Lease) {
        self["boot"] = .string(lease.boot)
        self["until_ns"] = .integer(lease.until.wholeNanoseconds)
    }
}

extension Fields {
    fileprivate var id: String {
        get throws(MessageError) { try required("id", try string("id")) }
    }

    fileprivate var keepUntil: Timestamp {
        get throws(MessageError) {
            Timestamp(nanoseconds: try required("keep_ns", try integer("keep_ns")))
        }
    }

    fileprivate var result: CommandResult {
        get throws(MessageError) {
            let object = try required("result", try object("result"))
            let inner = Fields(object, path: "result")
            let node = try inner.required("node", try inner.name("node"))
            return try CommandResult(inner, node: node)
        }
    }
}
