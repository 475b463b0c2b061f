import Antibody
import Protocol
import Testing

@testable import ThermalSentinel

@Suite("Somebody else turns a knob that is throttled") struct ThrottleLookTests {
    /// What the two knobs say after they were set to 2,000,000 and 1,500,000; `nil`: it is gone.
    struct Case: Sendable {
        var first: String?
        var second: String?
        var isLost: Bool
    }

    @Test(
        "only when none of its knobs is held any more is it lost",
        arguments: [
            Case(first: "2000000", second: "1500000", isLost: false),
            Case(first: "4000000", second: "1500000", isLost: false),
            Case(first: "4000000", second: "2900000", isLost: true),
            Case(first: "2000001", second: "1500001", isLost: true),
            Case(first: "900000", second: "900000", isLost: false),
            Case(first: "4000000", second: "nonsense", isLost: false),
            Case(first: "4000000", second: nil, isLost: true),
            Case(first: nil, second: nil, isLost: false),
        ])
    func table(test: Case) throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        let effect = try node.execute(plan)
        let verb = try node.verb(50)
        #expect(verb.isObservable)
        for (path, text) in [
            (ThrottledNode.policy0, test.first), (ThrottledNode.policy2, test.second),
        ] {
            if let text {
                try node.tree.set(path + "scaling_max_freq", text)
            } else {
                try node.tree.remove(path + "scaling_max_freq")
            }
        }
        let said = verb.foreignChange(plan.undo, effect: effect)
        #expect((said != nil) == test.isLost, "\(said ?? "nothing")")
        if let said, let first = test.first {
            #expect(said.hasPrefix("somebody else has changed what it had set: "))
            #expect(said.contains("policy0/scaling_max_freq says \(first)"))
        }
    }

    @Test("what could not be set is not missed, and a tighter throttle is no foreign change")
    func parts() throws {
        let node = try ThrottledNode()
        let (mild, harsh) = (try node.plan(10), try node.plan(50))
        let effect = try node.execute(mild)
        try node.execute(harsh)
        let verb = try node.verb(10)
        #expect(verb.foreignChange(mild.undo, effect: effect) == nil)
        #expect(verb.foreignChange(mild.undo, effect: [:]) == nil)
        #expect(verb.foreignChange([:], effect: effect) == nil)
        // Undoing the tighter one raises the knobs to what this one wants.
        try node.undo(harsh, remaining: [mild])
        #expect(verb.foreignChange(mild.undo, effect: effect) == nil)
    }

    @Test("undoing what was changed leaves the foreign values")
    func left() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        try node.tree.set(ThrottledNode.policy0 + "scaling_max_freq", "3000000")
        try node.tree.set(ThrottledNode.policy2 + "scaling_max_freq", "2900000")
        let result = try node.undo(plan)
        #expect(try node.maxima.map(trimmed) == ["3000000", "2900000"])
        #expect(result["superseded"]?.integer == 1)
    }
}
