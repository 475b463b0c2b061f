import Protocol
import Settings

extension Program {
    /// The verbs about the configuration.
    static var policyVerbs: [Verb] {
        [
            Verb(
                "policy show", "print the rules of the configuration",
                details:
                    "All sections that name actions compile to one list; of several that match "
                    + "an alert, the first counts.",
                flags: [
                    Flag("running", "those that the coordinator has in force, not the file's")
                ], run: showPolicies),
            Verb(
                "policy validate", "check a configuration without using it",
                details: "Names every mistake with its line, all at once.",
                parameters: [
                    Parameter(
                        "FILE", .optional, isFile: true,
                        "- for standard input; default: the one that --config means")
                ], run: validatePolicies),
            Verb("schema", "print the JSON Schema of config.yaml") { context in
                context.print(configSchema())
                return .done
            },
        ]
    }

    @Sendable
    private static func showPolicies(_ context: Context) async throws -> ExitCode {
        if context.invocation.has("running") {
            return try await show(context, "policy") { Fleet.policies($0, $1) }
        }
        let policies = try context.strictConfig().config.policySet.policies
        let file = context.configFile
        var answer: JSON.Object = ["policies": .array(policies.map { .object($0.view) })]
        answer["file"] = file.map(JSON.string)
        if context.isJSON {
            context.print(.object(answer))
        } else {
            context.out.write(Fleet.policies(answer, context.out.style))
            context.note(
                (file.map { "the rules of \($0)" } ?? "the defaults: \(Context.noFile)")
                    + "; --running shows those that the coordinator has in force")
        }
        return .done
    }

    @Sendable
    private static func validatePolicies(_ context: Context) async throws -> ExitCode {
        guard let file = context.invocation.arguments.first ?? context.configFile else {
            throw UsageError(
                "policy validate: there is no configuration to check; name a FILE",
                verb: context.invocation.verb.path)
        }
        var errors: [ConfigError.Issue] = []
        var warnings: [ConfigError.Issue] = []
        var count = 0
        do {
            // The file alone: what the environment overrides must be right as well.
            let loaded =
                file == "-"
                ? try ConfigLoader.loadInput(environment: [:])
                : try ConfigLoader.load(file: file, environment: [:])
            warnings = loaded.warnings
            count = loaded.config.policySet.policies.count
        } catch { errors = error.issues }
        if context.isJSON {
            context.print([
                "file": .string(file), "valid": .bool(errors.isEmpty),
                "errors": .array(errors.map(\.json)), "warnings": .array(warnings.map(\.json)),
            ])
        } else {
            for issue in errors { context.err.line(Text.safe(issue.description)) }
            for issue in warnings { context.err.line(Text.safe("warning: \(issue)")) }
            if errors.isEmpty {
                let name = file == "-" ? "standard input" : file
                context.out.write(Text.safe(name) + ": valid, \(Text.policies(count))\n")
            }
        }
        return errors.isEmpty ? .done : .usage
    }
}

extension Text {
    static func policies(_ count: Int) -> String { "\(count) polic\(count == 1 ? "y" : "ies")" }
}

extension Policy {
    /// The policy as `skos.api.policy` shows it.
    var view: JSON.Object {
        [
            "policy": .string(name), "type": .string(type), "severity": .string(severity.rawValue),
            "ladder": .array(ladder.map { .string($0.action) }),
            "cooldown": JSON(seconds: cooldown), "max_attempts": .integer(Int64(maxAttempts)),
            "deadline": JSON(seconds: deadline), "verify": JSON(seconds: verify),
            "stay_clear": JSON(seconds: stayClear), "lease": JSON(seconds: lease),
            "undo": .bool(undo),
        ]
    }
}
