import Antibody
import Glibc
import Platform
import Protocol
import Synchronization
import Testing

@testable import ThermalSentinel

/// A node with two frequency policies, and everything that acts on them.
struct ThrottledNode {
    static let policy0 = "devices/system/cpu/cpufreq/policy0/"
    static let policy2 = "devices/system/cpu/cpufreq/policy2/"
    static let knob0 = "/sys/" + policy0 + "scaling_max_freq"
    static let knob2 = "/sys/" + policy2 + "scaling_max_freq"

    let tree: NodeTree
    let files: DriverFiles
    let throttle: Throttle
    /// - `more`: further files below `/sys`.
    /// - `nvidia`: GPUs, when the node has some.
    init(_ more: [String: String] = [:], nvidia: (any NvidiaSource)? = nil) throws {
        try self.init(
            only: more.merging([
                Self.policy0 + "cpuinfo_max_freq": "4000000",
                Self.policy0 + "cpuinfo_min_freq": "800000",
                Self.policy0 + "scaling_max_freq": "4000000",
                Self.policy2 + "cpuinfo_max_freq": "3000000",
                Self.policy2 + "cpuinfo_min_freq": "800000",
                Self.policy2 + "scaling_max_freq": "2900000",
            ]) { more, _ in more }, nvidia: nvidia)
    }

    /// A node with exactly these files.
    init(only content: [String: String], nvidia: (any NvidiaSource)? = nil) throws {
        tree = try NodeTree(content)
        files = DriverFiles(tree.files)
        let finder = KnobFinder(files: files, nvidia: nvidia)
        throttle = Throttle(
            finder: finder, io: KnobIO(files: files, nvidia: nvidia, pause: { _ in }))
    }

    func verb(_ percent: Int) throws -> ThrottleVerb {
        try #require(ThrottleVerb(percent: percent, throttle: throttle))
    }

    func plan(
        _ percent: Int, active: [VerbPlan] = [], _ parameters: JSON.Object = JSON.Object()
    ) throws -> VerbPlan {
        try verb(percent).plan(VerbCall(parameters: parameters, active: active.map(\.undo)))
    }

    @discardableResult
    func execute(_ plan: VerbPlan) throws -> JSON.Object { try verb(50).execute(plan) }

    @discardableResult
    func undo(_ plan: VerbPlan, remaining: [VerbPlan] = []) throws -> JSON.Object {
        try verb(50).undo(plan.undo, remaining: remaining.map(\.undo))
    }

    var maxima: [String] {
        get throws {
            [
                try tree.get(Self.policy0 + "scaling_max_freq"),
                try tree.get(Self.policy2 + "scaling_max_freq"),
            ]
        }
    }

    /// What an action fails with.
    func failure(_ body: () throws -> Void) -> VerbFailure? {
        do {
            try body()
            return nil
        } catch { return error as? VerbFailure }
    }
}
