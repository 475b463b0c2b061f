import Antibody
import Bus
import Coordinator
import Operator
import Runtime
import Settings
import Synchronization

/// The verbs that run until they are stopped: each one is a group of services.
enum Services {
    /// How long the services may take to stop, so that a stop is done within five seconds.
    private static let stopLimit: Duration = .seconds(4)
    /// The signals that stop this process; taken by the one service verb it runs.
    static let stops = Mutex<AsyncStream<String>?>(nil)

    static let parts = Parts(
        agentKinds: Agents.kinds.map(\.name), coordinator: coordinator, agents: agents, up: up,
        inspect: Inspection.findings)

    @Sendable
    private static func coordinator(_ context: Context) async throws -> ExitCode {
        let (loaded, watcher) = try load(context)
        return await run([
            coordinator(loaded, watcher, Metrics()),
            ConfigService(watcher, isAlone: false) { _ in },
        ])
    }

    @Sendable
    private static func agents(_ context: Context) async throws -> ExitCode {
        let (loaded, watcher) = try load(context)
        let host = host(context.invocation.arguments, loaded.config, Metrics())
        return await run([host, ConfigService(watcher, isAlone: true) { host.apply($0) }])
    }

    @Sendable
    private static func up(_ context: Context) async throws -> ExitCode {
        let startedAt = SteadyClock.sinceBoot()
        var (loaded, watcher) = try load(context)
        let plan = try UpPlan(context, loaded.config, log: Logger("up"))
        loaded.config = plan.config
        let metrics = Metrics()
        let host = host(Agents.kinds.map(\.name), plan.config, metrics)
        var services: [any Service] = plan.nats.map { [EmbeddedNATS($0)] } ?? []
        // An audit that is damaged has to be read to be looked at.
        let coordinator = ExpendableService(
            coordinator(loaded, watcher, metrics),
            consequence: "NATS and the agents of this node go on; unless another coordinator "
                + "leads, nothing is decided until this is started again")
        services += [
            coordinator, CoordinatorGate(plan.config), host,
            ConfigService(watcher, isAlone: false) { host.apply($0) },
            Welcome(
                plan.config, monitoringPort: plan.nats?.monitoringPort, startedAt: startedAt),
        ]
        // Held until all of them have let go of the directory.
        defer { plan.lock.release() }
        return await run(services)
    }

    private static func load(
        _ context: Context
    ) throws(ConfigError) -> (LoadedConfig, ConfigWatcher) {
        let loaded = try context.strictConfig()
        ConfigService.applyLog(loaded.config)
        return (loaded, ConfigWatcher(loaded, environment: context.environment))
    }

    private static func coordinator(
        _ loaded: LoadedConfig, _ watcher: ConfigWatcher, _ metrics: Metrics
    ) -> CoordinatorService {
        CoordinatorService(loaded, changes: watcher.changes(), metrics: metrics)
    }

    private static func host(
        _ kinds: [String], _ config: Config, _ metrics: Metrics
    ) -> AgentHost {
        var connection = Connection.Options(urls: config.nats.urls, name: "skos-agents")
        connection.credentialsFile = config.nats.credentialsFile
        return AgentHost(
            Agents.modules(kinds, config), config: config, connection: connection,
            metrics: metrics)
    }

    private static func run(_ services: [any Service]) async -> ExitCode {
        let stops = stops.withLock { $0.take() }
        guard let stops else { preconditionFailure("a service verb owns the signals") }
        let code = await ServiceGroup(services, deadline: stopLimit).run(until: stops)
        return ExitCode(rawValue: code) ?? .failed
    }
}
