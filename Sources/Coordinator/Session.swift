import Audit
import Bus
import Immunity
import Protocol
import Runtime
import Settings
import Synchronization

/// One term of the coordinator: from replaying the audit to the first record that could not be made
/// durable. Then everything in memory is dropped and the next term begins from what the stream says, so
/// that memory and audit can never differ.
final class Session: Sendable {
    let engine: Engine
    let epoch: Int64
    private let snapshots: Snapshots
    private let outputs: Outputs
    private let publisher: OrderedPublisher
    private let deliveries: Mutex<[Delivery]>
    private let failures: AsyncStream<BusError>
    private let finish: AsyncStream<BusError>.Continuation

    /// What a session needs from outside.
    struct Context: Sendable {
        /// For what must be fast.
        var control: Connection
        /// For heartbeats.
        var bulk: Connection
        var logger: Logger
        var meters: CoordinatorMeters
        var metrics: Metrics
        var clock: SteadyClock
        var actor: String
        var configuration: LoadedConfig
    }

    /// Replays the audit and takes the lead: from the `started` record on, nobody else can append.
    static func begin(_ context: Context, nodes: Nodes) async throws -> Session {
        let jetStream = context.control.jetStream
        let alertInfo = try await jetStream.ensureStream(Streams.alerts)
        let auditInfo = try await jetStream.ensureStream(Streams.audit)
        let last = auditInfo.lastSequence
        let snapshots = try await Snapshots.open(jetStream, logger: context.logger)
        let base = await snapshots.load(jetStream, upTo: last) ?? Replay()
        var replay = try await Replay.run(
            jetStream, from: base, upTo: last, logger: context.logger)
        try await start(
            &replay, context, isAlertStreamNew: alertInfo.lastSequence < replay.state.alertSequence)
        return try await Session(context, replay, nodes, snapshots)
    }

    private static func start(
        _ replay: inout Replay, _ context: Context, isAlertStreamNew: Bool
    ) async throws {
        let event = Event.started(
            version: BuildInfo.version, configuration: context.configuration.fingerprint,
            isAlertStreamNew: isAlertStreamNew)
        let now = context.clock.now()
        let record = Record(time: now, actor: context.actor, event: event)
        let payload = JSON.object(record.object).encoded
        let hash = AuditChain.hash(previous: replay.hash, payload: payload)
        let ack: PubAck
        do throws(BusError) {
            ack = try await context.control.jetStream.publish(
                Subjects.audit(event.kind), payload,
                headers: [(AuditChain.previousHeader, replay.hash), (AuditChain.hashHeader, hash)],
                expectedLastSequence: replay.sequence)
        } catch {
            guard error.isFenced else { throw error }
            throw CoordinatorFailure(
                isTransient: true, description: "another coordinator writes the audit")
        }
        replay.state.apply(event, at: now)
        replay.sequence = ack.sequence
        replay.hash = hash
        RecordLog.write(record, to: context.logger)
    }

    private init(
        _ context: Context, _ replay: Replay, _ nodes: Nodes, _ snapshots: Snapshots
    ) async throws {
        self.snapshots = snapshots
        let (failures, finish) = AsyncStream.makeStream(of: BusError.self)
        self.failures = failures
        self.finish = finish
        epoch = Int64(clamping: replay.sequence)
        // The publisher's acks need the engine, and the engine the publisher.
        let forward = Forward()
        publisher = try context.control.jetStream.orderedPublisher {
            forward.engine?.submit(.ack($0))
        }
        outputs = Outputs(
            connection: context.control, publisher: publisher, logger: context.logger,
            meters: context.meters)
        let immunity = Immunity(
            state: replay.state, policies: context.configuration.config.policySet, epoch: epoch,
            nodes: nodes)
        engine = Engine(
            core: EngineCore(
                immunity: immunity, sequence: replay.sequence, hash: replay.hash,
                alerts: replay.alerts, outputs: outputs, clock: context.clock,
                actor: context.actor), failed: { finish.yield($0) })
        forward.set(engine)
        deliveries = Mutex([])
        configuration = Mutex((context.configuration, nil))
        try await listen(context)
    }

    /// Holds the engine for callbacks that are made before it.
    private final class Forward: Sendable {
        private let box = Mutex<Engine?>(nil)

        var engine: Engine? { box.withLock { $0 } }

        func set(_ engine: Engine) { box.withLock { $0 = engine } }
    }

    private func listen(_ context: Context) async throws {
        let intake = Intake(engine: engine, meters: context.meters)
        var started = [
            try context.bulk.subscribe(Subjects.heartbeats) { intake.heartbeat($0) },
            try context.control.subscribe(Subjects.results) { intake.result($0) },
        ]
        let api = API(session: self, context: context)
        started.append(try context.control.subscribe(Subjects.api) { api.answer($0) })
        started.append(
            try await context.control.jetStream.pushConsumer(
                Subjects.alertStream, Streams.alertConsumer
            ) { intake.alert($0) })
        deliveries.withLock { $0 = started }
    }

    /// Ticks until the session fails or is ended.
    func run() async throws {
        let engine = engine
        let ticker = Task {
            while !Task.isCancelled {
                engine.submit(.input(.tick, nil))
                try? await Task.sleep(for: Self.tickInterval)
            }
        }
        let keeper = Task { await keepSnapshots() }
        defer {
            ticker.cancel()
            keeper.cancel()
        }
        for await error in failures { throw error }
    }

    private func keepSnapshots() async {
        var saved = UInt64(clamping: epoch)
        var waited: Duration = .zero
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            waited += .seconds(1)
            let new = engine.sequence - saved
            let isDue = new >= Snapshots.everyRecords && waited >= Snapshots.leastInterval
            guard isDue || (new > 0 && waited >= Snapshots.everyInterval) else { continue }
            let (state, sequence, hash) = engine.position
            await snapshots.save(state, sequence: sequence, hash: hash)
            saved = sequence
            waited = .zero
        }
    }

    /// Time between two looks at what is due.
    static let tickInterval: Duration = .milliseconds(50)

    func configure(_ loaded: LoadedConfig) {
        configuration.withLock { $0 = (loaded, nil) }
        engine.submit(
            .input(
                .configured(loaded.config.policySet, fingerprint: loaded.fingerprint), nil))
    }

    func refuse(_ reason: String) {
        configuration.withLock { $0.refusal = reason }
        engine.submit(.input(.configurationRefused(fingerprint: "", reason: reason), nil))
    }

    /// Asks the core for something on an operator's behalf; the answer comes when it is durable.
    func ask(_ input: Immunity.Input, answer: @escaping @Sendable (String, Bool) -> Void) {
        operators.withLock { _ in
            outputs.expectAnswer(answer)
            engine.submit(.input(input, nil))
        }
    }

    /// The configuration in force, and the edit that was refused since, if any.
    func configurationView() -> JSON {
        let (loaded, refusal) = configuration.withLock { $0 }
        var object: JSON.Object = ["fingerprint": .string(loaded.fingerprint)]
        object["file"] = loaded.file.map(JSON.string)
        object["refused"] = refusal.map(JSON.string)
        return .object(object)
    }

    private let operators = Mutex(())
    private let configuration: Mutex<(loaded: LoadedConfig, refusal: String?)>

    /// Stops deciding, and lets go of the subscriptions.
    func end() {
        engine.stop()
        for delivery in deliveries.withLock({ $0 }) { delivery.cancel() }
        deliveries.withLock { $0 = [] }
        publisher.cancel()
        finish.finish()
    }
}

extension BusError {
    /// Whether somebody else has appended to the audit since.
    var isFenced: Bool {
        jetStreamCode == JetStreamCode.wrongLastSequence
            || jetStreamCode == JetStreamCode.wrongLastSequenceConstant
    }
}
