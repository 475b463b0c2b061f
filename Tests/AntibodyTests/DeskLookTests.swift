import Protocol
import Testing

@testable import Antibody

@Suite("Somebody else changes what an action has set") struct DeskLookTests {
    /// A desk with an action in force that began at second 0.
    private final class Desk {
        var desk: ActionDesk

        init(isObservable: Bool = true) throws {
            let facts = VerbFacts(
                name: "dim_50", family: "dim", isReversible: true, isObservable: isObservable)
            desk = ActionDesk(
                gate: CommandGate(identity: identity, verbs: [facts]), ledger: Ledger())
            _ = desk.resume(at: moment(0))
            var told = take(.command(command("a")), 0)
            guard case .plan(let planning, _, _)? = told.last else {
                throw Unexpected(description: "\(told)")
            }
            let plan = VerbPlan(undo: ["base": 100], effect: [:])
            told = take(.planned(planning, .success(plan)), 0)
            guard case .execute(let executing, _, _)? = told.last else {
                throw Unexpected(description: "\(told)")
            }
            _ = take(.executed(executing, .success(["level": 50])), 0)
        }

        func take(_ input: ActionDesk.Input, _ second: Double) -> [ActionDesk.Directive] {
            desk.handle(input, at: moment(second))
        }

        /// The number of the look that is asked for at a second.
        func look(_ second: Double) -> Int? {
            guard
                case .look(let number, "dim_50", ["base": 100], ["level": 50])? = take(
                    .tick, second
                ).last
            else { return nil }
            return number
        }
    }

    private struct Unexpected: Error, CustomStringConvertible { var description: String }

    @Test("two looks in a row that find it changed end the action, as superseded")
    func superseded() throws {
        let desk = try Desk()
        #expect(desk.desk.nextDue == moment(5).boot)
        #expect(desk.look(4.9) == nil)
        var number = try #require(desk.look(5))
        #expect(desk.take(.looked(number, foreignChange: nil), 5).isEmpty)
        number = try #require(desk.look(10))
        #expect(desk.take(.looked(number, foreignChange: "it is bright"), 10).isEmpty)
        number = try #require(desk.look(15))
        var told = desk.take(.looked(number, foreignChange: "it is bright"), 15)
        guard case .undo(let undoing, "dim_50", ["base": 100], [])? = told.last else {
            Issue.record("\(told)")
            return
        }
        told = desk.take(.undone(undoing, .success([:])), 15)
        guard case .publish(let result)? = told.last else {
            Issue.record("\(told)")
            return
        }
        #expect(result.status == .undone && result.outcome == .superseded)
        #expect(result.reason == "it is bright" && result.isAsked)
        #expect(desk.desk.nextDue == nil)
        // The journal says the same.
        var ledger = Ledger()
        for record in desk.desk.ledger.records {
            let isSensible = ledger.apply(try JournalRecord(record.object))
            #expect(isSensible)
        }
        #expect(ledger["a"]?.results.last == result)
    }

    @Test("one look that finds it changed, and then not, says nothing")
    func once() throws {
        let desk = try Desk()
        for second in stride(from: 5.0, to: 60, by: 5) {
            let number = try #require(desk.look(second))
            let change = second.truncatingRemainder(dividingBy: 10) == 0 ? "x" : nil
            #expect(desk.take(.looked(number, foreignChange: change), second).isEmpty)
        }
    }

    @Test("during a look renewals are taken, and a command waits for its end")
    func during() throws {
        let desk = try Desk()
        let number = try #require(desk.look(5))
        var told = desk.take(.command(command("a", "dim_50", .renew)), 6)
        #expect(!told.contains { if case .ignored = $0 { true } else { false } })
        #expect(desk.desk.ledger["a"]?.lease?.until == moment(126).boot)
        told = desk.take(.command(command("b")), 6)
        #expect(!told.contains { if case .plan = $0 { true } else { false } })
        told = desk.take(.looked(number, foreignChange: "x"), 7)
        #expect(told.contains { if case .plan = $0 { true } else { false } })
    }

    @Test("a look that hangs reports nothing, and keeps the lease from being forgotten")
    func hung() throws {
        let desk = try Desk()
        let number = try #require(desk.look(5))
        #expect(desk.take(.tick, 60).isEmpty)
        #expect(desk.take(.tick, 121).isEmpty)
        let told = desk.take(.looked(number, foreignChange: "x"), 122)
        guard case .undo(let undoing, _, _, _)? = told.last,
            case .publish(let result)? = desk.take(.undone(undoing, .success([:])), 122).last
        else {
            Issue.record("\(told)")
            return
        }
        #expect(result.outcome == .succeeded && !result.isAsked)
        #expect(result.reason == "its lease has run out")
    }

    @Test(
        "a verb that cannot tell is not asked, a stopping agent asks nothing, a new start goes on")
    func others() throws {
        let blind = try Desk(isObservable: false)
        #expect(blind.look(30) == nil && blind.desk.nextDue == moment(120).boot)
        let stopping = try Desk()
        _ = stopping.take(.stop(keepingActions: true), 1)
        #expect(stopping.look(30) == nil && stopping.desk.nextDue == moment(120).boot)
        let before = try Desk()
        let after = try Desk()
        after.desk = ActionDesk(gate: before.desk.gate, ledger: before.desk.ledger)
        _ = after.desk.resume(at: moment(20))
        #expect(after.look(24) == nil)
        #expect(after.look(25) != nil)
    }
}
