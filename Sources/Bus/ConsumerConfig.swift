internal import Protocol

/// What a consumer, the server's cursor over a stream, is to be.
package struct ConsumerConfig: Sendable, Equatable {
    /// Where a new consumer begins.
    package enum Start: Sendable, Equatable {
        case all
        case new
        case last
        case lastPerSubject
        case sequence(UInt64)
    }

    package var durable: String
    package var start: Start = .all
    /// Only messages of this subject; may have wildcards. `nil` is all.
    package var filterSubject: String?
    /// A message that was not acked for this long is delivered again.
    package var ackWait: Duration = .seconds(30)
    /// How many messages may be delivered and not yet acked; the server waits then.
    package var maxAckPending = 1000
    /// How often a message is tried; `nil` is endlessly.
    package var maxDeliver: Int?
    /// Where the server pushes the messages; `nil` makes a consumer that is pulled.
    package var deliverSubject: String?

    /// A consumer that pushes to a subject of its own, which no stream should cover.
    package static func push(stream: String, durable: String) -> ConsumerConfig {
        var config = ConsumerConfig(durable: durable)
        config.deliverSubject = "deliver.\(stream).\(durable)"
        return config
    }

    package init(durable: String) { self.durable = durable }

    var json: JSON {
        var object: JSON.Object = [
            "durable_name": .string(durable),
            "ack_policy": "explicit",
            "replay_policy": "instant",
            "ack_wait": .integer(ackWait.wholeNanoseconds),
            "max_ack_pending": .integer(Int64(maxAckPending)),
            "max_deliver": .integer(Int64(maxDeliver ?? -1)),
        ]
        if let filterSubject { object["filter_subject"] = .string(filterSubject) }
        if let deliverSubject { object["deliver_subject"] = .string(deliverSubject) }
        switch start {
        case .all: object["deliver_policy"] = "all"
        case .new: object["deliver_policy"] = "new"
        case .last: object["deliver_policy"] = "last"
        case .lastPerSubject: object["deliver_policy"] = "last_per_subject"
        case .sequence(let sequence):
            object["deliver_policy"] = "by_start_sequence"
            object["opt_start_seq"] = .integer(Int64(clamping: sequence))
        }
        return .object(object)
    }

    /// The first field in which `found` is not what this asks for. Where a consumer once began
    /// does not matter any more when it exists.
    func difference(from found: JSON.Object) -> (field: String, wanted: String, found: String)? {
        guard case .object(let wanted) = json else { return nil }
        for (field, value) in wanted.members
        where field != "deliver_policy" && field != "opt_start_seq" && found[field] != value {
            if value == -1, found[field] == nil { continue }
            return (field, value.text, found[field]?.text ?? "nothing")
        }
        for field in ["filter_subject", "deliver_subject"]
        where wanted[field] == nil && found[field]?.string?.isEmpty == false {
            return (field, "nothing", found[field]?.text ?? "")
        }
        return nil
    }
}

/// A consumer as it is.
package struct ConsumerInfo: Sendable, Equatable {
    package var name: String
    package var deliverSubject: String?
    /// Delivered and not acked yet.
    package var ackPending: Int
    /// Not delivered yet.
    package var pending: UInt64
    /// Sequence in the stream up to which everything is acked.
    package var ackFloor: UInt64
    package var redelivered: Int
    /// Whether somebody receives what it pushes.
    package var bound: Bool
    let config: JSON.Object

    init(_ object: JSON.Object) throws(BusError) {
        guard let config = object["config"]?.object, let name = object["name"]?.string else {
            throw BusError(.protocolError, "consumer: the server's description has no config")
        }
        self.name = name
        self.config = config
        deliverSubject = config["deliver_subject"]?.string
        ackPending = Int(object["num_ack_pending"]?.integer ?? 0)
        pending = UInt64(max(0, object["num_pending"]?.integer ?? 0))
        ackFloor = UInt64(max(0, object["ack_floor"]?.object?["stream_seq"]?.integer ?? 0))
        redelivered = Int(object["num_redelivered"]?.integer ?? 0)
        bound = object["push_bound"]?.bool ?? false
    }
}
