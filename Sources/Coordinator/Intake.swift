import Bus
import Immunity
import Protocol
import Runtime

/// Turns messages of the bus into items for the engine. What cannot be read becomes a rejection, so that
/// whoever sent it hears of it.
struct Intake: Sendable {
    let engine: Engine
    let meters: CoordinatorMeters

    func alert(_ message: BusMessage) {
        let subject = message.subject
        guard subject.hasPrefix("skos.alert.") else {
            return reject(
                message, MessageError(field: "", reason: "this version does not handle \(subject)"),
                acks: true)
        }
        guard let metadata = message.metadata else {
            return reject(
                message, MessageError(field: "", reason: "it did not come from the stream"),
                acks: false)
        }
        do throws(MessageError) {
            let node = try Self.node(of: subject)
            var alert = try message.withPayload { (payload) throws(MessageError) in
                try Alert(decoding: payload, node: node)
            }
            // The least that works by hand says neither when nor which: the stream knows both.
            if alert.timestamp == nil {
                alert.timestamp =
                    Timestamp(nanoseconds: metadata.timestampNanoseconds)
                    .inMilliseconds
            }
            if alert.id == nil { alert.id = "\(Subjects.alertStream):\(metadata.streamSequence)" }
            engine.submit(.input(.alert(alert, sequence: metadata.streamSequence), message))
        } catch { reject(message, error, acks: true) }
    }

    func result(_ message: BusMessage) {
        do throws(MessageError) {
            let node = try Self.node(of: message.subject)
            let result = try message.withPayload { (payload) throws(MessageError) in
                try CommandResult(decoding: payload, node: node)
            }
            // The command is sent again, and the agent says again what became of it.
            if !engine.offer(.input(.result(result), nil)) { meters.droppedMessages.increment() }
        } catch { reject(message, error, acks: false) }
    }

    /// What an agent has rejected: a command that it could not read. Rejections without an agent are this
    /// coordinator's own.
    func rejection(_ message: BusMessage) {
        let fields = message.withPayload { try? Fields(message: $0) }
        guard let fields, let node = Subjects.node(of: message.subject),
            (try? fields.agentID()) != nil,
            let reason = try? fields.string("reason"),
            let subject = try? fields.string("subject", limit: Limits.identifierBytes)
        else { return }
        let rejection = Rejection(
            subject: subject, node: node, field: (try? fields.string("field")) ?? "",
            reason: reason, excerpt: (try? fields.string("excerpt")) ?? "")
        if !engine.offer(.input(.rejectedByAgent(rejection), nil)) {
            meters.droppedMessages.increment()
        }
    }

    /// The engine takes heartbeats into account when many have come.
    func heartbeat(_ message: BusMessage) {
        meters.heartbeats.increment()
        do throws(MessageError) {
            let node = try Self.node(of: message.subject)
            let heartbeat = try message.withPayload { (payload) throws(MessageError) in
                try Heartbeat(decoding: payload, node: node)
            }
            engine.leave(heartbeat)
        } catch { reject(message, error, acks: false) }
    }

    private static func node(of subject: String) throws(MessageError) -> String {
        guard let node = Subjects.node(of: subject) else {
            throw MessageError(
                field: "subject",
                reason: "\(Name.quoted(subject)) does not end with a node ([a-z0-9_-], 1 to 63)")
        }
        return node
    }

    private func reject(_ message: BusMessage, _ error: MessageError, acks: Bool) {
        let subject = message.subject
        let excerpt = message.withPayload { payload in
            String(decoding: payload.prefix(120), as: UTF8.self)
        }
        let isOfNode = !subject.hasPrefix("skos.event.")
        let rejection = Rejection(
            subject: subject,
            node: (isOfNode ? Subjects.node(of: subject) : nil) ?? Rejection.unknownNode,
            field: error.field, reason: error.reason,
            excerpt: String(Name.quoted(excerpt).dropFirst().dropLast()),
            sequence: acks ? message.metadata?.streamSequence : nil)
        if acks {
            engine.submit(.input(.rejected(rejection), message))
        } else if !engine.offer(.input(.rejected(rejection), nil)) {
            meters.droppedMessages.increment()
        }
    }
}
