import Audit
import Bus
import Immunity
import Protocol
import Runtime
import Synchronization

/// What the engine does once the records before it are durable.
indirect enum Effect: Sendable {
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
    private let recordLog: RecordLog
    /// Gets every escalation, and does not block.
    private let callHuman: @Sendable (JSON.Object, _ isRepeated: Bool) -> Void
    /// Answers that operators wait for, oldest first: the core answers in the order it was asked.
    private let answers = Mutex<[@Sendable (String, Bool) -> Void]>([])

    init(
        connection: Connection, publisher: OrderedPublisher, logger: Logger,
        meters: CoordinatorMeters,
        callHuman: @escaping @Sendable (JSON.Object, _ isRepeated: Bool) -> Void
    ) {
        self.connection = connection
        self.publisher = publisher
        self.logger = logger
        self.meters = meters
        recordLog = RecordLog(logger)
        self.callHuman = callHuman
    }

    /// Registers who gets the answer to the next operator's input.
    func expectAnswer(_ body: @escaping @Sendable (String, Bool) -> Void) {
        answers.withLock { $0.append(body) }
    }

    /// Lets everything that `body` publishes leave in one write.
    func batched(_ body: () -> Void) { connection.withBatchedWrites(body) }

    /// Hands a record to the stream; its ack comes later, with its place as token.
    ///
    /// The record's id is what lets the next one insist on following it: an expected place alone is no
    /// fence in a pipeline, where the second record would fit behind the one that another coordinator
    /// wrote instead of the first.
    func append(_ record: EngineCore.Outgoing) throws(BusError) {
        try publisher.publish(
            record.subject, record.payload,
            headers: [
                (AuditChain.previousHeader, record.previous), (AuditChain.hashHeader, record.hash),
            ],
            messageID: String(record.hash.prefix(Self.idLength)),
            expectedLastSequence: record.sequence - 1, token: record.sequence)
    }

    /// Digits of a record's hash that name it: 128 bits.
    static let idLength = 32

    /// Does something that the records allow. What fails here is tried again by the core's timers or by
    /// the stream, so it is logged and counted only.
    func perform(_ effect: Effect) {
        do throws(BusError) {
            switch effect {
            case .send(let command):
                try connection.publish(
                    Subjects.command(command.node), command.encoded)
                meters.commands.increment()
            case .publish(let type, let event):
                // Also when NATS does not take the event: it is durable in the audit.
                if type == "escalation" { callHuman(event, false) }
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

    /// Agents that come and go are in no record, so they are logged here; so is that a node's name is
    /// unambiguous again, of which only the beginning is recorded.
    private func logAgent(_ type: String, _ event: JSON.Object) {
        let (node, agent) = (event["node"]?.string ?? "", event["agent_id"]?.string ?? "")
        if type == "node_unambiguous" {
            logger.info(
                "one machine goes by the node's name again", ["node": node, "agent": agent])
        }
        guard type.hasPrefix("agent_") else { return }
        let fields: Logger.Fields = [
            "node": node, "agent": agent, "last_seen": event["last_seen"]?.string ?? "",
        ]
        let message = "agent \(type.dropFirst("agent_".count))"
        type == "agent_offline" ? logger.warning(message, fields) : logger.info(message, fields)
    }

    private func publish(_ rejection: Rejection) throws(BusError) {
        let node = Name.isValid(rejection.node) ? rejection.node : Rejection.unknownNode
        try connection.publish(Subjects.rejected(node), rejection.encoded)
        meters.rejections.increment()
    }

    /// A message that led to nothing and is not recorded because there are too many such: counted, and
    /// logged at debug.
    func suppressed(_ event: Event, of node: String) {
        meters.suppressedRejections.increment()
        logger.debug("not recorded, there are too many", ["node": node, "kind": event.kind])
    }

    /// Counts records, and has their log lines written.
    func log(_ records: [Record]) {
        for record in records { meters.records(record.event.kind).increment() }
        recordLog.write(records)
    }

    /// Waits until the log lines of all records are written.
    func finishLog() async { await recordLog.finish() }
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
    let droppedMessages: Counter
    private let recordsByKind: [String: Counter]
    private let otherRecords: Counter

    init(_ metrics: Metrics) {
        commands = metrics.counter(
            "skos_commands_sent_total", "Commands published, repeats included")
        publishFailures = metrics.counter(
            "skos_publish_failures_total", "Messages that could not be handed to NATS")
        rejections = metrics.counter("skos_rejections_total", "Messages that were not accepted")
        suppressedRejections = metrics.counter(
            "skos_rejections_suppressed_total",
            "Messages that led to nothing and were counted only, because there were many")
        heartbeats = metrics.counter("skos_heartbeats_total", "Heartbeats received")
        droppedMessages = metrics.counter(
            "skos_messages_dropped_total", "Results and bad messages dropped, because many waited")
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
