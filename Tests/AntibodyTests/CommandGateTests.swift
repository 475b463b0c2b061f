import Antibody
import Protocol
import Testing

@Suite("CommandGate")
struct CommandGateTests {
    private let now = at(10)

    private func gate(
        allowed: Set<String>? = nil, denied: Set<String> = [], obstacle: String? = nil
    ) -> CommandGate {
        var gate = CommandGate(identity: identity, verbs: facts)
        gate.allowed = allowed
        gate.denied = denied
        gate.obstacle = obstacle
        return gate
    }

    private func verdict(
        _ command: Command, known: CommandGate.Known = .unknown, highestEpoch: Int64? = 5,
        gate: CommandGate? = nil
    ) -> String {
        let gate = gate ?? self.gate()
        switch gate.judge(command, known: known, highestEpoch: highestEpoch, at: now) {
        case .notOurs: return "not ours"
        case .ignore(let reason): return "ignore: \(reason)"
        case .refuse(let reason, let isTransient):
            return "refuse\(isTransient ? " for now" : ""): \(reason)"
        case .answer: return "answer"
        case .execute(let dryRun): return dryRun ? "dry run" : "execute"
        case .renew: return "renew"
        case .undo: return "undo"
        }
    }

    private func changed(_ change: (inout Command) -> Void) -> Command {
        var command = command("a", epoch: 5)
        change(&command)
        return command
    }

    @Test("a command for this agent, in time, of the present epoch is executed")
    func good() {
        #expect(verdict(command("a", epoch: 5)) == "execute")
        #expect(verdict(command("a", epoch: 6)) == "execute")
        #expect(verdict(command("a", epoch: nil, deadline: nil)) == "execute")
        #expect(verdict(changed { $0.agentType = "lamp_keeper" }) == "execute")
        #expect(verdict(changed { $0.deadline = now }) == "execute")
    }

    @Test("what is somebody else's is left alone")
    func notOurs() {
        #expect(verdict(changed { $0.node = "lyra" }) == "not ours")
        #expect(verdict(changed { $0.agentType = "storage_watcher" }) == "not ours")
        #expect(verdict(changed { $0.actionType = "cleanup_temp" }) == "not ours")
        // Named, it must say that it cannot.
        let named = changed {
            $0.actionType = "dim_99"
            $0.agentType = "lamp_keeper"
        }
        #expect(
            verdict(named) == "refuse: \"dim_99\" is not a verb of lamp-keeper-nova on this node")
    }

    @Test("a verb that nothing is set up for is no verb for now; what is known of it goes on")
    func withheld() {
        var gate = gate()
        gate.withheld = ["dim_50"]
        #expect(verdict(command("a", epoch: 5), gate: gate) == "not ours")
        var named = command("a", epoch: 5)
        named.agentType = "lamp_keeper"
        #expect(verdict(named, gate: gate).hasPrefix("refuse: \"dim_50\" is not a verb of"))
        #expect(verdict(named, known: .recorded(.active), gate: gate) == "answer")
        let undo = command("a", "dim_50", .undo, epoch: 5)
        #expect(verdict(undo, gate: gate) == "undo")
        #expect(verdict(undo, known: .recorded(.active), gate: gate) == "undo")
        #expect(verdict(command("a", "dim_10", epoch: 5), gate: gate) == "execute")
    }

    @Test("each guard stops with its reason")
    func refusals() {
        #expect(
            verdict(command("a", epoch: 4)) == "refuse: epoch 4 is over: 5 has been seen")
        #expect(
            verdict(command("a", epoch: 5), gate: gate(denied: ["dim_50"]))
                == "refuse: dim_50 is denied on this node (local.actions.deny)")
        #expect(
            verdict(command("a", epoch: 5), gate: gate(allowed: ["dim_10"]))
                == "refuse: dim_50 is not allowed on this node (local.actions.allow)")
        #expect(
            verdict(command("a", epoch: 5, deadline: 9.5))
                == "refuse for now: the deadline 2023-11-14T22:13:29.500Z has passed: "
                + "it is 2023-11-14T22:13:30Z here")
        #expect(
            verdict(command("a", epoch: 5, deadline: 100_000)).hasPrefix("refuse: the deadline"))
        #expect(
            verdict(command("a", epoch: 5), gate: gate(obstacle: "the disk is full"))
                == "refuse for now: the disk is full")
    }

    @Test("deny is stronger than allow, and comes before the deadline")
    func order() {
        let both = gate(allowed: ["dim_50"], denied: ["dim_50"], obstacle: "full")
        #expect(verdict(command("a", epoch: 5, deadline: 0), gate: both).contains("denied"))
        #expect(verdict(command("a", epoch: 1, deadline: 0), gate: both).contains("epoch"))
    }

    @Test("a dry run needs no journal; the node's own setting makes one of every command")
    func dryRun() {
        let dry = changed { $0.dryRun = true }
        #expect(verdict(dry, gate: gate(obstacle: "full")) == "dry run")
        #expect(verdict(dry, gate: gate(denied: ["dim_50"])).hasPrefix("refuse"))
        var node = gate()
        node.dryRun = true
        #expect(verdict(command("a", epoch: 5), gate: node) == "dry run")
    }

    @Test("a repeat is answered, whatever has changed since")
    func repeats() {
        for known in [CommandGate.Known.waiting, .recorded(.active), .recorded(.finished)] {
            let late = command("a", epoch: 1, deadline: 0)
            #expect(
                verdict(late, known: known, gate: gate(denied: ["dim_50"], obstacle: "full"))
                    == "answer")
        }
    }

    @Test("a renewal needs something in force, and its deadline")
    func renewals() {
        let renew = command("a", "dim_50", .renew, epoch: 5)
        #expect(verdict(renew, known: .recorded(.active)) == "renew")
        #expect(verdict(renew, known: .recorded(.finished)) == "answer")
        #expect(verdict(renew, known: .waiting) == "answer")
        #expect(verdict(renew) == "refuse: \"a\" is not in force on this node")
        let late = command("a", "dim_50", .renew, epoch: 5, deadline: 1)
        #expect(verdict(late, known: .recorded(.active)).hasPrefix("refuse for now"))
        let old = command("a", "dim_50", .renew, epoch: 4)
        #expect(verdict(old, known: .recorded(.active)).hasPrefix("ignore: epoch 4"))
    }

    @Test("an undo is never too late, never denied, and only stopped by a newer coordinator")
    func undos() {
        let undo = command("a", "dim_50", .undo, epoch: 5, deadline: 0)
        let strict = gate(allowed: [], denied: ["dim_50"], obstacle: "full")
        #expect(verdict(undo, known: .recorded(.active), gate: strict) == "undo")
        #expect(verdict(undo, gate: strict) == "undo")
        let old = command("a", "dim_50", .undo, epoch: 4)
        #expect(verdict(old, known: .recorded(.active)).hasPrefix("ignore"))
        let bell = command("a", "ring", .undo, epoch: 5)
        #expect(verdict(bell, known: .recorded(.finished)) == "refuse: ring cannot be undone")
        // Its verb is not offered any more: what it did can still be taken back.
        let gone = command("a", "dim_70", .undo, epoch: 5)
        #expect(verdict(gone, known: .recorded(.active)) == "undo")
        #expect(verdict(gone) == "not ours")
    }
}
