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
    private weak let session: Session?
    private let context: Session.Context
    private let startedAt: Timestamp

    init(session: Session, context: Session.Context) {
        self.session = session
        self.context = context
        startedAt = context.clock.now()
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
        switch verb {
        case "status": ask(message) { [self] in status($0) }
        case "nodes": ask(message) { Views.nodes($0.immunity.nodes) }
        case "incidents":
            let all = try fields.bool("all") ?? false
            ask(message) { Views.incidents($0.immunity.state, all: all) }
        case "alerts":
            let limit = Int(clamping: try fields.integer("limit") ?? 50)
            ask(message) { Views.alerts($0.alerts.suffix(max(0, limit))) }
        case "breakers":
            let clock = context.clock
            ask(message) { Views.breakers($0.immunity.state.breakers, at: clock.now()) }
        case "metrics": respond(message, ["text": .string(context.metrics.text())])
        case "policy": ask(message) { Views.policies($0.immunity.policies) }
        case "breaker_reset": try resetBreaker(fields, message)
        case "undo":
            let id = try fields.required("id", try fields.string("id"))
            act(.undo(id: id, actor: try Self.actor(fields)), message)
        case "explain":
            let id = try fields.required("id", try fields.string("id"))
            explain(id, message)
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
        try fields.string("actor", limit: Limits.identifierBytes) ?? "operator"
    }

    private func resetBreaker(_ fields: Fields, _ message: BusMessage) throws {
        let text = try fields.string("breaker")
        let key = text.flatMap(BreakerKey.init)
        if let text, key == nil {
            throw Failure.badRequest(
                "\(Name.quoted(text)) is not node:action or node:action:resource")
        }
        act(.resetBreaker(key, actor: try Self.actor(fields)), message)
    }

    // MARK: Ways to answer

    /// Answers from a consistent view of the state.
    private func ask(
        _ message: BusMessage, _ body: @escaping @Sendable (Engine.View) -> JSON.Object
    ) {
        session?.engine.submit(.question { [self] view in respond(message, body(view)) })
    }

    /// Has the core do something, and answers when it is durable.
    private func act(_ input: Immunity.Input, _ message: BusMessage) {
        session?.ask(input) { [self] outcome, granted in
            respond(
                message,
                granted
                    ? ["outcome": .string(outcome)]
                    : Self.object(Failure.notFound(outcome)))
        }
    }

    /// Reads the records back that mention an incident, an alert, an action or a node. The audit alone
    /// answers: nothing that is not in it is claimed.
    private func explain(_ id: String, _ message: BusMessage) {
        let jetStream = context.control.jetStream
        Task {
            do {
                let last = try await jetStream.streamInfo(Subjects.auditStream).lastSequence
                let story = try await Story.read(id, jetStream, upTo: last)
                respond(message, story)
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
            try message.respond(JSON.object(object).encoded)
        } catch {
            context.logger.warning(
                "could not answer", ["subject": message.subject, "error": error.description])
        }
    }

    private func status(_ view: Engine.View) -> JSON.Object {
        var status = Views.status(view)
        status["version"] = .string(BuildInfo.version)
        status["coordinator"] = .string(context.actor)
        status["started"] = .string(startedAt.description)
        status["time"] = .string(context.clock.now().description)
        status["nats"] = [
            "url": .string(context.control.connectedURL ?? ""),
            "server_version": .string(context.control.serverVersion ?? ""),
        ]
        status["config"] = session.map { $0.configurationView() }
        status["dropped_heartbeats"] = .integer(Int64(session?.engine.droppedHeartbeats ?? 0))
        return status
    }
}
