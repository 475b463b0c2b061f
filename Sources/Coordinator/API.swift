import Bus
import Immunity
import Protocol
import Runtime
import Synchronization

/// Answers `skos.api.<verb>`: what an operator's verb does, a NATS request can do too.
///
/// A request's payload is a JSON object or nothing; the answer is a JSON object, with an `error` of
/// `code` and `message` when it could not be done.
final class API: Sendable {
    private weak let coordinator: CoordinatorService?
    private let jetStream: JetStream
    private let metrics: Metrics
    private let clock: SteadyClock
    private let logger: Logger
    private let startedAt: Timestamp
    /// Stories being read at the moment.
    private let readers = Mutex(0)

    /// How many stories are read at once: each reads the whole audit.
    static let readerLimit = 4

    init(
        coordinator: CoordinatorService, jetStream: JetStream, metrics: Metrics,
        clock: SteadyClock, logger: Logger
    ) {
        self.coordinator = coordinator
        self.jetStream = jetStream
        self.metrics = metrics
        self.clock = clock
        self.logger = logger
        startedAt = clock.now()
    }

    /// Why a request was not granted; the code is for programs, the message for people.
    struct Failure: Error {
        var code: String
        var message: String

        static func badRequest(_ message: String) -> Failure {
            Failure(code: "bad_request", message: message)
        }

        static func notFound(_ message: String) -> Failure {
            Failure(code: "not_found", message: message)
        }

        static let busy = Failure(
            code: "busy", message: "too many requests wait already; ask again in a moment")
    }

    func answer(_ message: BusMessage) {
        guard message.reply != nil else { return }
        do {
            let verb = String(message.subject.dropFirst("skos.api.".count))
            try answer(verb, try Self.parameters(of: message), message)
        } catch let error as Failure {
            respond(message, Self.object(error))
        } catch {
            respond(message, Self.object(.badRequest("\(error)")))
        }
    }

    private static func parameters(of message: BusMessage) throws(MessageError) -> Fields {
        guard message.count > 0 else { return Fields(JSON.Object()) }
        return try message.withPayload { (payload) throws(MessageError) in
            try Fields(message: payload)
        }
    }

    private func answer(_ verb: String, _ fields: Fields, _ message: BusMessage) throws {
        let budget = message.answerBudget
        switch verb {
        case "status": try ask(message) { [self] in status($0, $1) }
        case "nodes":
            let page = try Page(fields, budget)
            try ask(message) { view, _ in Views.nodes(view.immunity.nodes, page) }
        case "incidents":
            let all = try fields.bool("all") ?? false
            let page = try Page(fields, budget)
            try ask(message) { view, _ in Views.incidents(view.immunity.state, all: all, page) }
        case "alerts":
            let limit = Int(clamping: try fields.integer("limit") ?? 50)
            try ask(message) { view, _ in
                Views.alerts(view.alerts.suffix(max(0, limit)), budget: budget)
            }
        case "breakers":
            let page = try Page(fields, budget)
            try ask(message) { [clock] view, _ in
                Views.breakers(view.immunity.state.breakers, at: clock.now(), page)
            }
        case "metrics": respond(message, ["text": .string(metrics.text())])
        case "policy": try ask(message) { view, _ in Views.policies(view.immunity.policies) }
        case "breaker_reset": try resetBreaker(fields, message)
        case "undo":
            let id = try fields.required("id", try fields.identifier("id"))
            try act(.undo(id: id, actor: try Self.actor(fields)), message)
        case "explain":
            try explain(try fields.required("id", try fields.identifier("id")), message)
        default:
            throw Failure.badRequest(
                "unknown verb \(Name.quoted(verb)); known: \(Self.verbs.joined(separator: ", "))")
        }
    }

    /// What can be asked for.
    static let verbs = [
        "alerts", "breaker_reset", "breakers", "explain", "incidents", "metrics", "nodes", "policy",
        "status", "undo",
    ]

    private static func actor(_ fields: Fields) throws(MessageError) -> String {
        try fields.identifier("actor") ?? "operator"
    }

    private func resetBreaker(_ fields: Fields, _ message: BusMessage) throws {
        let text = try fields.identifier("breaker")
        let key = text.flatMap(BreakerKey.init)
        if let text, key == nil {
            throw Failure.badRequest(
                "\(Name.quoted(text)) is not node:action or node:action:resource")
        }
        try act(.resetBreaker(key, actor: try Self.actor(fields)), message)
    }

    // MARK: Ways to answer

    private func session() throws(Failure) -> Session {
        switch coordinator?.access {
        case .session(let session): return session
        case .idle(let reason):
            throw Failure(
                code: "not_acting", message: "the coordinator does not act at the moment: \(reason)"
            )
        case nil: throw Failure(code: "not_acting", message: "the coordinator has ended")
        }
    }

    /// Answers from a consistent view of the state.
    private func ask(
        _ message: BusMessage,
        _ body: @escaping @Sendable (Engine.View, Session) -> JSON.Object
    ) throws(Failure) {
        let session = try session()
        let isTaken = session.engine.offer(
            .question { [self] view in respond(message, body(view, session)) })
        if !isTaken { throw .busy }
    }

    /// Has the core do something, and answers when it is durable.
    private func act(_ input: Immunity.Input, _ message: BusMessage) throws(Failure) {
        let isTaken = try session().ask(input) { [self] outcome, granted in
            respond(
                message,
                granted
                    ? ["outcome": .string(outcome)] : Self.object(Failure.notFound(outcome)))
        }
        if !isTaken { throw .busy }
    }

    /// Reads the records back that mention an incident, an alert, an action or a node. The audit alone
    /// answers: nothing that is not in it is claimed.
    private func explain(_ id: String, _ message: BusMessage) throws(Failure) {
        let isTaken = readers.withLock { readers in
            guard readers < Self.readerLimit else { return false }
            readers += 1
            return true
        }
        guard isTaken else { throw .busy }
        Task {
            defer { readers.withLock { $0 -= 1 } }
            do {
                respond(
                    message, try await Story.read(id, jetStream, budget: message.answerBudget))
            } catch let error as Story.TooLong {
                respond(message, Self.object(Failure(code: "too_large", message: "\(error)")))
            } catch {
                respond(message, Self.object(Failure(code: "unavailable", message: "\(error)")))
            }
        }
    }

    private static func object(_ failure: Failure) -> JSON.Object {
        ["error": ["code": .string(failure.code), "message": .string(failure.message)]]
    }

    private func respond(_ message: BusMessage, _ object: JSON.Object) {
        do throws(BusError) {
            do throws(BusError) {
                try message.respond(JSON.object(object).encoded)
            } catch  where error.code == .payloadTooLarge {
                let failure = Failure(code: "too_large", message: error.description)
                try message.respond(JSON.object(Self.object(failure)).encoded)
            }
        } catch {
            logger.warning(
                "could not answer", ["subject": message.subject, "error": error.description])
        }
    }

    private func status(_ view: Engine.View, _ session: Session) -> JSON.Object {
        var status = Views.status(view)
        status["version"] = .string(BuildInfo.version)
        status["coordinator"] = .string(session.actor)
        status["started"] = .string(startedAt.description)
        status["time"] = .string(clock.now().description)
        status["nats"] = session.connectionView()
        status["config"] = session.configurationView()
        status["dropped_heartbeats"] = .integer(Int64(session.engine.droppedHeartbeats))
        return status
    }
}

extension BusMessage {
    /// How many bytes an answer may have: what the server takes, less what surrounds a list.
    fileprivate var answerBudget: Int { max(4096, maxAnswer - 4096) }
}
