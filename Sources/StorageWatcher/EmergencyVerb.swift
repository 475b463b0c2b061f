package import Antibody
import Platform
package import Protocol
import Settings

/// The action `emergency_cleanup`: the safe steps one after the other, the gentlest first.
///
/// It deletes what the other actions may delete as well and nothing else, until the file system is no
/// symptom any more: stopping just below the emergency would leave an incident that nothing else mends.
package struct EmergencyVerb: Verb {
    package let name = "emergency_cleanup"
    package let isReversible = false
    package let isRepeatable = true
    package let family = "cleanup"
    package let summary =
        "cleanup_temp and cleanup_logs, both only until the file system is well"
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
                "steps": .array(CleanupVerb.Kind.allCases.map { .string($0.rawValue) })
            ]
            effect.append(target.parameters, except: [])
            return VerbPlan(undo: target.parameters, effect: effect)
        }
        var session = cleaner.begin(Cleaner.dryRunBudget)
        let effect = run(on: target, isDryRun: true, &session)
        return VerbPlan(undo: target.parameters, effect: effect)
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let target = try cleaner.target(plan.undo)
        var session = cleaner.begin(cleaner.budget)
        let effect = run(on: target, isDryRun: false, &session)
        if effect["reached"]?.bool == true { return effect }
        _ = try session.report.result()
        guard session.report.isComplete else { throw session.report.unfinished }
        return effect
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object { throw cannotUndo(name) }

    /// When the emergency is over: a severity is left only below its clear threshold.
    private static func bearable(_ config: Config) -> CleaningGoal {
        CleaningGoal(
            space: config.storage.clear.emergency, inodes: config.storage.inodeClear.emergency)
    }

    private func run(
        on target: Cleaner.Target, isDryRun: Bool, _ session: inout CleaningSession
    ) -> JSON.Object {
        let before = cleaner.usage(target)
        var taken: [JSON] = []
        let config = config()
        let well = CleaningGoal.well(config.storage)
        let kinds = CleanupVerb.Kind.allCases
        for (index, kind) in kinds.enumerated() where !isMet(well, target) {
            guard !session.isOver else {
                session.report.isComplete = false
                break
            }
            taken.append(.string(kind.rawValue))
            // A step with very many files must not take the time of those behind it.
            session.spend(1 / Double(kinds.count - index)) { session in
                cleaner.clean(
                    kind, config.local, on: target, isDryRun: isDryRun, goal: well, &session)
            }
        }
        let isOver = isMet(Self.bearable(config), target)
        var effect = session.report.json
        effect["steps"] = .array(taken)
        effect["reached"] = isDryRun ? nil : .bool(isOver)
        effect["before"] = before.map(Self.json)
        if !isDryRun { effect["after"] = cleaner.usage(target).map(Self.json) }
        return effect
    }

    private func isMet(_ goal: CleaningGoal, _ target: Cleaner.Target) -> Bool {
        cleaner.usage(target).map(goal.isMet) ?? false
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
