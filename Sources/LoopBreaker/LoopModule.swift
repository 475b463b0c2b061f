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
        let (symptoms, summary, isShared) = gatekeeper.withJudge { judge, now in
            (judge.tell(at: now), judge.summary, judge.isShared)
        }
        sample.symptoms = symptoms + commands.withLock { $0.symptoms(at: now) }
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

    private func listen(
        _ surroundings: Surroundings, _ shared: SharedBreaks, _ meters: LoopMeters
    ) async {
        var current: (connection: Connection, loop: Config.Loop, ear: Ear)?
        while !Task.isCancelled {
            let loop = config.withLock { $0.loop }
            if let connection = surroundings.link.connection,
                connection !== current?.connection || loop != current?.loop
            {
                current?.ear.close()
                current = nil
                let ear = Ear(surroundings, gatekeeper, shared, meters, loop) { [self] in
                    take(own: $0, surroundings)
                }
                do throws(BusError) {
                    try ear.open(connection)
                    current = (connection, loop, ear)
                    listening.withLock { state in
                        state.watched = ear.watched
                        state.relay = ear.relayed
                    }
                } catch {
                    ear.close()
                    surroundings.log.error("cannot listen, trying again", ["reason": error])
                }
            }
            // The next connection, or settings; another try when listening has failed.
            _ = await wakeup.wait(atMost: current == nil ? .seconds(1) : .seconds(30))
        }
        current?.ear.close()
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
            let (symptoms, hasBreaks) = gatekeeper.withJudge { judge, now in
                judge.tick(at: now)
                return (judge.symptoms(at: now), judge.hasBreaks)
            }
            var state: [AlertKeeper.Key: Severity] = [:]
            for symptom in symptoms {
                let key = AlertKeeper.Key(type: symptom.type, resource: symptom.resource)
                state[key] = symptom.severity
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
