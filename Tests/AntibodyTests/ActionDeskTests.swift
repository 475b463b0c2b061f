import Antibody
import Protocol
import Testing

@Suite("ActionDesk")
struct ActionDeskTests {
    private let broken = VerbFailure(isTransient: true, reason: "the knob did not move")

    @Test("a command is accepted, executed once, and a repeat is answered with the outcome")
    func once() {
        var world = DeskWorld()
        world.send(command("a"))
        #expect(world.level == 50)
        #expect(world.published == ["a accepted", "a done succeeded"])
        world.send(command("a"))
        #expect(world.executed == ["a"])
        #expect(world.published.last == "a done succeeded")
        #expect(world.results.last?.undo == ["base": 100, "level": 50])
        #expect(world.results.last?.effect == ["level": 50])
        #expect(world.results.last?.incident == nil)
    }

    @Test("a repeat of what is being executed is accepted, and changes nothing")
    func repeatWhileRunning() {
        var world = DeskWorld()
        world.holdsCalls = true
        world.send(command("a"))
        world.send(command("a"))
        world.answerCall()
        world.send(command("a"))
        world.answerCall()
        #expect(world.published == ["a accepted", "a accepted", "a accepted", "a done succeeded"])
        #expect(world.executed == ["a"])
    }

    @Test("a lease ends by itself; a renewal makes it longer, by its own length")
    func leases() {
        var world = DeskWorld()
        world.send(command("a", lease: .seconds(120)))
        #expect(world.desk.nextDue == world.moment.boot + .seconds(120))
        world.wait(100)
        world.send(command("a", "dim_50", .renew, deadline: 200, lease: .seconds(60)))
        world.wait(59.9)
        #expect(world.level == 50)
        world.wait(0.1)
        #expect(world.level == 100)
        #expect(world.published.last == "a undone succeeded")
        #expect(world.results.last?.reason == "its lease has run out")
        // Nobody renews what is over: the outcome is the answer.
        world.send(command("a", "dim_50", .renew, deadline: 300))
        #expect(world.published.suffix(2) == ["a done succeeded", "a undone succeeded"])
        #expect(world.level == 100)
    }

    @Test("by hand there is a lease all the same; a coordinator that sends none wants it kept")
    func defaultLease() {
        var world = DeskWorld()
        world.send(command("a", epoch: nil, deadline: nil, lease: nil))
        world.wait(119)
        #expect(world.level == 50)
        world.wait(1)
        #expect(world.level == 100)
        world.send(command("b", epoch: 1, deadline: 200, lease: nil))
        world.wait(1e6)
        #expect(world.level == 50)
        world.send(command("b", "dim_50", .undo))
        #expect(world.level == 100)
    }

    @Test("an undo restores; of what is not known, or has not begun, it makes sure it never begins")
    func undo() {
        var world = DeskWorld()
        world.send(command("a"))
        world.send(command("a", "dim_50", .undo))
        #expect(world.level == 100)
        #expect(world.published.last == "a undone succeeded")
        // The undo overtakes the command.
        world.send(command("b", "dim_50", .undo))
        world.send(command("b"))
        #expect(world.published.suffix(2) == ["b undone succeeded", "b undone succeeded"])
        // It comes while the command waits, is planned, or is executed.
        world.holdsCalls = true
        for id in ["c", "d", "e"] { world.send(command(id)) }
        world.send(command("d", "dim_50", .undo))
        world.answerCall()
        world.send(command("c", "dim_50", .undo))
        world.send(command("e", "dim_50", .undo))
        world.holdsCalls = false
        world.answerCall()
        #expect(world.level == 100)
        #expect(world.executed == ["a", "c"])
        let ends = ["d undone succeeded", "c done succeeded", "c undone succeeded"]
        for end in ends + ["e undone succeeded"] { #expect(world.published.contains(end)) }
    }

    @Test("actions of one family share the knob: taking one back leaves the other in force")
    func family() {
        for first in ["a", "b"] {
            var world = DeskWorld()
            world.send(command("a", "dim_10"))
            world.send(command("b", "dim_50"))
            #expect(world.level == 50)
            world.send(command(first, first == "a" ? "dim_10" : "dim_50", .undo))
            #expect(world.level == (first == "a" ? 50 : 90))
            world.wait(200)
            #expect(world.level == 100)
        }
    }

    @Test("a verb that fails has its traces removed, and says so before and after")
    func failure() {
        var world = DeskWorld()
        world.failures = [nil, broken]
        world.send(command("a"))
        #expect(world.level == 100)
        #expect(
            world.published == ["a accepted", "a done transient_failure", "a undone succeeded"])
        #expect(world.results[1].reason == "the knob did not move")
        world.send(command("a"))
        #expect(world.executed == ["a"])
        // A plan that fails has changed nothing, and is not tried again by a copy of its command.
        world.failures = [VerbFailure(isTransient: false, reason: "no knob")]
        world.send(command("b"))
        world.send(command("b"))
        #expect(
            world.published.suffix(2) == ["b done permanent_failure", "b done permanent_failure"])
        #expect(world.executed == ["a"])
    }

    @Test("an undo that fails is tried again, with longer and longer pauses")
    func undoRetries() {
        var world = DeskWorld()
        world.send(command("a", lease: .seconds(10)))
        world.failures = [broken, broken, broken]
        var tries: [Double] = []
        for _ in 0..<300 {
            let left = world.failures.count
            world.wait(0.5)
            if world.failures.count < left { tries.append(world.now) }
        }
        #expect(tries == [10, 11, 13])
        #expect(world.level == 100)
        #expect(world.published.last == "a undone succeeded")
    }

    @Test("nothing is done when the plan cannot be written, and it works again with room")
    func fullDisk() {
        var world = DeskWorld()
        world.isDiskFull = true
        world.send(command("a"))
        #expect(world.level == 100)
        #expect(world.executed == [])
        #expect(world.published == ["a accepted", "a refused transient_failure"])
        #expect(world.results.last?.reason == "nothing was done: the disk is full")
        world.isDiskFull = false
        world.send(command("a"))
        #expect(world.executed == [])
        world.send(command("b"))
        #expect(world.level == 50)
    }

    @Test("a dry run reports and changes nothing, neither lamp nor disk")
    func dryRun() {
        var world = DeskWorld()
        let before = world.disk
        var dry = command("a", epoch: nil)
        dry.dryRun = true
        world.send(dry)
        #expect(world.level == 100)
        #expect(world.disk == before)
        #expect(world.results.last?.dryRun == true)
        #expect(world.results.last?.effect == ["level": 50])
        #expect(world.published.last == "a done succeeded")
    }

    @Test("one at a time; those that wait are bounded and late ones refused at their turn")
    func queue() {
        var world = DeskWorld()
        world.holdsCalls = true
        for number in 0..<20 { world.send(command("a\(number)", "ring", deadline: 30)) }
        #expect(world.calls.count == 1)
        let busy = world.results.filter { $0.status == .refused }
        #expect(busy.map(\.actionID) == ["a17", "a18", "a19"])
        #expect(busy.first?.reason == "busy: 16 commands are waiting")
        #expect(busy.allSatisfy { $0.isBusy })
        world.now = 31
        world.holdsCalls = false
        world.answerCall()
        #expect(world.rings == 0)
        #expect(world.results.suffix(17).allSatisfy { $0.reason?.contains("deadline") == true })
        // Those that waited were not tried; the first one was, and found that it took too long.
        #expect(world.results.suffix(16).allSatisfy { $0.isBusy })
    }

    @Test("a verb that hangs is reported as unknown, blocks the next, and is taken back in the end")
    func hanging() {
        var world = DeskWorld()
        world.holdsCalls = true
        world.send(command("a"))
        world.answerCall()
        world.wait(29.9)
        #expect(world.published.last == "a accepted")
        world.wait(0.1)
        #expect(world.published.last == "a done permanent_failure")
        world.send(command("b", deadline: 100))
        #expect(world.results.last?.reason == "busy: a hangs")
        world.holdsCalls = false
        world.answerCall()
        #expect(world.level == 100)
        #expect(world.published.last == "a undone succeeded")
        world.send(command("c", deadline: 100))
        #expect(world.level == 50)
    }

    @Test("a stop takes everything back, unless told to keep it, and takes on nothing")
    func stop() {
        for keeps in [false, true] {
            var world = DeskWorld()
            world.send(command("a"))
            world.send(command("b", "dim_10"))
            world.send(.stop(keepingActions: keeps))
            #expect(world.level == (keeps ? 50 : 100))
            #expect(world.desk.isSettled)
            world.send(command("c"))
            #expect(world.results.last?.reason == "busy: the agent is stopping")
            world.restart()
            #expect(world.level == (keeps ? 50 : 100))
            world.wait(120)
            #expect(world.level == 100)
        }
    }

    @Test("a stop while a verb runs waits for it and takes it back")
    func stopWhileRunning() {
        var world = DeskWorld()
        world.holdsCalls = true
        world.send(command("a"))
        world.answerCall()
        world.send(command("b"))
        world.send(.stop(keepingActions: false))
        #expect(!world.desk.isSettled)
        #expect(world.published.last == "b refused transient_failure")
        world.holdsCalls = false
        world.answerCall()
        #expect(world.level == 100)
        #expect(world.desk.isSettled)
    }

    @Test("after a restart leases go on where they were; after a reboot they are over")
    func restart() {
        var world = DeskWorld()
        world.send(command("a", lease: .seconds(100)))
        world.now = 60
        world.restart()
        #expect(world.level == 50)
        #expect(world.published.last == "a done succeeded")
        world.wait(39.9)
        #expect(world.level == 50)
        world.wait(0.1)
        #expect(world.level == 100)
        world.send(command("b", deadline: 200, lease: .seconds(100)))
        world.restart(reboot: true)
        #expect(world.level == 100)
        #expect(world.results.last?.reason == "the node was restarted")
    }

    @Test("a lease that ran out while no agent ran is over at once")
    func expiredWhileDown() {
        var world = DeskWorld()
        world.send(command("a", lease: .seconds(100)))
        world.now = 500
        world.restart()
        #expect(world.level == 100)
        #expect(world.published.last == "a undone succeeded")
    }

    @Test("an older coordinator is refused, also after a restart; repeats are answered to anyone")
    func epochs() {
        var world = DeskWorld()
        world.send(command("a", epoch: 7))
        world.restart()
        world.send(command("b", epoch: 6))
        #expect(world.results.last?.reason == "epoch 6 is over: 7 has been seen")
        world.send(command("a", epoch: 6))
        #expect(world.published.last == "a done succeeded")
        world.send(command("a", "dim_50", .undo, epoch: 6))
        #expect(world.level == 50)
        #expect(world.ignored == 1)
        // Refused once is refused for good: a copy from the new coordinator gets the same answer.
        world.send(command("b", epoch: 7))
        #expect(world.published.last == "b refused permanent_failure")
        #expect(world.executed == ["a"])
    }

    @Test("a newer coordinator is known by any command, also by one that changes nothing")
    func epochOfUndo() {
        for change in [Command.Operation.undo, .renew] {
            var world = DeskWorld()
            world.send(command("a", epoch: 1))
            world.send(command("a", "dim_50", change, epoch: 3))
            world.restart()
            world.send(command("b", epoch: 2))
            #expect(world.results.last?.reason == "epoch 2 is over: 3 has been seen")
        }
    }

    @Test("memory is bounded: past the limit what is late is forgotten, and then it is refused")
    func memory() {
        var world = DeskWorld()
        for number in 0..<ActionDesk.rememberedLimit {
            world.send(command("a\(number)", "ring", deadline: 100))
        }
        #expect(world.rings == ActionDesk.rememberedLimit)
        world.send(command("b", "ring", deadline: 200))
        #expect(world.results.last?.reason == "busy: 1024 commands are remembered")
        world.now = 101
        world.send(command("b", "ring", deadline: 200))
        #expect(world.published.last == "b done succeeded")
        #expect(world.desk.ledger.order == ["b"])
    }

    @Test("no more actions are in force than the limit")
    func activeLimit() {
        var world = DeskWorld()
        for number in 0...ActionDesk.activeLimit { world.send(command("a\(number)")) }
        #expect(world.results.last?.reason == "busy: 64 actions are in force")
        world.send(command("a0", "dim_50", .undo))
        world.send(command("b"))
        #expect(world.published.last == "b done succeeded")
    }

    @Test("what was interrupted may be tried again where doing it twice does no harm")
    func interruptedRepeatable() {
        for isRepeatable in [false, true] {
            let sweep = VerbFacts(
                name: "sweep", family: "broom", isReversible: false, isRepeatable: isRepeatable)
            var ledger = Ledger()
            let action = PlannedAction(
                id: "a", verb: "sweep", family: "broom", isReversible: false, undo: [:],
                incident: "i1", epoch: 1, keepUntil: at(3630))
            _ = ledger.apply(.planned(action))
            var desk = ActionDesk(
                gate: CommandGate(identity: identity, verbs: [sweep]), ledger: ledger)
            let directives = desk.resume(at: Moment(wall: at(1), boot: .seconds(1)))
            let outcomes = directives.compactMap { directive in
                if case .publish(let result) = directive { result.outcome } else { nil }
            }
            #expect(outcomes == [isRepeatable ? .transientFailure : .permanentFailure])
        }
    }
}
