package import Antibody
import Glibc
package import Platform
package import Protocol
import Runtime
package import Settings
import Synchronization

/// The mesh healer: whether WireGuard's tunnels carry, and how to mend them.
///
/// Three things go on: samples read the interfaces and judge their peers; echoes go through the tunnels
/// in their own rhythm; and the kernel is listened to, so that a link that goes down is looked at at
/// once.
package final class MeshModule: AntibodyModule {
    package let name = "mesh"
    package let agentType = "mesh_healer"

    /// How long an echo may take; a tunnel by satellite takes less.
    static let echoLimit: Duration = .seconds(2)
    /// How long a round of echoes may take in all.
    private static let roundLimit: Duration = .seconds(10)

    /// What is kept from one look to the next.
    struct State {
        var config: Config
        var watch = MeshWatch()
        var echoes = EchoBook()
        var guests = GuestBook()
        var sick = SickList()
        /// Interfaces that were there once.
        var seen: [String: Seen] = [:]
        var hasLooked = false
        /// The interfaces that lead to endpoints, by number.
        var underlays: Set<Int32> = []
        /// The same, as far as this look has come.
        var newUnderlays: Set<Int32> = []
        /// Configuration files, as they were read last.
        var written: [String: (fingerprint: String, file: Result<Written, WireGuardFailure>)] =
            [:]
    }

    /// An interface that was there once.
    struct Seen {
        /// What made it, as `NetworkLink.kind`; `nil`: an earlier process has seen it.
        var kind: String?
        /// How often it has been missed since without a mishap.
        var misses = 0
        /// How it was lost; `nil`: it was not.
        var loss: Loss?
        /// As it was seen last; `nil`: not by this process.
        var presence: Presence?
        /// When it was found to be gone already, before anybody here has seen it.
        var leftAt: Timestamp?
    }

    /// What is used of a configuration file.
    struct Written {
        var peers: [ConfiguredPeer]
        var listenPort: Int?
        /// It is written from what runs.
        var isSaved: Bool
        /// The routes that it calls for.
        var routes: QuickRoutes
    }

    let network: any MeshNetwork
    let toolkit: MeshToolkit
    let state: Mutex<State>
    /// Rung when there is somebody new to ask, or settings change.
    let wakeup = Wakeup()

    /// The module of this node.
    package convenience init(hostRoot: HostRoot, config: Config) {
        let network = NodeNetwork(root: hostRoot)
        self.init(
            network: network, toolkit: MeshToolkit(root: hostRoot, network: network), config: config
        )
    }

    /// The same with parts that tests replace.
    init(network: any MeshNetwork, toolkit: MeshToolkit, config: Config) {
        self.network = network
        self.toolkit = toolkit
        toolkit.apply(config)
        state = Mutex(State(config: config))
    }

    package func apply(_ config: Config) {
        toolkit.apply(config)
        state.withLock { $0.config = config }
        wakeup.ring()
    }

    package func verbs() -> [any Verb] {
        [
            PingPeer(toolkit: toolkit), RestartWireGuard.resolveEndpoint(toolkit),
            RestartWireGuard(toolkit: toolkit), RegenerateConfig(toolkit: toolkit),
            FailoverRoute(toolkit: toolkit),
        ]
    }

    package func recall(_ raised: [AlertKeeper.Key: Severity]) {
        state.withLock { state in
            state.watch.recall(raised)
            // What has gone while nobody looked has gone.
            for name in state.watch.troubled {
                let tunnel = AlertKeeper.Key(type: MeshReport.tunnelType, resource: name)
                state.seen[name] = Seen(kind: nil, loss: raised[tunnel].map { _ in .recalled })
            }
        }
    }

    // MARK: Sampling

    package func sample(at now: Timestamp) async -> Sample {
        var sample = Sample()
        let looks: [InterfaceLook]
        do throws(NetlinkFailure) {
            looks = try look(at: now)
        } catch {
            sample.metadata = ["mesh_failure": .string("\(error)")]
            return sample
        }
        let (verdicts, omitted) = state.withLock { state in
            sample.symptoms = state.watch.observe(looks, at: now)
            toolkit.note(heard: state.watch.heard)
            return (state.watch.verdicts, state.watch.omitted)
        }
        sample.metadata = MeshReport.metadata(looks, verdicts, omitted: omitted, at: now)
        return sample
    }

    /// Looks once, with an echo to each peer, for people who ask now. Blocks for a few seconds.
    package func inspect(at now: Timestamp) async -> Sample {
        _ = await sample(at: now)
        _ = askOnce(at: now)
        return await sample(at: now)
    }

    // MARK: Listening

    package func run(_ surroundings: Surroundings) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listen(surroundings) }
            group.addTask { await self.echo(surroundings) }
        }
    }

    /// Listens to what the kernel says about links.
    private func listen(_ surroundings: Surroundings) async {
        let thread = WorkerThread(name: "mesh-links")
        defer { thread.stop() }
        let listener: LinkListener
        do throws(NetlinkFailure) { listener = try LinkListener() } catch {
            surroundings.log.error(
                "cannot listen to links; they are only looked at", ["reason": error])
            return
        }
        let listening = Task(executorPreference: thread) { [network] in
            var changes = LinkChanges((try? network.links()) ?? [])
            var pace = LookPace()
            while let messages = listener.wait() {
                // Something was lost: all is new.
                if messages.isEmpty { changes = LinkChanges((try? network.links()) ?? []) }
                let changed = changes.take(messages)
                guard messages.isEmpty || changed.contains(where: self.concerns) else { continue }
                surroundings.lookAgain()
                // A link that flaps is looked at often, and not all the time. What comes meanwhile waits.
                let rest = pace.rest(at: SteadyClock.sinceBoot())
                usleep(UInt32(rest.inSeconds * 1e6))
            }
        }
        await withTaskCancellationHandler {
            await listening.value
        } onCancel: {
            listener.stop()
        }
    }

    /// Whether a link is a tunnel that is watched, or leads to a tunnel's other end.
    func concerns(_ link: NetworkLink) -> Bool {
        state.withLock { state in
            matches(link.name, state.config.mesh.interfaces) || state.underlays.contains(link.index)
        }
    }

    /// Sends echoes through the tunnels, again and again.
    private func echo(_ surroundings: Surroundings) async {
        let thread = WorkerThread(name: "mesh-echo")
        defer { thread.stop() }
        while !Task.isCancelled {
            let started = SteadyClock.sinceBoot()
            // Left behind when the agent stops: nobody waits for the rest of a round.
            if !thread.isHanging {
                let isChange = try? await withTimeLimit(Self.roundLimit, on: thread) {
                    self.askOnce(at: surroundings.clock.now())
                }
                if isChange == true { surroundings.lookAgain() }
            }
            let interval = state.withLock { $0.config.mesh.probeInterval }
            let rest = started + interval - SteadyClock.sinceBoot()
            _ = await wakeup.wait(atMost: max(rest, .milliseconds(10)))
        }
    }

    /// One round of echoes; says whether a peer was lost or has come back. Blocks.
    func askOnce(at now: Timestamp) -> Bool {
        let asked = state.withLock { $0.echoes.next() }
        guard !asked.isEmpty else { return false }
        let outcomes = network.echo(asked.map(\.target), limit: Self.echoLimit)
        return state.withLock { $0.echoes.take(asked, outcomes, sentAt: now) }
    }
}
