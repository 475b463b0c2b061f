package import Antibody
import Platform
package import Protocol
import Settings

/// The action `emergency_cleanup`: the safe steps one after the other, the gentlest first.
///
/// What other actions may delete as well goes until the file system is no symptom any more: stopping
/// just below the emergency would leave an incident that nothing else mends. Younger files go only until
/// the emergency is over.
package struct EmergencyVerb: Verb {
    /// In an emergency files of this age may go, should more be asked for at other times; never
    /// younger ones.
    package static let leastAge: Duration = .seconds(3600)

    package let name = "emergency_cleanup"
    package let isReversible = false
    package let isRepeatable = true
    package let family = "cleanup"
    package let summary =
        "cleanup_temp and cleanup_logs until the file system is well; while it is above its emergency "
        + "level, both for files of an hour or older"
    private let cleaner: Cleaner
    private let config: CurrentConfig

    package init(_ cleaner: Cleaner, _ config: @escaping CurrentConfig) {
        self.cleaner = cleaner
        self.config = config
    }

    package func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let target = try cleaner.target(call.parameters)
        guard call.isDryRun else {
            var effect: JSON.Object = [
                "steps": .array(Self.steps(config()).map { .string($0.name) })
            ]
            effect.append(target.parameters, except: [])
            return VerbPlan(undo: target.parameters, effect: effect)
        }
        var session = CleaningSession(budget: Cleaner.dryRunBudget)
        let effect = run(on: target, isDryRun: true, &session)
        return VerbPlan(undo: target.parameters, effect: effect)
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let target = try cleaner.target(plan.undo)
        var session = CleaningSession(budget: cleaner.budget)
        let effect = run(on: target, isDryRun: false, &session)
        if effect["reached"]?.bool == true { return effect }
        _ = try session.report.result()
        return effect
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object { throw cannotUndo(name) }

    private struct Step {
        var name: String
        var kind: CleanupVerb.Kind
        var local: Config.Local
        /// Where it stops.
        var goal: CleaningGoal
    }

    /// When the emergency is over: a severity is left only below its clear threshold.
    private static func bearable(_ config: Config) -> CleaningGoal {
        CleaningGoal(
            space: config.storage.clear.emergency, inodes: config.storage.inodeClear.emergency)
    }

    /// What is done, in this order.
    private static func steps(_ config: Config) -> [Step] {
        let (local, clear, inodeClear) = (
            config.local, config.storage.clear, config.storage.inodeClear
        )
        let well = CleaningGoal(space: clear.warning, inodes: inodeClear.warning)
        let bearable = bearable(config)
        var short = local
        short.cleanupTemp.minAge = min(local.cleanupTemp.minAge, leastAge)
        short.cleanupLogs.minAge = min(local.cleanupLogs.minAge, leastAge)
        var steps = [
            Step(name: "cleanup_temp", kind: .temp, local: local, goal: well),
            Step(name: "cleanup_logs", kind: .logs, local: local, goal: well),
        ]
        // The programs of the node have had their turn.
        short.journalMax = 0
        if short.cleanupTemp != local.cleanupTemp {
            steps.append(
                Step(name: "cleanup_temp of an hour", kind: .temp, local: short, goal: bearable))
        }
        if short.cleanupLogs != local.cleanupLogs {
            steps.append(
                Step(name: "cleanup_logs of an hour", kind: .logs, local: short, goal: bearable))
        }
        return steps
    }

    private func run(
        on target: Cleaner.Target, isDryRun: Bool, _ session: inout CleaningSession
    ) -> JSON.Object {
        let before = usage(target)
        var taken: [JSON] = []
        let config = config()
        for step in Self.steps(config) where !isMet(step.goal, target) {
            guard !session.isOver else {
                session.report.isComplete = false
                break
            }
            taken.append(.string(step.name))
            cleaner.clean(
                step.kind, step.local, on: target, isDryRun: isDryRun, goal: step.goal, &session)
        }
        let isOver = isMet(Self.bearable(config), target)
        var effect = session.report.json
        effect["steps"] = .array(taken)
        effect["reached"] = isDryRun ? nil : .bool(isOver)
        effect["before"] = before.map(Self.json)
        if !isDryRun { effect["after"] = usage(target).map(Self.json) }
        return effect
    }

    /// How full the target is; `nil` without a target, or when it does not say.
    private func usage(_ target: Cleaner.Target) -> FileSystemUsage? {
        guard case .mount(let mount) = target else { return nil }
        return (try? FileSystemUsage.read(mount, root: cleaner.root)) ?? nil
    }

    private func isMet(_ goal: CleaningGoal, _ target: Cleaner.Target) -> Bool {
        usage(target).map(goal.isMet) ?? false
    }

    private static func json(_ usage: FileSystemUsage) -> JSON {
        var object = JSON.Object()
        object["used_percent"] = usage.usedPercent.map { .number(StorageText.rounded($0)) }
        object["inodes_used_percent"] = usage.inodesUsedPercent.map {
            .number(StorageText.rounded($0))
        }
        object["available_bytes"] = .integer(Int64(clamping: usage.available))
        return .object(object)
    }
}
