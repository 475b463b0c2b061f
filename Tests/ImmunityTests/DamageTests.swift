import Protocol
import Testing

@testable import Immunity

@Suite("Damaged records and snapshots")
struct DamageTests {
    /// Something in the place of a value.
    private static func damage(_ value: JSON, _ dice: inout Dice) -> JSON {
        switch value {
        case .object(var object) where !object.isEmpty && dice.chance(3, of: 4):
            let member = dice.pick(object.members.map(\.name))
            object[member] = object[member].map { damage($0, &dice) }
            return .object(object)
        case .array(var elements) where !elements.isEmpty && dice.chance(3, of: 4):
            let index = dice.roll(0...elements.count - 1)
            elements[index] = damage(elements[index], &dice)
            return .array(elements)
        default:
            return dice.pick([
                .null, .bool(true), .integer(.min), .integer(.max), .integer(-1), .integer(0),
                .integer(70), .number(1e300), .string(""), .string("nova:x"), .string("ok"),
                "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z",
                "resolved", "dispatch", "undo", [], [:],
            ])
        }
    }

    @Test("are refused, or lead to a state that can be gone on with; nothing traps")
    func records() throws {
        var simulation = Simulation(seed: 11)
        try simulation.run(steps: 150)
        var read = 0
        var refused = 0
        for seed in 0..<200 as Range<UInt64> {
            var dice = Dice(seed: seed)
            var state = State()
            for bytes in simulation.log.prefix(dice.roll(1...simulation.log.count)) {
                let good = try JSON.parse(bytes)
                let json = dice.chance(1, of: 10) ? Self.damage(good, &dice) : good
                let text = json.encoded
                guard let record = try? text.withUnsafeBytes({ try Record(decoding: $0) }) else {
                    refused += 1
                    continue
                }
                read += 1
                state.apply(record.event, at: record.time)
            }
            goOn(from: state, simulation.core.policies, &dice)
            let snapshot = Self.damage(.object(state.snapshot), &dice)
            guard let damaged = try? State(snapshot: snapshot.object ?? [:]) else { continue }
            goOn(from: damaged, simulation.core.policies, &dice)
        }
        #expect(read > 5000 && refused > 250)
    }

    @Test(
        "counts and indexes that could not be, which would be used as such",
        arguments: [-1, .min, .max])
    func counts(value: Int64) throws {
        var s = Scenario()
        _ = s.alert(.critical)
        let decision = try #require(s.records.last { $0.event.kind == "decision" })
        var object = decision.object
        object["rung"] = .integer(value)
        let bytes = JSON.object(object).encoded
        #expect(throws: MessageError(field: "rung", reason: "\(value) is no count")) {
            try bytes.withUnsafeBytes { try Record(decoding: $0) }
        }
        for name in ["rung", "alerts"] {
            var snapshot = s.core.state.snapshot
            var incident = try #require(snapshot["incidents"]?.array?.first?.object)
            incident[name] = .integer(value)
            snapshot["incidents"] = [.object(incident)]
            #expect(
                throws: MessageError(field: "incidents[0].\(name)", reason: "\(value) is no count")
            ) { try State(snapshot: snapshot) }
        }
    }

    @Test("runs of alerts that no stream can have had", arguments: [0, 8192, .min, .max])
    func runs(count: Int64) {
        var snapshot = Scenario().core.state.snapshot
        snapshot["alerts"] = ["highest": 3, "seen": [[1, 2], [4, .integer(count)]]]
        #expect(
            throws: MessageError(field: "alerts.seen[1]", reason: "[first, count] is expected")
        ) { try State(snapshot: snapshot) }
    }

    private func goOn(from state: State, _ policies: PolicySet, _ dice: inout Dice) {
        var core = Immunity(state: state, policies: policies)
        var now = state.newest
        for second in 0..<20 {
            now = now + .seconds(Int64(second))
            _ = core.handle(.tick, at: now)
            var alert = Alert(
                type: "thermal", severity: dice.pick(Severity.allCases), node: "nova",
                resource: "cpu")
            alert.id = "x\(second)"
            _ = core.handle(.alert(alert, sequence: UInt64(1_000_000 + second)), at: now)
        }
        for id in state.incidentOfAction.keys.sorted().prefix(5) {
            _ = core.handle(.undo(id: id, actor: "op"), at: now)
            _ = core.handle(
                .result(
                    CommandResult(
                        actionID: id, actionType: "x", node: "nova", status: .done,
                        outcome: .succeeded)), at: now)
        }
    }
}
