import Glibc
import Protocol
import Runtime
import Settings

extension Program {
    static func doctorVerb(_ parts: Parts) -> Verb {
        Verb(
            "doctor", "look at what this node has and what is in its way",
            details:
                "The configuration, the state directory, sensors and knobs with their values and "
                + "permissions, NATS with its streams, the coordinator, and the clock. Changes "
                + "nothing. Exits with 1 when something does not work."
        ) { context in
            try await Doctor(context, inspect: parts.inspect).run()
        }
    }
}

/// Looks at this node and at what it needs, one thing after the other.
struct Doctor: Sendable {
    /// How long the agents may take to look at the node.
    private static let inspectionLimit: Duration = .seconds(15)

    private let context: Context
    private let inspect: @Sendable (Config) async -> [Finding]

    init(_ context: Context, inspect: @escaping @Sendable (Config) async -> [Finding]) {
        self.context = context
        self.inspect = inspect
    }

    func run() async throws -> ExitCode {
        let (config, findings) = configuration()
        var all = findings
        all.append(state(config))
        all += await node(config)
        all += await Self.bus(context, config)
        let isWell = !all.contains { $0.grade == .fail }
        if context.isJSON {
            context.print(["well": .bool(isWell), "findings": .array(all.map(\.json))])
        } else {
            let width = all.reduce(0) { max($0, $1.topic.count) }
            let style = context.out.style
            for finding in all { context.out.write(finding.lines(style, topicWidth: width)) }
            let counts = [Finding.Grade.ok, .warn, .fail].map { grade in
                "\(all.count { $0.grade == grade }) \(grade.rawValue)"
            }
            context.out.write(counts.joined(separator: ", ") + "\n")
        }
        return isWell ? .done : .failed
    }

    // MARK: This node

    private func configuration() -> (Config, [Finding]) {
        let file = context.configFile
        do {
            let (loaded, error) = try ConfigLoader.salvage(
                file: file, environment: context.environment)
            let name = loaded.config.nodeName
            var findings = (error?.issues ?? []).map {
                Finding(
                    "config", .fail, $0.description,
                    remedy: "correct it: services that run go on with what they had, and none "
                        + "starts with this; what follows here goes by the rest of it")
            }
            if findings.isEmpty {
                let source = file ?? "the defaults and the environment, for \(Context.noFile)"
                findings = [Finding("config", .ok, "\(source); this node is \(name)")]
            }
            findings += loaded.warnings.map { Finding("config", .warn, $0.description) }
            return (loaded.config, findings)
        } catch {
            let findings = error.issues.map {
                Finding(
                    "config", .fail, $0.description,
                    remedy: "name another with --config or SKOS_CONFIG")
            }
            return (Config(), findings)
        }
    }

    private func state(_ config: Config) -> Finding {
        let wanted = config.stateDirectory
        guard let obstacle = StateDirectory.forecast(wanted) else {
            return Finding("state", .ok, "\(wanted) can be written")
        }
        let remedy =
            "make it belong to this user (`install -d -m 700 -o $USER \(wanted)` as root), or set "
            + "SKOS_STATE_DIR"
        if let other = StateDirectory.fallback(config, environment: context.environment),
            StateDirectory.forecast(other) == nil
        {
            return Finding(
                "state", .warn,
                "\(wanted): \(obstacle); `skos up` will use \(other), other services will not start",
                remedy: remedy)
        }
        return Finding("state", .fail, "\(wanted): \(obstacle)", remedy: remedy)
    }

    /// What the agents see, within a limit: hardware can hang.
    private func node(_ config: Config) async -> [Finding] {
        do {
            return try await withTimeLimit(Self.inspectionLimit) { [inspect] in
                await inspect(config)
            }
        } catch {
            return [
                Finding(
                    "sensors", .fail,
                    "looking at the hardware took more than \(Text.short(Self.inspectionLimit))",
                    remedy: "something hangs; `dmesg` may say which driver")
            ]
        }
    }
}
