import Protocol

/// Commands: from their arrival to the moment they are the one being executed.
extension ActionDesk {
    mutating func handle(_ command: Command, at now: Moment, _ directives: inout [Directive]) {
        let known = known(command.actionID)
        let verdict = gate.judge(
            command, known: known, highestEpoch: ledger.highestEpoch, at: now.wall)
        switch verdict {
        case .notOurs: return
        case .ignore(let reason):
            directives.append(.ignored(actionID: command.actionID, reason: reason))
            return
        case .refuse(let reason, let isTransient):
            if command.operation == .undo, let entry = ledger[command.actionID] {
                // Else the no would be taken for one to executing it.
                guard !entry.results.isEmpty else {
                    directives.append(.publish(result(of: command, .accepted, at: now)))
                    break
                }
                directives += entry.results.map(Directive.repeated)
            }
            let isLate = gate.lateness(of: command, at: now.wall) != nil
            refuse(
                command, reason, isTransient: isTransient,
                remember: known == .unknown && command.operation == .execute && !isLate, at: now,
                &directives)
        case .answer: answer(command, known, at: now, &directives)
        case .execute(let dryRun): enqueue(command, dryRun: dryRun, at: now, &directives)
        case .renew: renew(command, at: now, &directives)
        case .undo: undo(command, known, at: now, &directives)
        }
        if let epoch = command.epoch, epoch > ledger.highestEpoch ?? .min {
            record(.epoch(epoch), &directives)
        }
    }

    private func known(_ id: String) -> CommandGate.Known {
        if let entry = ledger[id] { return .recorded(entry.phase) }
        let isWaiting = queue.contains { $0.actionID == id } || job?.actionID == id
        return isWaiting ? .waiting : .unknown
    }

    /// Says no. With `remember` a repeat is refused as well, so that a command that was refused once is
    /// not executed when a copy of it arrives later.
    mutating func refuse(
        _ command: Command, _ reason: String, isTransient: Bool, remember: Bool,
        isBusy: Bool = false, at now: Moment, _ directives: inout [Directive]
    ) {
        let outcome: CommandResult.Outcome = isTransient ? .transientFailure : .permanentFailure
        var result = result(of: command, .refused, outcome, reason, at: now)
        result.isBusy = isBusy
        // Not in the journal: refusing costs no disk. A restart may forget it.
        if remember, ledger.order.count < Self.rememberedLimit {
            _ = ledger.apply(
                .closed(id: command.actionID, result, keepUntil: keepUntil(command, at: now)))
        }
        directives.append(.publish(result))
    }

    private mutating func answer(
        _ command: Command, _ known: CommandGate.Known, at now: Moment,
        _ directives: inout [Directive]
    ) {
        if let index = queue.firstIndex(where: { $0.actionID == command.actionID }),
            let epoch = command.epoch, epoch > queue[index].epoch ?? .min
        {
            // A new coordinator has taken the waiting command over.
            queue[index].epoch = epoch
            queue[index].deadline = command.deadline
        }
        let results = ledger[command.actionID]?.results ?? []
        guard results.isEmpty else {
            directives += results.map(Directive.repeated)
            return
        }
        directives.append(.repeated(result(of: command, .accepted, at: now)))
    }

    private mutating func enqueue(
        _ command: Command, dryRun: Bool, at now: Moment, _ directives: inout [Directive]
    ) {
        if let reason = busyReason(at: now) {
            // Not remembered: a full memory is one of the reasons, and the next copy may find room.
            refuse(
                command, "busy: \(reason)", isTransient: true, remember: false, isBusy: true,
                at: now, &directives)
            return
        }
        var command = command
        command.dryRun = dryRun
        queue.append(command)
        directives.append(.publish(result(of: command, .accepted, at: now)))
    }

    private mutating func busyReason(at now: Moment) -> String? {
        if isStopping { return "the agent is stopping" }
        if queue.count >= Self.queueLimit { return "\(queue.count) commands are waiting" }
        let inForce = ledger.entries.values.count(where: \.mayBeInForce)
        if inForce >= Self.activeLimit { return "\(inForce) actions are in force" }
        if let job, job.isOverdue { return "\(job.actionID) hangs" }
        guard ledger.order.count + queue.count >= Self.rememberedLimit else { return nil }
        ledger.forget(at: now.wall + Self.rememberedFor)
        guard ledger.order.count + queue.count >= Self.rememberedLimit else { return nil }
        return "\(Self.rememberedLimit) commands are remembered"
    }

    private mutating func renew(
        _ command: Command, at now: Moment, _ directives: inout [Directive]
    ) {
        let id = command.actionID
        if undoTasks[id] != nil || isAtWork(on: id) {
            // On its way out; its `undone` is the answer.
            directives.append(.ignored(actionID: id, reason: "it is being taken back"))
            return
        }
        let length = command.lease ?? Self.defaultLease
        let lease = Lease(boot: identity.bootID, until: now.boot + length)
        record(.renewed(id: id, lease), &directives)
    }

    private mutating func undo(
        _ command: Command, _ known: CommandGate.Known, at now: Moment,
        _ directives: inout [Directive]
    ) {
        let id = command.actionID
        switch known {
        case .recorded(.planned):
            job?.undoReason = UndoTask.asked
            directives.append(.publish(result(of: command, .accepted, at: now)))
        case .recorded(.active), .recorded(.restoring):
            scheduleUndo(id, UndoTask.asked, at: now)
            // Somebody wants it now, so the pause after a failed try is cut short.
            undoTasks[id]?.nextTry = now.boot
        case .recorded(.finished):
            let results = ledger[id]?.results ?? []
            if let last = results.last, last.status == .undone {
                directives.append(.repeated(last))
                return
            }
            directives += results.map(Directive.repeated)
            let nothing = "nothing of it is in force"
            directives.append(
                .publish(result(of: command, .undone, .succeeded, nothing, at: now)))
        case .waiting:
            if job?.actionID == id {
                job?.undoReason = UndoTask.asked
                return
            }
            queue.removeAll { $0.actionID == id }
            close(command, "it had not begun", at: now, &directives)
        case .unknown: close(command, "nothing is known of it on this node", at: now, &directives)
        }
    }

    /// Ends an action that has changed nothing, so that a copy of its command finds it ended.
    mutating func close(
        _ command: Command, _ reason: String, at now: Moment, _ directives: inout [Directive]
    ) {
        let result = result(of: command, .undone, .succeeded, reason, at: now)
        conclude(command, result, at: now, &directives)
    }

    /// Remembers and publishes the final result of an action that has changed nothing.
    mutating func conclude(
        _ command: Command, _ result: CommandResult, at now: Moment,
        _ directives: inout [Directive]
    ) {
        // Repeats of undos that nobody knows must not fill the memory.
        if ledger.order.count < Self.rememberedLimit {
            let keepUntil = keepUntil(command, at: now)
            record(
                .closed(id: command.actionID, result, keepUntil: keepUntil), &directives)
        }
        directives.append(.publish(result))
    }
}
