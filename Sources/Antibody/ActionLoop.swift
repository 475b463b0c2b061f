import Protocol
import Runtime

/// The loop of one agent's `ActionRunner`: one input after the other.
struct ActionLoop {
    /// The longest sleep, so that a clock that stands still in sleep is looked at again.
    private static let longestSleep: Duration = .seconds(60)

    private let runner: ActionRunner
    private var desk: ActionDesk
    private var state: AgentState?
    /// Where the state is to be, when it could not be opened.
    private var missingDirectory: String?
    /// A record could not be written: the next write is of everything.
    private var needsRewrite = false
    /// Of log lines about refusals, which cost their sender nothing.
    private var complaints = RateLimit(20, per: .seconds(10))
    private var mending = Backoff(base: .seconds(2), limit: .seconds(60), seed: 3)
    /// When to try again to make the journal whole, since boot.
    private var nextMend: Duration?

    init(runner: ActionRunner, start: AgentStart) {
        self.runner = runner
        let facts = runner.verbs.values.map { verb in
            VerbFacts(
                name: verb.name, family: verb.family, isReversible: verb.isReversible,
                isRepeatable: verb.isRepeatable, isObservable: verb.isObservable)
        }
        var gate = CommandGate(identity: runner.identity, verbs: facts)
        switch start {
        case .opened(let state, let ledger):
            self.state = state
            gate.obstacle = state.journal.damage
            desk = ActionDesk(gate: gate, ledger: ledger)
        case .failed(let reason, let directory):
            gate.obstacle = reason
            missingDirectory = directory
            desk = ActionDesk(gate: gate, ledger: Ledger())
        }
        if let obstacle = gate.obstacle {
            runner.log.error("cannot act on this node", ["reason": obstacle])
        }
    }

    mutating func run() async {
        if missingDirectory != nil { nextMend = runner.moment.boot + mending.next() }
        await perform(desk.resume(at: runner.moment))
        while !Task.isCancelled {
            for input in runner.takeInputs() { await handle(input) }
            await mend()
            await handle(.tick)
            runner.publish(
                ActionRunner.Status(
                    active: desk.activeActions(at: runner.moment), obstacle: desk.gate.obstacle))
            if desk.isStopping, desk.isSettled { break }
            await runner.wait(atMost: pause)
        }
        // A disk that hangs holds the journal, too; the end of the process lets go of it.
        if !runner.diskThread.isHanging { state?.close() }
    }

    private var pause: Duration {
        let due = [desk.nextDue, nextMend].compactMap { $0 }.min()
        guard let due else { return Self.longestSleep }
        return min(max(due - runner.moment.boot, .zero), Self.longestSleep)
    }

    private mutating func handle(_ input: ActionDesk.Input) async {
        await perform(desk.handle(input, at: runner.moment))
    }

    private mutating func perform(_ directives: [ActionDesk.Directive]) async {
        // Whether everything the desk knows is on the disk, what follows in this list included.
        var isWhole = false
        for directive in directives {
            switch directive {
            case .commit(let records):
                if let reason = await write(records, &isWhole) {
                    return await handle(.commitFailed(reason: reason))
                }
            case .append(let records):
                if let reason = await write(records, &isWhole) {
                    runner.log.error("the journal does not take a record", ["reason": reason])
                }
            case .publish(let result):
                report(result)
                runner.results.put(result)
            case .repeated(let result):
                runner.log.debug(
                    "said again", ["action": result.actionID, "status": result.status.rawValue])
                runner.results.put(result)
            case .ignored(let id, let reason):
                runner.log.info("command ignored", ["action": id, "reason": reason])
            case .plan(let number, let name, let call): plan(number, name, call)
            case .execute(let number, let name, let plan): execute(number, name, plan)
            case .undo(let number, let name, let undo, let remaining):
                self.undo(number, name, undo, remaining)
            case .look(let number, let name, let undo, let effect):
                look(number, name, undo, effect)
            }
        }
    }

    private mutating func report(_ result: CommandResult) {
        let line: Logger.Fields = [
            "incident": result.incident ?? "", "action": result.actionID,
            "verb": result.actionType, "outcome": result.outcome?.rawValue ?? "",
            "reason": result.reason ?? "",
        ]
        switch result.status {
        case .accepted: runner.log.debug("accepted", line)
        case .refused:
            if let held = complaints.pass(at: runner.moment.boot) {
                let count = held == 0 ? "" : "\(held)"
                runner.log.with(["not_logged": count]).warning("refused", line)
            }
        // The coordinator goes on with the next step; a human is asked when there is none.
        case .done where result.outcome != .succeeded: runner.log.warning("failed", line)
        case .done: runner.log.info("done", line)
        case .undone: runner.log.info("undone", line)
        }
    }

    // MARK: Verbs

    private func plan(_ number: Int, _ name: String, _ call: VerbCall) {
        guard let verb = runner.verbs[name] else { return }
        runner.call {
            do throws(VerbFailure) { return .planned(number, .success(try verb.plan(call))) } catch
            {
                return .planned(number, .failure(error))
            }
        }
    }

    private func execute(_ number: Int, _ name: String, _ plan: VerbPlan) {
        guard let verb = runner.verbs[name] else { return }
        runner.call {
            do throws(VerbFailure) {
                return .executed(number, .success(try verb.execute(plan)))
            } catch {
                return .executed(number, .failure(error))
            }
        }
    }

    private func undo(
        _ number: Int, _ name: String, _ undo: JSON.Object, _ remaining: [JSON.Object]
    ) {
        guard let verb = runner.verbs[name] else { return }
        let log = runner.log
        runner.call {
            do throws(VerbFailure) {
                return .undone(number, .success(try verb.undo(undo, remaining: remaining)))
            } catch {
                log.error("cannot undo, trying again", ["verb": name, "reason": error])
                return .undone(number, .failure(error))
            }
        }
    }

    private func look(
        _ number: Int, _ name: String, _ undo: JSON.Object, _ effect: JSON.Object
    ) {
        guard let verb = runner.verbs[name] else { return }
        runner.call {
            .looked(number, foreignChange: verb.foreignChange(undo, effect: effect))
        }
    }

    // MARK: The journal

    /// Returns why it is not on the disk, or `nil` when it is.
    private mutating func write(_ records: [JournalRecord], _ isWhole: inout Bool) async -> String?
    {
        if isWhole { return nil }
        guard let journal = state?.journal, journal.damage == nil else {
            return desk.gate.obstacle ?? "there is no journal"
        }
        if needsRewrite || journal.isLong {
            let reason = await rewrite(journal)
            isWhole = reason == nil
            // A journal that is only long can still be added to.
            if isWhole || needsRewrite { return reason }
        }
        let reason = await onDisk { () throws(JournalFile.Failure) in try journal.append(records) }
        if let reason { failed(reason) }
        return reason
    }

    private mutating func rewrite(_ journal: JournalFile) async -> String? {
        let ledger = desk.ledger
        let reason = await onDisk { () throws(JournalFile.Failure) in try journal.rewrite(ledger) }
        if reason == nil { needsRewrite = false }
        return reason
    }

    private func onDisk(
        _ body: @escaping @Sendable () throws(JournalFile.Failure) -> Void
    ) async -> String? {
        guard !runner.diskThread.isHanging else {
            return "the disk has not answered since the last write"
        }
        do {
            try await withTimeLimit(ActionRunner.diskLimit, on: runner.diskThread, body)
            return nil
        } catch {
            return "\(error)"
        }
    }

    private mutating func failed(_ reason: String) {
        needsRewrite = true
        let obstacle = "the undo journal cannot be written: \(reason)"
        runner.log.error("cannot act on this node until that is mended", ["reason": obstacle])
        desk.setObstacle(obstacle)
        nextMend = runner.moment.boot + mending.next()
    }

    /// Tries again to open the journal, or to make it whole.
    private mutating func mend() async {
        guard let due = nextMend, due <= runner.moment.boot else { return }
        nextMend = nil
        var reason: String?
        if let directory = missingDirectory {
            reason = await reopen(directory)
        } else if needsRewrite, let journal = state?.journal {
            reason = await rewrite(journal)
        }
        if reason != nil {
            nextMend = runner.moment.boot + mending.next()
        } else if state?.journal.damage == nil {
            mending.reset()
            runner.log.info("can act on this node again")
            await handle(.obstacle(nil))
        }
    }

    private mutating func reopen(_ directory: String) async -> String? {
        let identity = runner.identity
        let opened = try? await withTimeLimit(ActionRunner.diskLimit, on: runner.diskThread) {
            try AgentState.open(directory: directory, identity: identity)
        }
        guard let (state, ledger) = opened else { return "still not there" }
        self.state = state
        missingDirectory = nil
        if let damage = state.journal.damage { await handle(.obstacle(damage)) }
        await perform(desk.adopt(ledger, at: runner.moment))
        return nil
    }
}
