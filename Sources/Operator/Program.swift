import Glibc
import Runtime
package import Settings

/// The parts of the program that this room does not know: the services and the agents.
package struct Parts: Sendable {
    /// The names of the agents that there are, such as `thermal`.
    package var agentKinds: [String]
    /// Runs a coordinator until it is asked to stop.
    package var coordinator: @Sendable (Context) async throws -> ExitCode
    /// Runs the agents that the command line names until they are asked to stop.
    package var agents: @Sendable (Context) async throws -> ExitCode
    /// Runs everything that one node needs until it is asked to stop.
    package var up: @Sendable (Context) async throws -> ExitCode
    /// What the agents see of this node.
    package var inspect: @Sendable (Config) async -> [Finding]

    package init(
        agentKinds: [String],
        coordinator: @escaping @Sendable (Context) async throws -> ExitCode,
        agents: @escaping @Sendable (Context) async throws -> ExitCode,
        up: @escaping @Sendable (Context) async throws -> ExitCode,
        inspect: @escaping @Sendable (Config) async -> [Finding]
    ) {
        self.agentKinds = agentKinds
        self.coordinator = coordinator
        self.agents = agents
        self.up = up
        self.inspect = inspect
    }
}

/// The program `skos`: from a command line to an exit code.
package struct Program: Sendable {
    private let grammar: Grammar

    package init(_ parts: Parts) { grammar = Grammar(Self.verbs(parts)) }

    /// All verbs, in the order in which the help lists them.
    private static func verbs(_ parts: Parts) -> [Verb] {
        var verbs = services(parts)
        verbs += fleetVerbs + [explainVerb, injectVerb] + operationVerbs
        verbs += [auditTailVerb, auditVerifyVerb, auditExportVerb] + policyVerbs
        verbs += [doctorVerb(parts), completionVerb, versionVerb]
        return verbs
    }

    /// Whether a command line runs a service, which has to take over the process's signals first.
    package func isService(_ words: [String]) -> Bool {
        guard case .run(let invocation) = try? Parser(grammar).parse(words) else { return false }
        return invocation.verb.isService
    }

    /// Does what the words after the program's name ask for.
    ///
    /// - Returns: the exit code of the process.
    package func run(
        _ words: [String], environment: [String: String], out: Output, err: Output
    ) async -> ExitCode {
        if words.first == Completer.word {
            for line in Completer(grammar).lines(Array(words.dropFirst())) {
                out.write(line + "\n")
            }
            try? out.flush()
            return .done
        }
        var code: ExitCode
        do {
            switch try Parser(grammar).parse(words) {
            case .help(let path):
                out.write(Help(grammar).text(on: path))
                code = .done
            case .version:
                out.write("skos \(BuildInfo.version)\n")
                code = .done
            case .run(let invocation):
                let context = Context(
                    invocation: invocation, environment: environment, out: out, err: err)
                code = try await invocation.verb.run(context)
            }
        } catch { code = Self.report(error, to: err) }
        do { try out.flush() } catch { code = Self.report(error, to: err) }
        return code
    }

    private static func report(_ error: any Error, to err: Output) -> ExitCode {
        switch error {
        case let error as UsageError:
            let verb = error.verb.map { " \($0)" }.joined()
            err.line("skos: \(Text.safe(error.message))")
            err.line("`skos\(verb) --help` says how it is used.")
            return .usage
        case let error as ConfigError:
            for issue in error.issues { err.line(Text.safe(issue.description)) }
            return .usage
        case let error as Failure:
            err.line("skos: \(Text.safe(error.message))")
            return error.code
        default:
            err.line("skos: \(Text.safe("\(error)"))")
            return .failed
        }
    }
}
