import Protocol
import Testing

@testable import Immunity

@Suite("Kills between any two records")
struct KillTests {
    /// The whole story of an incident as inputs, each with the seconds before it.
    private static func story(_ s: Scenario) -> [(
        wait: Int64, input: (Immunity) -> Immunity.Input?
    )] {
        func alert(_ severity: Severity, _ sequence: UInt64, at second: Int64) -> Alert {
            var alert = Alert(type: "thermal", severity: severity, node: "nova", resource: "cpu")
            alert.id = "a\(sequence)"
            alert.timestamp = s.now + .seconds(second)
            return alert
        }
        func answer(
            _ action: String, _ status: CommandResult.Status, _ outcome: CommandResult.Outcome?
        )
            -> (Immunity) -> Immunity.Input?
        {
            { core in
                let incidents = Array(core.state.incidents.values) + core.state.closed
                let attempt = incidents.flatMap(\.attempts).last { $0.command.actionType == action }
                guard let attempt else { return nil }
                var result = CommandResult(
                    actionID: attempt.command.actionID, actionType: attempt.command.actionType,
                    node: "nova", status: status, outcome: outcome)
                if outcome == .succeeded { result.undo = ["x": 1] }
                return .result(result)
            }
        }
        return [
            (0, { _ in .alert(alert(.critical, 1, at: 0), sequence: 1) }),
            (1, answer("throttle_50", .done, .permanentFailure)),
            (1, answer("throttle_10", .done, .succeeded)),
            (8, { _ in .alert(alert(.ok, 2, at: 10), sequence: 2) }), (10, { _ in .tick }),
            (1, answer("throttle_10", .undone, .succeeded)), (1, { _ in .tick }),
        ]
    }

    @Test("at every point: exactly one decision for each rung, and the same end")
    func everyPoint() {
        let whole = run(killAfter: nil)
        #expect(whole.records > 8)
        #expect(whole.dispatched == ["throttle_50", "throttle_10"])
        for point in 0...whole.records {
            let killed = run(killAfter: point)
            #expect(killed.dispatched == whole.dispatched, "killed after record \(point)")
            #expect(killed.isAtRest, "killed after record \(point)")
            #expect(killed.undone == whole.undone, "killed after record \(point)")
        }
    }

    private struct Outcome {
        var records = 0
        var dispatched: [String] = []
        var undone: [String] = []
        var isAtRest = false
    }

    /// Plays the story; the coordinator dies when so many records are durable, without doing what was
    /// to follow, and whatever was not acked is delivered again.
    private func run(killAfter point: Int?) -> Outcome {
        var s = Scenario()
        var state = State()
        var outcome = Outcome()
        var isDead = point == 0
        for (wait, make) in Self.story(s) {
            s.now = s.now + .seconds(wait)
            var attempts = 0
            repeat {
                attempts += 1
                if isDead {
                    isDead = false
                    s.core = Immunity(
                        state: state, policies: s.core.policies, epoch: s.core.epoch + 1)
                    for directive in s.core.handle(.tick, at: s.now) {
                        if case .append(let event) = directive {
                            apply(event, &state, &outcome, at: s.now)
                        }
                    }
                }
                guard let input = make(s.core) else { break }
                for directive in s.core.handle(input, at: s.now) {
                    guard case .append(let event) = directive else { continue }
                    apply(event, &state, &outcome, at: s.now)
                    if outcome.records == point {
                        isDead = true
                        break
                    }
                }
            } while isDead && attempts < 3
        }
        outcome.isAtRest = state.incidents.isEmpty && state.undoing.isEmpty
        return outcome
    }

    private func apply(
        _ event: Event, _ state: inout State, _ outcome: inout Outcome, at now: Timestamp
    ) {
        outcome.records += 1
        state.apply(event, at: now)
        guard case .decision(let decision) = event else { return }
        if decision.verdict == .dispatch { outcome.dispatched.append(decision.action) }
        if decision.verdict == .undo { outcome.undone.append(decision.action) }
    }
}
