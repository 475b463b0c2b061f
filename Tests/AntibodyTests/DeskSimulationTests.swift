import Antibody
import Protocol
import Runtime
import Testing

/// Random days in the life of an agent, each from a seed: commands doubled and reordered, renewals,
/// undos, failing verbs, full disks, kills between any two steps, torn files, reboots.
@Suite("Desk simulation")
struct DeskSimulationTests {
    private static let verbs = ["dim_10", "dim_50", "ring"]

    @Test("nothing is done twice, nothing without its undo on disk, and all is restored in the end")
    func days() {
        for seed in 1...200 {
            let problem = day(seed: UInt64(seed))
            #expect(problem == nil, "seed \(seed)")
        }
    }

    /// Returns what went wrong.
    private func day(seed: UInt64) -> String? {
        var random = SplitMix(seed: seed)
        var world = DeskWorld()
        var names: [Command] = []
        for step in 0..<120 {
            act(&world, &names, step, &random)
            if world.hasCrashed { recover(&world, &random) }
        }
        let ids = world.executed
        if Set(ids).count != ids.count { return "executed twice: \(ids)" }
        // No more faults: everything must come back by itself.
        world.isDiskFull = false
        world.failures = []
        world.stepsToCrash = nil
        world.holdsCalls = false
        while !world.calls.isEmpty { world.answerCall() }
        for _ in 0..<10 { world.wait(60) }
        if world.level != 100 { return "the lamp is left at \(world.level)" }
        let left = world.desk.activeActions(at: world.moment)
        return left.isEmpty ? nil : "in force: \(left)"
    }

    private func act(
        _ world: inout DeskWorld, _ names: inout [Command], _ step: Int, _ random: inout SplitMix
    ) {
        let chance = Int.random(in: 0..<100, using: &random)
        switch chance {
        case 0..<30:
            let verb = Self.verbs.randomElement(using: &random) ?? "ring"
            var new = command("a\(step)", verb, epoch: Int64.random(in: 1...3, using: &random))
            new.deadline = at(world.now + Double.random(in: -5...60, using: &random))
            new.lease = .seconds(Int.random(in: 1...90, using: &random))
            names.append(new)
            world.send(new)
        case 30..<50:
            guard var old = names.randomElement(using: &random) else { return }
            old.operation = Command.Operation.allCases.randomElement(using: &random) ?? .undo
            if old.operation != .execute { old.deadline = at(world.now + 20) }
            world.send(old)
        case 50..<65: world.wait(Double.random(in: 0...40, using: &random))
        case 65..<72:
            world.failures.append(
                VerbFailure(isTransient: Bool.random(using: &random), reason: "broken"))
        case 72..<76: world.isDiskFull.toggle()
        case 76..<88: world.stepsToCrash = Int.random(in: 0..<8, using: &random)
        case 88..<94: world.holdsCalls.toggle()
        default: world.answerCall()
        }
    }

    private func recover(_ world: inout DeskWorld, _ random: inout SplitMix) {
        // What was being written when the power went.
        if Bool.random(using: &random) {
            world.disk += JournalText.line(.epoch(99)).prefix(
                Int.random(in: 0..<20, using: &random))
        }
        // A full disk keeps the file as it was; the shell makes it whole again when there is room.
        world.now += Double.random(in: 0...50, using: &random)
        world.restart(reboot: Int.random(in: 0..<4, using: &random) == 0)
    }
}
