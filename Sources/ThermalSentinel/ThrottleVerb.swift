package import Antibody
package import Protocol

/// The action `throttle_N`: N percent slower, for the processor, the graphics chips, or both.
package struct ThrottleVerb: Verb {
    /// The members of the family that every node with a knob names; it offers all.
    static let usualPercents: Set<Int> = [10, 50]
    static let prefix = "throttle_"

    package let name: String
    package let percent: Int
    package let isReversible = true
    /// What was interrupted is restored from its journal first, so a second time does what one does.
    package let isRepeatable = true
    package let isObservable = true
    package let isListed: Bool
    package let family = "throttle"
    private let throttle: Throttle

    /// `nil` for a percentage that is no throttling, or that would leave nothing.
    package init?(percent: Int, throttle: Throttle, isListed: Bool = true) {
        guard ActionTable.throttlePercents.contains(percent) else { return nil }
        self.percent = percent
        self.isListed = isListed
        self.throttle = throttle
        name = Self.prefix + "\(percent)"
    }

    package var summary: String {
        "make the processor and graphics chips \(percent) % slower; "
            + "parameter resource: cpu or gpu for only one of them"
    }

    package func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        try throttle.plan(percent: percent, call)
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        try throttle.execute(plan)
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object {
        try throttle.undo(undo, remaining: remaining)
    }

    package func foreignChange(_ undo: JSON.Object, effect: JSON.Object) -> String? {
        throttle.foreignChange(undo, effect: effect)
    }
}
