import Antibody
import Protocol

/// A lamp with a dimmer, the disk of its node, and a desk that works on them: everything around the
/// desk, without clock, threads and files, so that a crash can be placed between any two steps.
struct DeskWorld {
    /// What the lamp gives, in percent.
    var level: Int64 = 100
    /// How often the bell rang.
    var rings = 0
    /// The journal as it is on the disk.
    var disk: [UInt8] = []
    var desk: ActionDesk
    var now: Double = 0
    var boot = 1
    /// Everything published, as `id status outcome`.
    var published: [String] = []
    var results: [CommandResult] = []
    /// How many of them had not been said before.
    var news = 0
    /// Ids in the order in which they were executed.
    var executed: [String] = []
    /// Verb calls that have not been answered.
    var calls: [ActionDesk.Directive] = []
    /// Verbs do not answer by themselves.
    var holdsCalls = false
    /// Why the next calls fail, first one first; `nil`: that one succeeds.
    var failures: [VerbFailure?] = []
    /// Writing fails.
    var isDiskFull = false
    private var needsRewrite = false
    /// Steps until the process is killed.
    var stepsToCrash: Int?
    var hasCrashed = false
    var ignored = 0

    init() {
        desk = ActionDesk(
            gate: CommandGate(identity: Self.agent(1), verbs: facts), ledger: Ledger())
        disk = JournalText.header(agent: identity.agentID)
        perform(desk.resume(at: moment))
    }

    static func agent(_ boot: Int) -> AgentIdentity {
        AgentIdentity(
            name: "lamp", agentType: "lamp_keeper", node: "nova", startID: "1f", started: at(0),
            bootID: "boot-\(boot)")
    }

    /// A reboot starts the uptime anew.
    var moment: Moment {
        Moment(wall: at(now), boot: .milliseconds(Int64(now * 1000)) + .seconds(boot * 1000))
    }

    mutating func send(_ input: ActionDesk.Input) {
        guard !hasCrashed else { return }
        perform(desk.handle(input, at: moment))
    }

    mutating func send(_ command: Command) { send(.command(command)) }

    mutating func wait(_ seconds: Double) {
        now += seconds
        send(.tick)
    }

    /// Starts a new process on what the disk holds.
    mutating func restart(reboot: Bool = false) {
        if reboot { boot += 1 }
        let contents = JournalText.read(disk, agent: identity.agentID)
        precondition(contents.damage == nil, contents.damage ?? "")
        disk = Array(disk.prefix(contents.goodLength))
        let gate = CommandGate(identity: Self.agent(boot), verbs: facts)
        desk = ActionDesk(gate: gate, ledger: contents.ledger)
        calls = []
        needsRewrite = false
        hasCrashed = false
        stepsToCrash = nil
        perform(desk.resume(at: moment))
    }

    /// Answers the oldest call.
    mutating func answerCall() {
        guard !calls.isEmpty else { return }
        let call = calls.removeFirst()
        let failure = failures.isEmpty ? nil : failures.removeFirst()
        switch call {
        case .plan(let number, let verb, let call):
            send(.planned(number, failure.map(Result.failure) ?? .success(plan(verb, call))))
        case .execute(let number, let verb, let plan):
            // A failing verb may have done half of its work.
            if verb == "ring" { rings += 1 } else { level = plan.effect["level"]?.integer ?? 0 }
            send(.executed(number, failure.map(Result.failure) ?? .success(plan.effect)))
        case .undo(let number, _, let undo, let remaining):
            if let failure { return send(.undone(number, .failure(failure))) }
            level =
                remaining.compactMap { $0["level"]?.integer }.min() ?? undo["base"]?.integer ?? 0
            send(.undone(number, .success(["level": .integer(level)])))
        case .look(let number, _, _, _):
            send(.looked(number, foreignChange: failure.map(\.reason)))
        default: break
        }
    }

    private func plan(_ verb: String, _ call: VerbCall) -> VerbPlan {
        guard verb != "ring" else { return VerbPlan(undo: [:], effect: ["rings": 1]) }
        let wanted: Int64 = verb == "dim_10" ? 90 : 50
        let base = call.active.first?["base"] ?? .integer(level)
        let levels = call.active.compactMap { $0["level"]?.integer } + [wanted]
        return VerbPlan(
            undo: ["base": base, "level": .integer(wanted)],
            effect: ["level": .integer(levels.min() ?? wanted)])
    }

    private mutating func perform(_ directives: [ActionDesk.Directive]) {
        var isWhole = false
        for directive in directives {
            if let steps = stepsToCrash {
                stepsToCrash = steps - 1
                if steps == 0 {
                    hasCrashed = true
                    return
                }
            }
            switch directive {
            case .commit(let records):
                guard write(records, &isWhole) else {
                    return send(.commitFailed(reason: "the disk is full"))
                }
            case .append(let records): _ = write(records, &isWhole)
            case .execute(_, _, let plan):
                executed.append(desk.activeActions(at: moment).last?.id ?? "")
                precondition(isDurable(plan), "executed without its undo on the disk")
                calls.append(directive)
            case .plan, .undo, .look: calls.append(directive)
            case .publish(let result), .repeated(let result):
                if case .publish = directive { news += 1 }
                results.append(result)
                let outcome = result.outcome.map { " \($0.rawValue)" } ?? ""
                published.append("\(result.actionID) \(result.status.rawValue)\(outcome)")
            case .ignored: ignored += 1
            }
        }
        while !holdsCalls, !calls.isEmpty, !hasCrashed { answerCall() }
    }

    /// As the shell does: once a record could not be written, the next write is of everything.
    private mutating func write(_ records: [JournalRecord], _ isWhole: inout Bool) -> Bool {
        if isDiskFull {
            needsRewrite = true
            return false
        }
        if needsRewrite {
            let records = desk.ledger.records
            disk = JournalText.header(agent: identity.agentID) + records.flatMap(JournalText.line)
            needsRewrite = false
            isWhole = true
        } else if !isWhole {
            disk += records.flatMap(JournalText.line)
        }
        return true
    }

    /// Whether the plan is the last thing on the disk.
    private func isDurable(_ plan: VerbPlan) -> Bool {
        let lines = disk.split(separator: 0x0A)
        guard let line = lines.last, let object = try? JSON.parse(Array(line.dropFirst(9))).object
        else { return false }
        return object["record"] == "planned" && object["undo"] == .object(plan.undo)
    }
}
