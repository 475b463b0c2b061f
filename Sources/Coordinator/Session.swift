import Audit
import Bus
import Immunity
import Protocol
import Runtime
import Settings
import Synchronization

/// One term of the coordinator: from replaying the audit to the first record that could not be made
/// durable, or to the loss of NATS. Then everything in memory is dropped and the next term begins from
/// what the stream says, so that memory and audit can never differ.
final class Session: Sendable {
    let engine: Engine
    let context: Context
    private let snapshots: Snapshots
    private let lead: Replay.Lead?
    private let alertStream: String?
    private let outputs: Outputs
    private let publisher: OrderedPublisher
    let deliveries = Mutex<[Delivery]>([])
    /// Answers whoever asks who leads, until the very end.
    let leading = Mutex<Delivery?>(nil)
    private let events: AsyncStream<ConnectionEvent>
    private let failures: AsyncStream<BusError>
    private let finish: AsyncStream<BusError>.Continuation
    /// Rung when somebody else may have written the audit.
    let suspicion = Wakeup()
    private let operators = Mutex(())
    private let configuration: Mutex<Configuration>

    /// What a session needs from outside.
    struct Context: Sendable {
        /// For what must be fast.
        var control: Connection
        /// For heartbeats.
        var bulk: Connection
        var logger: Logger
        var meters: CoordinatorMeters
        var clock: SteadyClock
        var actor: String
        var configuration: Configuration
        /// Gets every escalation, and does not block.
        var callHuman: @Sendable (JSON.Object, _ isRepeated: Bool) -> Void
    }

    /// The configuration in force, and what was wrong with the edit that was refused since, if any.
    struct Configuration: Sendable, Equatable {
        var loaded: LoadedConfig
        var refusal: String?
    }

    /// Replays the audit and takes the lead: from the `started` record on, nobody else can append.
    /// - Throws: `Superseded` when another one has begun to lead behind the record `known` (`nil`: not known);
    ///   `CoordinatorFailure` when the audit cannot be trusted; `BusError` when NATS does not do its part.
    static func begin(
        _ context: Context, _ past: inout Past, known: UInt64?
    ) async throws -> Session {
        // From here on, so that no loss of the connection is missed.
        let events = context.control.events()
        let jetStream = context.control.jetStream
        let alerts = try await jetStream.ensureStream(
            Streams.alerts, adjustable: Streams.adjustableOfAlerts)
        let audit = try await jetStream.ensureStream(
            Streams.audit, adjustable: Streams.adjustable)
        let last = audit.lastSequence
        if let known = past.lead { try await Replay.check(known, jetStream, upTo: last) }
        let snapshots = try await Snapshots.open(jetStream, logger: context.logger)
        let base = await snapshots.load(jetStream, upTo: last) ?? Replay()
        var replay = try await Replay.run(
            jetStream, from: base, upTo: last, logger: context.logger)
        if let known, let lead = replay.lead, lead.sequence > known, !past.isOwn(lead) {
            throw Superseded(lead: lead)
        }
        try await start(&replay, context, &past, alerts)
        let nodes = past.nodes(
            at: context.clock.now(),
            timeout: context.configuration.loaded.config.policySet.heartbeatTimeout)
        let session = try Session(
            context, replay, Streams.epoch(replay.sequence, of: audit), nodes, events, snapshots)
        do { try await session.listen(replay) } catch {
            session.end()
            throw error
        }
        for rejection in replay.foreign.rejections {
            session.engine.submit(.input(.rejected(rejection), nil))
        }
        return session
    }

    private static func start(
        _ replay: inout Replay, _ context: Context, _ past: inout Past, _ alerts: StreamInfo
    ) async throws {
        let isNew =
            replay.alertStream.map { $0 != alerts.created } ?? false
            || alerts.lastSequence < replay.state.alertSequence
        let event = Event.started(
            version: BuildInfo.version, configuration: context.configuration.loaded.fingerprint,
            isAlertStreamNew: isNew)
        let now = context.clock.now()
        let record = Record(time: now, actor: context.actor, event: event)
        var object = record.object
        object[Replay.alertStreamField] = .string(alerts.created)
        let payload = JSON.object(object).encoded
        let hash = AuditChain.hash(previous: replay.hash, payload: payload)
        past.claims(hash)
        let ack: PubAck
        do throws(BusError) {
            ack = try await context.control.jetStream.publish(
                Subjects.audit(event.kind), payload,
                headers: [(AuditChain.previousHeader, replay.hash), (AuditChain.hashHeader, hash)],
                messageID: String(hash.prefix(Outputs.idLength)),
                expectedLastSequence: replay.sequence)
        } catch {
            guard error.isWrongSequence else { throw error }
            throw CoordinatorFailure(
                isTransient: true, description: "somebody else writes the audit at this moment")
        }
        let lead = Replay.Lead(sequence: ack.sequence, hash: hash, actor: context.actor)
        past.leads(lead)
        replay.lead = lead
        replay.alertStream = alerts.created
        replay.state.apply(event, at: now)
        replay.sequence = ack.sequence
        replay.hash = hash
        RecordLog.write(record, to: context.logger)
    }

    private init(
        _ context: Context, _ replay: Replay, _ epoch: Int64, _ nodes: Nodes,
        _ events: AsyncStream<ConnectionEvent>, _ snapshots: Snapshots
    ) throws {
        self.snapshots = snapshots
        lead = replay.lead
        alertStream = replay.alertStream
        let (failures, finish) = AsyncStream.makeStream(of: BusError.self)
        self.failures = failures
        self.finish = finish
        self.context = context
        self.events = events
        // The publisher's acks need the engine, and the engine the publisher.
        let forward = Forward()
        publisher = try context.control.jetStream.orderedPublisher {
            forward.engine?.submit(.ack($0))
        }
        outputs = Outputs(
            connection: context.control, publisher: publisher, logger: context.logger,
            meters: context.meters, callHuman: context.callHuman)
        let immunity = Immunity(
            state: replay.state, policies: context.configuration.loaded.config.policySet,
            epoch: epoch, nodes: nodes)
        engine = Engine(
            core: EngineCore(
                immunity: immunity, sequence: replay.sequence, hash: replay.hash,
                alerts: replay.alerts, outputs: outputs, clock: context.clock,
                actor: context.actor),
            failed: { finish.yield($0) })
        configuration = Mutex(context.configuration)
        forward.set(engine)
        for event in immunity.escalations(since: context.clock.now() - Self.tellAgainFor) {
            context.callHuman(event, true)
        }
    }

    /// How old an escalation may be that is told again, unless this process has told it.
    static let tellAgainFor: Duration = .seconds(600)

    /// Holds the engine for callbacks that are made before it.
    private final class Forward: Sendable {
        private let box = Mutex<Engine?>(nil)

        var engine: Engine? { box.withLock { $0 } }

        func set(_ engine: Engine) { box.withLock { $0 = engine } }
    }

    /// Takes nothing more in, and waits a moment for what was decided to be durable and done.
    func drain() async {
        unsubscribe()
        // A task of its own: the one that stops is cancelled and could not sleep.
        await Task { [engine] in
            for _ in 0..<Self.drainPauses where !engine.isSettled {
                try? await Task.sleep(for: Self.drainPause)
            }
        }.value
        await outputs.finishLog()
    }

    /// How long draining may take: so many pauses.
    private static let drainPauses = 100
    private static let drainPause: Duration = .milliseconds(10)

    /// Stops deciding, and lets go of the subscriptions.
    func end() {
        engine.stop()
        unsubscribe()
        leading.withLock { $0.take() }?.cancel()
        publisher.cancel()
        finish.finish()
    }

    // MARK: Running

    /// Time between two looks at what is due.
    static let tickInterval: Duration = .milliseconds(50)
    /// Time between two looks whether the streams are still as they should be.
    static let checkInterval: Duration = .seconds(5)
    /// So many looks in a row must fail before the term ends for it.
    static let checkAttempts = 2

    /// Runs until the session fails, is ended, or the task is cancelled.
    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask { [failures] in for await error in failures { throw error } }
            group.addTask { await self.tick() }
            group.addTask { await self.keepSnapshots() }
            group.addTask { try await self.watchConnection() }
            group.addTask { try await self.watchStreams() }
            try await group.next()
        }
    }

    private func tick() async {
        while !Task.isCancelled {
            engine.submit(.input(.tick, nil))
            try? await Task.sleep(for: Self.tickInterval)
        }
    }

    private func keepSnapshots() async {
        var saved = engine.position.durable
        var waited: Duration = .zero
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            waited += .seconds(1)
            let new = engine.position.appended - saved
            let isDue = new >= Snapshots.everyRecords && waited >= Snapshots.leastInterval
            guard isDue || (new > 0 && waited >= Snapshots.everyInterval) else { continue }
            let (state, sequence, hash) = engine.snapshot
            await snapshots.save(
                Replay(
                    state: state, sequence: sequence, hash: hash, lead: lead,
                    alertStream: alertStream))
            saved = sequence
            waited = .zero
        }
    }

    /// Messages under way are lost with a connection, and alerts that come again later would come in
    /// the wrong order: a new term asks for them from where this one has stopped.
    private func watchConnection() async throws {
        for await event in events {
            switch event {
            case .disconnected(let reason), .closed(let reason):
                let because = reason.isEmpty ? "" : ": \(reason)"
                throw BusError(.notConnected, "the connection to NATS is lost\(because)")
            case .connected, .reconnected, .lameDuck, .slowConsumer, .error: break
            }
        }
    }

    /// Finds out, also while there is nothing to record, whether somebody else has taken over, or the
    /// streams are no longer what they were.
    private func watchStreams() async throws {
        var failures = 0
        while !Task.isCancelled {
            _ = await suspicion.wait(atMost: Self.checkInterval)
            do throws(BusError) {
                try await check()
                failures = 0
            } catch {
                failures += 1
                let isCertain = error.code != .timeout && error.code != .notConnected
                guard !isCertain, failures < Self.checkAttempts else {
                    if Task.isCancelled { return }
                    throw error
                }
            }
        }
    }

    private func check() async throws(BusError) {
        let jetStream = context.control.jetStream
        let durable = engine.position.durable
        let last = try await jetStream.streamInfo(Subjects.auditStream).lastSequence
        guard last <= engine.position.appended else {
            throw BusError(.fenced, "record \(last) of the audit is not of this coordinator")
        }
        guard last >= durable else {
            throw BusError(
                .fenced, "the audit ends at record \(last), but record \(durable) was durable")
        }
        _ = try await jetStream.consumerInfo(
            Subjects.alertStream, Streams.alertConsumer.durable)
    }

    // MARK: From outside

    /// Applies an edit of the configuration, or says that one was refused.
    func configure(_ new: Configuration) {
        let old = configuration.withLock { configuration in
            defer { configuration = new }
            return configuration
        }
        if new.loaded != old.loaded {
            engine.submit(
                .input(
                    .configured(
                        new.loaded.config.policySet, fingerprint: new.loaded.fingerprint), nil))
        }
        if let refusal = new.refusal, refusal != old.refusal {
            engine.submit(
                .input(
                    .configurationRefused(
                        fingerprint: new.loaded.fingerprint, reason: refusal), nil))
        }
    }

    /// Asks the core for something on an operator's behalf; the answer comes when it is durable. Says
    /// whether there was room for the question.
    func ask(
        _ input: Immunity.Input, answer: @escaping @Sendable (String, Bool) -> Void
    ) -> Bool {
        // The core answers in the order it was asked.
        operators.withLock { _ in
            guard engine.hasRoom else { return false }
            outputs.expectAnswer(answer)
            engine.submit(.input(input, nil))
            return true
        }
    }

    var actor: String { context.actor }

    /// The connection as `status` shows it.
    func connectionView() -> JSON {
        [
            "url": .string(context.control.connectedURL ?? ""),
            "server_version": .string(context.control.serverVersion ?? ""),
        ]
    }

    /// The configuration as `status` shows it.
    func configurationView() -> JSON {
        let configuration = configuration.withLock { $0 }
        var object: JSON.Object = ["fingerprint": .string(configuration.loaded.fingerprint)]
        object["file"] = configuration.loaded.file.map(JSON.string)
        object["refused"] = configuration.refusal.map(JSON.string)
        return .object(object)
    }
}
