import Audit
import Bus
import Foundation
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport
import Testing

@testable import Coordinator

/// Everything that one client hears of everybody, in the order in which the server sends it: what was
/// the cause of something stands before it.
final class Tape: Sendable {
    struct Note: Sendable {
        var subject: String
        var payload: [UInt8]
        var hash: String?

        var json: JSON.Object { (try? JSON.parse(payload).object) ?? [:] }

        subscript(name: String) -> JSON? { json[name] }
    }

    private let notes = Mutex<[Note]>([])
    private let delivery = Mutex<Delivery?>(nil)

    init(_ connection: Connection) async throws {
        let running = try connection.subscribe(">") { [weak self] message in
            guard !message.subject.hasPrefix("$JS.ACK") else { return }
            let note = Note(
                subject: message.subject, payload: message.payload,
                hash: message.header(AuditChain.hashHeader))
            self?.notes.withLock { $0.append(note) }
        }
        try await running.ready(timeout: .seconds(60))
        delivery.withLock { $0 = running }
    }

    var all: [Note] { notes.withLock { $0 } }

    var count: Int { notes.withLock { $0.count } }

    /// The messages whose subject begins so.
    func notes(_ prefix: String) -> [Note] { all.filter { $0.subject.hasPrefix(prefix) } }

    /// The commands of one operation; `nil` is to execute.
    func commands(_ operation: String? = nil) -> [Note] {
        notes("skos.command.").filter { $0["operation"]?.string == operation }
    }

    /// The commands to execute, without those that were sent again because an answer took too long.
    func distinctCommands() -> [Note] {
        var seen: Set<String> = []
        return commands().filter { seen.insert($0["action_id"]?.string ?? "").inserted }
    }
}

/// A foreign agent: executes each action once, remembers what it answered, and can take it back.
final class Agent: Sendable {
    enum Manner: Sendable {
        case succeeds
        case fails
        /// Takes commands and says nothing.
        case silent
    }

    private struct State {
        var manner: Manner
        var executions: [String: Int] = [:]
        var undone: Set<String> = []
        var renewals = 0
        var highestEpoch: Int64 = 0
    }

    private let connection: Connection
    private let state: Mutex<State>
    private let delivery = Mutex<Delivery?>(nil)

    init(_ connection: Connection, _ manner: Manner = .succeeds) async throws {
        self.connection = connection
        state = Mutex(State(manner: manner))
        let running = try connection.subscribe("skos.command.*") { [weak self] in self?.obey($0) }
        try await running.ready(timeout: .seconds(60))
        delivery.withLock { $0 = running }
    }

    var manner: Manner {
        get { state.withLock { $0.manner } }
        set { state.withLock { $0.manner = newValue } }
    }

    /// How often each action was really executed.
    var executions: [String: Int] { state.withLock { $0.executions } }
    var undone: Set<String> { state.withLock { $0.undone } }
    var renewals: Int { state.withLock { $0.renewals } }

    func leave() { delivery.withLock { $0?.cancel() } }

    private func obey(_ message: BusMessage) {
        guard let command = try? JSON.parse(message.payload).object,
            let id = command["action_id"]?.string, let node = command["node"]?.string
        else { return }
        let epoch = command["epoch"]?.integer ?? 0
        let answer: JSON.Object? = state.withLock { state in
            guard epoch >= state.highestEpoch else { return nil }
            state.highestEpoch = epoch
            if state.manner == .silent { return nil }
            var answer: JSON.Object = ["action_id": .string(id), "agent_id": "foreign-1"]
            switch command["operation"]?.string {
            case "renew":
                state.renewals += 1
                return nil
            case "undo":
                state.undone.insert(id)
                answer["status"] = "undone"
            default:
                // A repeat is answered with the same.
                if state.executions[id] == nil { state.executions[id] = 1 }
                answer["status"] = "done"
                let succeeded = state.manner == .succeeds
                answer["outcome"] = succeeded ? "succeeded" : "permanent_failure"
                if succeeded { answer["undo"] = ["knob": "before"] }
            }
            return answer
        }
        guard let answer else { return }
        try? connection.publish("skos.result.\(node)", JSON.object(answer).encoded)
    }
}

struct LabFailure: Error, CustomStringConvertible {
    var description: String
}

/// A coordinator in this process.
final class Running: Sendable {
    let service: CoordinatorService
    private let task: Task<Void, any Error>
    private let ended = Mutex<Result<Void, any Error>?>(nil)

    init(_ service: CoordinatorService) {
        self.service = service
        task = Task { try await service.run() }
        Task { [weak self, task] in
            let result = await task.result
            self?.ended.withLock { $0 = result }
        }
    }

    deinit { task.cancel() }

    /// Stops it in order.
    func stop() async throws {
        await service.shutdown()
        try await task.value
    }

    /// Ends it in the middle of whatever it does; nothing more is sent.
    func abandon() async {
        task.cancel()
        _ = await task.result
    }

    /// What it failed with, once it has.
    var failure: String? {
        if case .failure(let error) = ended.withLock({ $0 }) { "\(error)" } else { nil }
    }
}

/// A server, a client that hears everything, and as many coordinators as a test wants.
final class Lab: Sendable {
    let server: NATSServer
    let connection: Connection
    let tape: Tape
    private let logFile: String
    private let logDescriptor: CInt
    private let coordinators = Mutex<[Running]>([])

    static func run(
        _ binary: String, config: String = "", _ body: (Lab) async throws -> Void
    ) async throws {
        let lab = try await Lab(binary, config)
        do { try await body(lab) } catch {
            await lab.end()
            print(lab.log)
            throw error
        }
        await lab.end()
    }

    private init(_ binary: String, _ config: String) async throws {
        server = try await NATSServer.start(binary: binary, config: config)
        var options = Connection.Options(urls: [server.url])
        options.reconnectWait = .milliseconds(20)
        options.reconnectJitter = .milliseconds(5)
        // A server that has just begun may still drop its first clients on a busy machine.
        options.retryOnFailedConnect = true
        options.deadline = .seconds(30)
        connection = try await Connection.connect(options)
        tape = try await Tape(connection)
        logFile = server.directory + "/coordinator.log"
        logDescriptor = open(logFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    }

    private func end() async {
        for coordinator in coordinators.withLock({ $0 }) { await coordinator.abandon() }
        connection.close()
        close(logDescriptor)
    }

    /// What all coordinators have logged.
    var log: String { (try? String(contentsOfFile: logFile, encoding: .utf8)) ?? "" }

    /// How often they have logged something.
    func logged(_ text: String) -> Int { log.components(separatedBy: text).count - 1 }

    /// Starts a coordinator and waits until it acts. With no patience it takes over from any other; the tape
    /// would make it wait for a leader that is not there.
    func coordinator(
        _ policies: PolicySet = Lab.policies(), name: String = "lab",
        local: Config.Local = Config.Local(),
        changes: AsyncStream<ConfigWatcher.Change>? = nil, metrics: Metrics = Metrics(),
        patience: Duration = .zero
    ) async throws -> Running {
        let last = try? await connection.jetStream.streamInfo("SKOS_AUDIT").lastSequence
        let running = launch(
            policies, name: name, local: local, changes: changes, metrics: metrics,
            patience: patience)
        let acts = await eventually {
            try await self.term(timeout: .milliseconds(200)) > Int64(last ?? 0)
                || running.failure != nil
        }
        if !acts || running.failure != nil {
            throw LabFailure(
                description: "the coordinator does not act: \(running.failure ?? log)")
        }
        return running
    }

    /// Starts a coordinator.
    func launch(
        _ policies: PolicySet = Lab.policies(), name: String = "lab",
        local: Config.Local = Config.Local(),
        changes: AsyncStream<ConfigWatcher.Change>? = nil, metrics: Metrics = Metrics(),
        url: String? = nil, patience: Duration = .zero
    ) -> Running {
        var config = Config()
        config.nats.urls = [url ?? server.url]
        config.nodeName = name
        config.policySet = policies
        config.local = local
        let running = Running(
            CoordinatorService(
                LoadedConfig(config: config), changes: changes, metrics: metrics,
                logger: Logger("coordinator", sink: LogSink(descriptor: logDescriptor)),
                patience: patience))
        coordinators.withLock { $0.append(running) }
        return running
    }

    /// Policies with short times: `throttle_50`, then `throttle_10`, against `thermal/critical`.
    static func policies(
        ladder: [String] = ["throttle_50", "throttle_10"],
        _ change: (inout PolicySet) -> Void = { _ in }
    ) -> PolicySet {
        var set = PolicySet(policies: [
            Policy(
                type: "thermal", severity: .critical, ladder: ladder.map { Rung(action: $0) },
                cooldown: .milliseconds(1), stayClear: .milliseconds(50))
        ])
        change(&set)
        return set
    }

    // MARK: Talking

    /// Publishes an alert as somebody with the `nats` command would.
    func alert(_ text: String, node: String = "nova") throws {
        try connection.publish("skos.alert.\(node)", Array(text.utf8))
    }

    /// The place of the first record of the term that is in force; 0 when nobody answers with one.
    func term(timeout: Duration = .seconds(60)) async throws -> Int64 {
        guard let epoch = try await ask("status", timeout: timeout)["epoch"]?.integer else {
            return 0
        }
        let audit = try await connection.jetStream.streamInfo("SKOS_AUDIT")
        return epoch - Streams.epoch(0, of: audit)
    }

    /// Asks `skos.api.<verb>`. With a tape on the bus nobody is told that nobody answers.
    func ask(
        _ verb: String, _ parameters: String = "", timeout: Duration = .seconds(60)
    ) async throws -> JSON.Object {
        let answer = try await connection.request(
            "skos.api.\(verb)", Array(parameters.utf8), timeout: timeout)
        return try JSON.parse(answer.payload).object ?? [:]
    }

    /// Waits until so many records of a kind are in the audit.
    func records(_ kind: String, _ count: Int) async -> Bool {
        await eventually { self.tape.notes("SKOS_AUDIT.\(kind)").count >= count }
    }

    /// All records of the audit, from the stream.
    func audit() async throws -> [ChainedRecord] {
        let jetStream = connection.jetStream
        let last = try await jetStream.streamInfo("SKOS_AUDIT").lastSequence
        guard last > 0 else { return [] }
        var records: [ChainedRecord] = []
        for try await message in try jetStream.readRange("SKOS_AUDIT", 1...last) {
            guard let metadata = message.metadata else { continue }
            records.append(
                ChainedRecord(
                    sequence: metadata.streamSequence, subject: message.subject,
                    previous: message.header(AuditChain.previousHeader) ?? "",
                    hash: message.header(AuditChain.hashHeader) ?? "", payload: message.payload))
        }
        return records
    }

    /// Expects that the chain holds from its first record to its last, and gives the records.
    @discardableResult
    func verifiedAudit(
        _ location: SourceLocation = #_sourceLocation
    ) async throws -> [ChainedRecord] {
        let records = try await audit()
        var verifier = ChainVerifier()
        for record in records {
            #expect(verifier.check(record) == [], sourceLocation: location)
        }
        return records
    }
}

extension ChainedRecord {
    var json: JSON.Object { (try? JSON.parse(payload).object) ?? [:] }

    subscript(name: String) -> JSON? { json[name] }

    var kind: String { self["kind"]?.string ?? "" }
}

extension [ChainedRecord] {
    func kind(_ kind: String) -> [ChainedRecord] { filter { $0.kind == kind } }
}
