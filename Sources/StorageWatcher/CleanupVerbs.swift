package import Antibody
import Platform
package import Protocol
package import Settings

/// Where the settings of the moment come from.
package typealias CurrentConfig = @Sendable () -> Config

/// What no deleting action can do.
func cannotUndo(_ name: String) -> VerbFailure {
    VerbFailure(isTransient: false, reason: "\(name): what was deleted cannot be brought back")
}

/// The actions `cleanup_temp` and `cleanup_logs`.
package struct CleanupVerb: Verb {
    package enum Kind: String, Sendable, CaseIterable {
        case temp = "cleanup_temp"
        case logs = "cleanup_logs"
    }

    private let kind: Kind
    private let cleaner: Cleaner
    private let config: CurrentConfig

    package init(_ kind: Kind, _ cleaner: Cleaner, _ config: @escaping CurrentConfig) {
        self.kind = kind
        self.cleaner = cleaner
        self.config = config
    }

    package var name: String { kind.rawValue }
    package let isReversible = false
    package let isRepeatable = true
    package let family = "cleanup"

    package var summary: String {
        switch kind {
        case .temp: "delete old files that nobody has open from the node's temporary directories"
        case .logs: "cut systemd's journal and delete old rotated logs"
        }
    }

    package func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let target = try cleaner.target(call.parameters)
        let local = config().local
        guard call.isDryRun else {
            return VerbPlan(
                undo: target.parameters, effect: cleaner.intention(kind, local, on: target))
        }
        var session = cleaner.begin(Cleaner.dryRunBudget)
        cleaner.clean(kind, local, on: target, isDryRun: true, goal: nil, &session)
        return VerbPlan(undo: target.parameters, effect: session.report.json)
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let target = try cleaner.target(plan.undo)
        let config = config()
        var session = cleaner.begin(cleaner.budget)
        cleaner.clean(kind, config.local, on: target, isDryRun: false, goal: nil, &session)
        let result = try session.report.result()
        // Where more is needed, the same once more is better than the next step.
        if !session.report.isComplete, let usage = cleaner.usage(target),
            !CleaningGoal.well(config.storage).isMet(by: usage)
        {
            throw session.report.unfinished
        }
        return result
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object { throw cannotUndo(name) }
}

extension Cleaner {
    /// One step of cleaning, with the node's programs and then our own walk.
    func clean(
        _ kind: CleanupVerb.Kind, _ local: Config.Local, on target: Target, isDryRun: Bool,
        goal: CleaningGoal?, _ session: inout CleaningSession
    ) {
        switch kind {
        case .temp:
            runTmpfiles(local.cleanupTemp, on: target, isDryRun: isDryRun, &session)
        case .logs:
            vacuumJournal(local.journalMax, on: target, isDryRun: isDryRun, &session)
        }
        let order = Order(
            cleanup: Self.cleanup(kind, local), isDryRun: isDryRun, goal: goal,
            isTemporary: kind == .temp)
        sweep(order, on: target, &session)
    }

    /// How full the target is; `nil` without a target, or when it does not say.
    func usage(_ target: Target) -> FileSystemUsage? {
        guard case .mount(let mount) = target else { return nil }
        return (try? FileSystemUsage.read(mount, root: root)) ?? nil
    }

    static func cleanup(_ kind: CleanupVerb.Kind, _ local: Config.Local) -> Config.Cleanup {
        switch kind {
        case .temp: local.cleanupTemp
        case .logs: local.cleanupLogs
        }
    }

    /// What a step is allowed to do, for the record of the plan.
    func intention(
        _ kind: CleanupVerb.Kind, _ local: Config.Local, on target: Target
    ) -> JSON.Object {
        let cleanup = Self.cleanup(kind, local)
        var effect: JSON.Object = [
            "roots": .array(cleanup.roots.map(JSON.string)),
            "patterns": .array(cleanup.patterns.map(JSON.string)),
            "min_age_s": .integer(cleanup.minAge.components.seconds),
        ]
        effect.append(target.parameters, except: [])
        return effect
    }
}
