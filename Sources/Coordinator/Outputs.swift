import Bus
import Immunity
import Protocol
import Runtime
import Synchronization

/// What the engine does once the records before it are durable.
enum Effect: Sendable {
    case send(Command)
    case publish(String, JSON.Object)
    case reject(Rejection)
    case answer(String, Bool)
    case ack(BusMessage)
}

/// Where the engine's doings go: the bus, the log and the metrics.
final class Outputs: Sendable {
    private let connection: Connection
    private let publisher: OrderedPublisher
    private let logger: Logger
    private let meters: CoordinatorMeters
    /// Answers that operators wait for, oldest first: the core answers in the order it was asked.
    private let answers = Mutex<[@Sendable (String, Bool) -> Void]>([])

    init(
        connection: Connection, publisher: OrderedPublisher, logger: Logger,
        meters: CoordinatorMeters
    ) {
        self.connection = connection
        self.publisher = publisher
        self.logger = logger
        self.meters = meters
    }

    /// Registers who gets the answer to the next operator's input.
    func expectAnswer(_ body: @escaping @Sendable (String, Bool) -> Void) {
        answers.withLock { $0.append(body) }
    }

    /// Lets everything that `body` publishes leave in one write.
    func batched(_ body: () -> Void) { connection.withBatchedWrites(body) }

    /// Hands a record to the stream; its ack comes later, with its place as token.
    func append(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)], after last: UInt64
    ) throws(BusError) {
        try publisher.publish(
            subject, payload, headers: headers, expectedLastSequence: last, token: last + 1)
    }

    /// Does something that the records allow. What fails here is tried again by the core's timers or by
    /// the stream, so it is logged and counted only.
    func perform(_ effect: Effect) {
        do throws(BusError) {
            switch effect {
            case .send(let command):
                try connection.publish(
                    Subjects.command(command.node), JSON.object(command.object).encoded)
                meters.commands.increment()
            case .publish(let type, let event):
                try connection.publish(Subjects.event(type), JSON.object(event).encoded)
                logAgent(type, event)
            case .reject(let rejection): try publish(rejection)
            case .answer(let text, let granted):
                let body = answers.withLock { $0.isEmpty ? nil : $0.removeFirst() }
                body?(text, granted)
            case .ack(let message): try message.ack()
            }
        } catch {
            meters.publishFailures.increment()
            logger.warning("could not publish", ["error": error.description])
        }
    }

    /// Agents that come and go are in no record, so they are logged here.
    private func logAgent(_ type: String, _ event: JSON.Object) {
        guard type.hasPrefix("agent_") else { return }
        let fields: Logger.Fields = [
            "node": event["node"]?.string ?? "", "agent": event["agent_id"]?.string ?? "",
            "last_seen": event["last_seen"]?.string ?? "",
        ]
        let message = "agent \(type.dropFirst("agent_".count))"
        type == "agent_offline" ? logger.warning(message, fields) : logger.info(message, fields)
    }

    private func publish(_ rejection: Rejection) throws(BusError) {
        var object = JSON.Object()
        rejection.write(to: &object)
        let node = Name.isValid(rejection.node) ? rejection.node : Rejection.unknownNode
        try connection.publish(Subjects.rejected(node), JSON.object(object).encoded)
        meters.rejections.increment()
    }

    /// A rejection that is not recorded because there are too many: counted, and logged at debug.
    func suppressed(_ rejection: Rejection) {
        meters.suppressedRejections.increment()
        logger.debug(
            "rejected (not recorded)", ["node": rejection.node, "reason": rejection.reason])
    }

    /// Writes the log lines of records.
    func log(_ records: [Record]) {
        for record in records {
            meters.records(record.event.kind).increment()
            RecordLog.write(record, to: logger)
        }
    }
}

extension Rejection {
    /// Stands for a node whose name is not one.
    static let unknownNode = "unknown"
}

/// The coordinator's metrics.
final class CoordinatorMeters: Sendable {
    let commands: Counter
    let publishFailures: Counter
    let rejections: Counter
    let suppressedRejections: Counter
    let heartbeats: Counter
    private let recordsByKind: [String: Counter]
    private let otherRecords: Counter

    init(_ metrics: Metrics) {
        commands = metrics.counter(
            "skos_commands_sent_total", "Commands published, repeats included")
        publishFailures = metrics.counter(
            "skos_publish_failures_total", "Messages that could not be handed to NATS")
        rejections = metrics.counter("skos_rejections_total", "Messages that were not accepted")
        suppressedRejections = metrics.counter(
            "skos_rejections_suppressed_total", "Rejections counted only, because there were many")
        heartbeats = metrics.counter("skos_heartbeats_total", "Heartbeats received")
        let help = "Records appended to the audit stream"
        let kinds = [
            "alert", "decision", "result", "incident", "breaker", "operator", "rejected", "config",
        ]
        var counters: [String: Counter] = [:]
        for kind in kinds {
            counters[kind] = metrics.counter(
                "skos_audit_records_total", help, labels: ["kind": kind])
        }
        recordsByKind = counters
        otherRecords = metrics.counter(
            "skos_audit_records_total", help, labels: ["kind": "coordinator"])
    }

    func records(_ kind: String) -> Counter { recordsByKind[kind] ?? otherRecords }
}
