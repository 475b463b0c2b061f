internal import Protocol

/// What a stream is to be. The defaults are the server's.
package struct StreamConfig: Sendable, Equatable {
    package enum Storage: String, Sendable { case file, memory }
    package enum Retention: String, Sendable { case limits, interest, workqueue }
    /// What happens when a limit is reached.
    package enum Discard: String, Sendable {
        /// The oldest messages go.
        case old
        /// New messages are refused.
        case new
    }

    package var name: String
    package var subjects: [String]
    package var storage: Storage = .file
    package var retention: Retention = .limits
    package var discard: Discard = .old
    package var replicas = 1
    /// How long messages are kept; `nil` is for ever.
    package var maxAge: Duration?
    /// `nil` is unlimited, here and below.
    package var maxMessages: Int?
    package var maxBytes: Int?
    package var maxMessagesPerSubject: Int?
    package var maxMessageSize: Int?
    /// How long `Nats-Msg-Id` is remembered; `nil` takes what the server chooses (2 minutes).
    package var duplicateWindow: Duration?
    /// Messages cannot be deleted one by one. Once set it cannot be unset.
    package var denyDelete = false
    /// The stream cannot be purged. Once set it cannot be unset.
    package var denyPurge = false
    package var allowRollup = false
    package var allowDirect = false
    /// Several messages can be stored as one batch (servers from 2.12 on).
    package var allowAtomicPublish = false

    package init(name: String, subjects: [String]) {
        self.name = name
        self.subjects = subjects
    }

    /// As the API takes it. What the server's own default says is left out where old servers
    /// would not know the field.
    var json: JSON {
        var object: JSON.Object = [
            "name": .string(name),
            "subjects": .array(subjects.map { .string($0) }),
            "retention": .string(retention.rawValue),
            "max_consumers": -1,
            "max_msgs": .integer(Int64(maxMessages ?? -1)),
            "max_bytes": .integer(Int64(maxBytes ?? -1)),
            "max_age": .integer(maxAge?.wholeNanoseconds ?? 0),
            "max_msgs_per_subject": .integer(Int64(maxMessagesPerSubject ?? -1)),
            "max_msg_size": .integer(Int64(maxMessageSize ?? -1)),
            "discard": .string(discard.rawValue),
            "storage": .string(storage.rawValue),
            "num_replicas": .integer(Int64(replicas)),
            "deny_delete": .bool(denyDelete),
            "deny_purge": .bool(denyPurge),
            "allow_rollup_hdrs": .bool(allowRollup),
            "allow_direct": .bool(allowDirect),
        ]
        if let duplicateWindow {
            object["duplicate_window"] = .integer(duplicateWindow.wholeNanoseconds)
        }
        if allowAtomicPublish { object["allow_atomic"] = true }
        return .object(object)
    }

    /// Where `found`, as the server echoed it, is not what this asks for; `nil` when it is.
    ///
    /// It has to be looked at even after a successful creation: servers before 2.12 silently
    /// ignore fields they do not know. Those in `adjustable` are not looked at.
    func difference(
        from found: JSON.Object, except adjustable: Set<String> = []
    ) -> (field: String, wanted: String, found: String)? {
        guard case .object(let wanted) = json else { return nil }
        for (field, value) in wanted.members where !adjustable.contains(field) {
            let echoed = found[field]
            let same =
                switch field {
                case "name", "max_consumers": true
                case "subjects": Self.sorted(value) == Self.sorted(echoed ?? .null)
                default: Self.normal(value) == Self.normal(echoed ?? .null)
                }
            if !same { return (field, value.text, echoed?.text ?? "nothing") }
        }
        return nil
    }

    private static func sorted(_ value: JSON) -> [String] {
        (value.array ?? []).compactMap(\.string).sorted()
    }

    /// An absent field, false, 0 and -1 all say "not limited" or "not set"; servers leave them out.
    private static func normal(_ value: JSON) -> JSON {
        switch value {
        case .bool(false), .integer(0), .integer(-1): .null
        default: value
        }
    }
}

/// A stream as it is.
package struct StreamInfo: Sendable, Equatable {
    package var name: String
    package var subjects: [String]
    package var messages: UInt64
    package var bytes: UInt64
    /// 0 when nothing was ever stored.
    package var firstSequence: UInt64
    /// 0 when nothing was ever stored; stays when messages expire.
    package var lastSequence: UInt64
    package var consumers: Int
    /// When it was created, as the server writes it: tells a stream from one of the same name that was
    /// there before.
    package var created: String
    /// The configuration as the server echoed it.
    let config: JSON.Object

    init(_ object: JSON.Object) throws(BusError) {
        guard let config = object["config"]?.object, let state = object["state"]?.object,
            let name = config["name"]?.string
        else { throw BusError(.protocolError, "stream: the server's description has no config") }
        func number(_ field: String) -> UInt64 { UInt64(max(0, state[field]?.integer ?? 0)) }
        self.name = name
        subjects = (config["subjects"]?.array ?? []).compactMap(\.string)
        messages = number("messages")
        bytes = number("bytes")
        firstSequence = number("first_seq")
        lastSequence = number("last_seq")
        consumers = Int(number("consumer_count"))
        created = object["created"]?.string ?? ""
        self.config = config
    }

    /// A setting of the stream, as JSON text, by its name in the API (e.g. `max_age`); `nil` when
    /// the server does not know or tell it.
    package func setting(_ field: String) -> String? { config[field]?.text }
}
