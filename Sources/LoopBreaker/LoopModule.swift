package import Antibody
import Bus
package import Protocol
import Runtime
package import Settings
import Synchronization

/// The loop breaker: chains of messages that do not end, and how to stop them.
///
/// It watches the subjects of `loop.watch`, answers programs that ask on `skos.chain.check`, passes
/// messages on where there is a relay, and looks after the healer's own commands. See `docs/loop.md`.
package final class LoopModule: AntibodyModule {
    package let name = "loop"
    package let agentType = "loop_breaker"

    private let gatekeeper: Gatekeeper
    private let config: Mutex<Config>
    private let commands: Mutex<CommandChains>
    /// What is listened to, for heartbeats.
    private let listening = Mutex<Listening>(Listening())
    /// Rung when there is a new connection or are new settings.
    private let wakeup = Wakeup()

    /// Alerts of an earlier process, until it is known what has become of them.
    private let leftovers = Mutex(Leftovers())

    private struct Listening {
        var watched: [String] = []
        var relay: String?
    }

    /// The module of this node.
    package init(config: Config) {
        gatekeeper = Gatekeeper(config)
        commands = Mutex(CommandChains(node: config.nodeName))
        self.config = Mutex(config)
    }

    /// Why a relay cannot work; `nil` when it can. For `skos doctor`.
    package static func flaw(of relay: Config.Relay) -> String? {
        do throws(MessageError) {
            _ = try RelayRoute(relay)
            return nil
        } catch { return error.reason }
    }

    package func verbs() -> [any Verb] {
        BreakVerb.Kind.allCases.map { BreakVerb(kind: $0, gatekeeper: gatekeeper) }
    }

    package func sample(at now: Timestamp) async -> Sample {
        var sample = Sample()
        let node = config.withLock { $0.nodeName }
        let own = commands.withLock { $0.symptoms(at: now) }
        let (symptoms, summary, isShared) = gatekeeper.withJudge { judge, now in
            var symptoms = judge.tell(at: now) + own
            if let symptom = judge.overflowSymptom(node, at: now) { symptoms.append(symptom) }
            let cleared = leftovers.withLock { leftovers in
                leftovers.symptoms(beside: symptoms, at: now) { judge.isBroken($0) }
            }
            return (symptoms + cleared, judge.summary, judge.isShared)
        }
        sample.symptoms = symptoms
        sample.metadata = summary
        let listening = listening.withLock { $0 }
        sample.metadata["watched"] = .array(listening.watched.map(JSON.string))
        sample.metadata["relay"] = listening.relay.map(JSON.string)
        sample.metadata["shared"] = .bool(isShared)
        return sample
    }

    package func apply(_ config: Config) {
        self.config.withLock { $0 = config }
        gatekeeper.apply(config)
        wakeup.ring()
    }

    package func run(_ surroundings: Surroundings) async {
        gatekeeper.use(surroundings.clock)
        let meters = LoopMeters(surroundings.metrics)
        let shared = SharedBreaks(gatekeeper, meters, surroundings)
        surroundings.link.onUp(wakeup)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await shared.run() }
            group.addTask { await self.listen(surroundings, shared, meters) }
            group.addTask { await self.look(surroundings) }
        }
    }

    // MARK: Listening

    /// How long to wait for what other agents have broken before programs are answered; without
    /// JetStream nobody can say.
    private static let readyLimit: Duration = .seconds(2)

    private func listen(
        _ surroundings: Surroundings, _ shared: SharedBreaks, _ meters: LoopMeters
    ) async {
        var current: (connection: Connection, ear: Ear)?
        var heard: Config.Loop?
        while !Task.isCancelled {
            let loop = config.withLock { $0.loop }
            let isNew = heard.map { $0.watch != loop.watch || $0.relay != loop.relay } ?? true
            if let connection = surroundings.link.connection,
                connection !== current?.connection || isNew
            {
                await shared.waitUntilReady(atMost: Self.readyLimit)
                leftovers.withLock { $0.begin(surroundings.raised, at: gatekeeper.now) }
                do throws(BusError) {
                    if connection !== current?.connection {
                        current?.ear.close()
                        let ear = Ear(surroundings, gatekeeper, shared, meters) { [self] in
                            take(own: $0, surroundings)
                        }
                        current = (connection, ear)
                        heard = nil
                        try ear.open(connection)
                    }
                    try await current?.ear.listen(connection, loop)
                    heard = loop
                    let state = current?.ear.state
                    listening.withLock { listening in
                        listening.watched = state?.watched ?? []
                        listening.relay = state?.relayed
                    }
                } catch {
                    surroundings.log.error("cannot listen, trying again", ["reason": error])
                    // What could be heard before goes on; without a new connection nothing could.
                    if heard == nil {
                        current?.ear.close()
                        current = nil
                    }
                }
            }
            // The next connection, or settings; another try when listening has failed.
            let isSettled = heard != nil && !isOutdated(heard)
            _ = await wakeup.wait(atMost: isSettled ? .seconds(30) : .seconds(1))
        }
        current?.ear.close()
    }

    private func isOutdated(_ heard: Config.Loop?) -> Bool {
        let loop = config.withLock { $0.loop }
        return heard?.watch != loop.watch || heard?.relay != loop.relay
    }

    /// A command or an alert of this node, which may be one too many.
    private func take(own message: BusMessage, _ surroundings: Surroundings) {
        let node = surroundings.node
        let now = gatekeeper.now
        let isNew = message.withPayload { bytes -> Bool in
            if message.subject == Subjects.command(node) {
                guard let command = try? Command(decoding: bytes, node: node) else { return false }
                return commands.withLock { $0.take(command, at: now) }
            }
            guard let alert = try? Alert(decoding: bytes, node: node) else { return false }
            return commands.withLock { $0.take(alert, at: now) }
        }
        if isNew { surroundings.lookAgain() }
    }

    // MARK: Looking after what is broken

    /// How often breakers are looked after while there are any, and while there are none.
    private static let quick: Duration = .milliseconds(250)
    private static let slow: Duration = .seconds(60)

    private func look(_ surroundings: Surroundings) async {
        var last: [AlertKeeper.Key: Severity] = [:]
        while !Task.isCancelled {
            let (state, hasBreaks) = gatekeeper.withJudge { judge, now in
                judge.tick(at: now)
                return (judge.outline(at: now), judge.hasBreaks)
            }
            // Alerts go out at once.
            if state != last { surroundings.lookAgain() }
            last = state
            let cooldown = config.withLock { $0.loop.cooldown }
            let quick = max(min(Self.quick, cooldown / 4), .milliseconds(10))
            _ = await gatekeeper.stirred.wait(atMost: hasBreaks ? quick : Self.slow)
        }
    }
}
