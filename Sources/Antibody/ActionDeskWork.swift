import Protocol

/// Work: one verb call at a time, and what follows from its outcome.
extension ActionDesk {
    /// Starts the next piece of work when nothing runs: first what is to be taken back, latest first,
    /// then what is to be done.
    mutating func advance(at now: Moment, _ directives: inout [Directive]) {
        // Ends: a try to undo that fails at once comes due later, and commands become fewer.
        while job == nil {
            let due = ledger.ordered.last { entry in
                undoTasks[entry.action.id].map { $0.nextTry <= now.boot } ?? false
            }
            if let due {
                startUndo(of: due, at: now, &directives)
            } else if !queue.isEmpty {
                start(queue.removeFirst(), at: now, &directives)
            } else {
                return startLook(at: now, &directives)
            }
        }
    }

    private mutating func start(
        _ command: Command, at now: Moment, _ directives: inout [Directive]
    ) {
        // It may have waited; and what it found at its arrival may have changed.
        let verdict = gate.judge(
            command, known: .unknown, highestEpoch: ledger.highestEpoch, at: now.wall)
        if case .refuse(let reason, let isTransient) = verdict {
            // Too late only because it has waited here.
            let isBusy = gate.lateness(of: command, at: now.wall) != nil
            return refuse(
                command, reason, isTransient: isTransient, remember: true, isBusy: isBusy, at: now,
                &directives)
        }
        guard let verb = gate.verbs[command.actionType] else {
            preconditionFailure("the gate has refused unknown verbs, and verbs do not change")
        }
        let dryRun = command.dryRun || gate.dryRun
        let number = begin(.planning(command, dryRun: dryRun), at: now)
        let call = VerbCall(
            parameters: command.parameters, active: inForce(verb.family), isDryRun: dryRun)
        directives.append(.plan(number, verb: verb.name, call))
    }

    private mutating func startUndo(
        of entry: Ledger.Entry, at now: Moment, _ directives: inout [Directive]
    ) {
        let action = entry.action
        // Verbs of a family undo one another's actions, should the verb itself not be offered any more.
        let family = gate.verbs.values.filter { $0.family == action.family && $0.isReversible }
        let verb = gate.verbs[action.verb] ?? family.min { $0.name < $1.name }
        let number = begin(.undoing(action.id), at: now)
        guard let verb else {
            let failure = VerbFailure(
                isTransient: true, reason: "no verb of this agent can undo \(action.verb)")
            return undone(.failure(failure), at: now, &directives)
        }
        directives.append(
            .undo(
                number, verb: verb.name, undo: action.undo, remaining: remaining(action.family)))
    }

    mutating func planned(
        _ plan: Result<VerbPlan, VerbFailure>, at now: Moment, _ directives: inout [Directive]
    ) {
        guard let job, case .planning(let command, let dryRun) = job.kind else { return }
        self.job = nil
        if job.isOverdue { return }
        if let reason = job.undoReason {
            return close(command, "not executed: \(reason)", at: now, &directives)
        }
        switch plan {
        case .failure(let failure):
            var result = result(of: command, .done, outcome(of: failure), failure.reason, at: now)
            result.durationMilliseconds = milliseconds(since: job.started, now)
            result.dryRun = dryRun
            guard !dryRun else { return directives.append(.publish(result)) }
            conclude(command, result, at: now, &directives)
        case .success(let plan) where dryRun:
            var result = result(of: command, .done, .succeeded, at: now)
            result.reason = "a dry run: nothing was changed"
            result.durationMilliseconds = milliseconds(since: job.started, now)
            result.effect = plan.effect
            result.dryRun = true
            directives.append(.publish(result))
        case .success(let plan):
            commit(plan, of: command, at: now, &directives)
        }
    }

    private mutating func commit(
        _ plan: VerbPlan, of command: Command, at now: Moment, _ directives: inout [Directive]
    ) {
        if case .refuse(let reason, let isTransient)? = gate.lateness(of: command, at: now.wall) {
            return refuse(
                command, reason, isTransient: isTransient, remember: false, at: now, &directives)
        }
        guard !isStopping, let verb = gate.verbs[command.actionType] else {
            return refuse(
                command, "busy: the agent is stopping", isTransient: true, remember: false,
                isBusy: true, at: now, &directives)
        }
        let action = PlannedAction(
            id: command.actionID, verb: verb.name, family: verb.family,
            isReversible: verb.isReversible, undo: plan.undo, incident: command.incident,
            epoch: command.epoch, keepUntil: keepUntil(command, at: now))
        let makesSense = ledger.apply(.planned(action))
        precondition(makesSense, "an id that is known is never planned again")
        let number = begin(.executing(command), at: now)
        directives.append(.commit([.planned(action)]))
        directives.append(.execute(number, verb: verb.name, plan))
    }

    mutating func commitFailed(
        _ reason: String, at now: Moment, _ directives: inout [Directive]
    ) {
        guard let job, case .executing(let command) = job.kind else { return }
        self.job = nil
        ledger.remove(command.actionID)
        refuse(
            command, "nothing was done: \(reason)", isTransient: true, remember: true, at: now,
            &directives)
    }

    mutating func executed(
        _ outcome: Result<JSON.Object, VerbFailure>, at now: Moment,
        _ directives: inout [Directive]
    ) {
        guard let job, case .executing(let command) = job.kind,
            let entry = ledger[command.actionID]
        else { return }
        self.job = nil
        let id = command.actionID
        if job.isOverdue {
            // Reported as unknown already; what it may have done in the end is taken back.
            if entry.action.isReversible { scheduleUndo(id, "it took too long", at: now) }
            return
        }
        var result: CommandResult
        var lease: Lease?
        switch outcome {
        case .success(let effect):
            result = self.result(of: entry.action, .done, .succeeded, at: now)
            result.effect = effect
            lease = entry.action.isReversible ? newLease(for: command, at: now) : nil
        case .failure(let failure):
            result = self.result(of: entry.action, .done, self.outcome(of: failure), at: now)
            result.reason = failure.reason
        }
        result.durationMilliseconds = milliseconds(since: job.started, now)
        result.undo = entry.action.isReversible ? entry.action.undo : nil
        record(.done(id: id, result, lease), &directives)
        directives.append(.publish(result))
        guard entry.action.isReversible else { return }
        if let reason = job.undoReason {
            scheduleUndo(id, reason, at: now)
        } else if case .failure = outcome {
            scheduleUndo(id, "it failed", at: now)
        } else {
            watch(id, at: now)
        }
    }

    /// A coordinator that sends no lease wants the action kept. A person by hand will not renew.
    private func newLease(for command: Command, at now: Moment) -> Lease? {
        let length = command.lease ?? (command.epoch == nil ? Self.defaultLease : nil)
        return length.map { Lease(boot: identity.bootID, until: now.boot + $0) }
    }

    mutating func undone(
        _ outcome: Result<JSON.Object, VerbFailure>, at now: Moment,
        _ directives: inout [Directive]
    ) {
        guard let job, case .undoing(let id) = job.kind, let entry = ledger[id] else { return }
        self.job = nil
        switch outcome {
        case .success(let effect):
            let task = undoTasks.removeValue(forKey: id)
            var result = result(of: entry.action, .undone, .succeeded, at: now)
            result.reason = task?.reason
            result.isAsked = task?.reason == UndoTask.asked
            if task?.isSuperseded == true {
                result.outcome = .superseded
                // A coordinator that does not know this outcome must not do the action again either.
                result.isAsked = true
            }
            result.effect = effect
            result.durationMilliseconds = milliseconds(since: job.started, now)
            record(.undone(id: id, result), &directives)
            directives.append(.publish(result))
        case .failure(let failure):
            guard var task = undoTasks[id] else { return }
            task.failure = failure.reason
            task.nextTry = now.boot + task.pause
            task.pause = min(task.pause * 2, Self.undoPauses.upperBound)
            undoTasks[id] = task
        }
    }

    mutating func endLeases(at now: Moment) {
        for id in ledger.order where undoTasks[id] == nil {
            guard let entry = ledger[id], entry.phase == .active, let lease = entry.lease,
                lease.until <= now.boot
            else { continue }
            scheduleUndo(id, "its lease has run out", at: now)
        }
    }

    /// A call that takes too long is a failure whose outcome is not known. The worker stays with it.
    mutating func reportOverdue(at now: Moment, _ directives: inout [Directive]) {
        guard let job, !job.isOverdue, now.boot - job.started >= Self.verbLimit else { return }
        self.job?.isOverdue = true
        let reason = "not done within \(Self.verbLimit): its outcome is not known"
        switch job.kind {
        case .planning(let command, let dryRun):
            let result = result(of: command, .done, .permanentFailure, reason, at: now)
            guard !dryRun else { return directives.append(.publish(result)) }
            conclude(command, result, at: now, &directives)
        case .executing(let command):
            guard let entry = ledger[command.actionID] else { return }
            var result = result(of: entry.action, .done, .permanentFailure, at: now)
            result.reason = reason
            record(.done(id: entry.action.id, result, nil), &directives)
            directives.append(.publish(result))
        case .undoing(let id): undoTasks[id]?.failure = reason
        // Nothing was changed; its answer is still awaited, and nothing else is done meanwhile.
        case .looking: break
        }
    }

    mutating func stop(
        _ keepingActions: Bool, at now: Moment, _ directives: inout [Directive]
    ) {
        isStopping = true
        for command in queue {
            refuse(
                command, "busy: the agent is stopping", isTransient: true, remember: false,
                isBusy: true, at: now, &directives)
        }
        queue = []
        guard !keepingActions else { return }
        for entry in ledger.ordered where entry.phase == .active {
            scheduleUndo(entry.action.id, "the agent stops", at: now)
        }
        if let job, case .executing = job.kind { self.job?.undoReason = "the agent stops" }
    }

    private func outcome(of failure: VerbFailure) -> CommandResult.Outcome {
        failure.isTransient ? .transientFailure : .permanentFailure
    }

    private func milliseconds(since start: Duration, _ now: Moment) -> Double {
        // Three digits are enough, and rounding keeps the text short.
        ((now.boot - start).inSeconds * 1e6).rounded() / 1e3
    }
}
