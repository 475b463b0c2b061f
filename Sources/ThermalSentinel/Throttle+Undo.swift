import Antibody
import Protocol

extension Throttle {
    /// What became of one knob that was to be restored.
    enum Restored: Equatable {
        /// It says again what it said before, or what the remaining actions want. `effective` is what
        /// is read back, where something else still holds it lower.
        case restored(effective: Int64?)
        /// It did already.
        case unchanged
        /// Somebody else has set it to something else since; that stays.
        case superseded(value: Int64)
        /// It is not there any more: a processor or a card was taken out.
        case missing
        case failed(KnobIO.Failure)

        var word: String {
            switch self {
            case .restored: "restored"
            case .unchanged: "unchanged"
            case .superseded: "superseded"
            case .missing: "missing"
            case .failed: "failed"
            }
        }
    }

    /// Takes back one action: each of its knobs goes to the lowest target of the actions that remain,
    /// or to the exact text it had before the first.
    ///
    /// A knob that says neither what it was nor what we set is somebody else's now, and stays as it is
    /// (`superseded`), unless the value turns out to be our own, clamped by the driver or held down by
    /// the kernel. That is found out by writing our own value again: when the knob then still says the
    /// same, it was ours; when it changes, it was not, and the foreign value is put back.
    func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object {
        let others = remaining.flatMap(KnobRecord.all)
        var entries: [JSON] = []
        var counts: [String: Int64] = [:]
        var failures: [KnobIO.Failure] = []
        for record in KnobRecord.all(in: undo) {
            let result = restore(record, remaining: others.filter { $0.path == record.path })
            counts[result.word, default: 0] += 1
            var entry: JSON.Object = [
                "path": .string(shown(record.path)), "state": .string(result.word),
            ]
            switch result {
            case .restored(let effective):
                if let effective { entry["effective"] = .integer(effective) }
            case .superseded(let value): entry["value"] = .integer(value)
            case .failed(let failure): failures.append(failure)
            case .unchanged, .missing: break
            }
            entries.append(.object(entry))
        }
        guard failures.isEmpty else {
            throw VerbFailure(
                isTransient: failures.allSatisfy(\.isTransient),
                reason: failureText("could not restore everything", failures.map(\.reason)))
        }
        var result: JSON.Object = ["knobs": .array(entries)]
        for (word, count) in counts.sorted(by: { $0.key < $1.key }) {
            result[word] = .integer(count)
        }
        return result
    }

    /// Restores one knob.
    /// - `remaining`: the records of the same knob that other actions in force hold.
    func restore(_ record: KnobRecord, remaining: [KnobRecord]) -> Restored {
        guard let original = record.originalValue, let own = record.targetValue else {
            return .failed(unreadable(record))
        }
        let lowest = remaining.min { ($0.targetValue ?? .max) < ($1.targetValue ?? .max) }
        let wanted = lowest?.target ?? record.original
        let wantedValue = lowest?.targetValue ?? original
        // What the knob says if nobody but us has touched it.
        let expected = min(own, wantedValue)
        let expectedText = own <= wantedValue ? record.target : wanted
        do throws(KnobIO.Failure) {
            guard let now = KnobText.value(try io.read(record.path), kind: record.kind) else {
                return .failed(unreadable(record))
            }
            if now == wantedValue { return .unchanged }
            // Restored by hand, or raised beyond: undoing must not lower anything.
            if now >= original { return now == original ? .unchanged : .superseded(value: now) }
            if now != expected {
                try io.write(record.path, expectedText)
                let probed = try io.settle(record, at: expected)
                if probed != now {
                    let foreign = KnobText.text(now, kind: record.kind, like: record.original)
                    try io.write(record.path, foreign)
                    return .superseded(value: now)
                }
                if expected == wantedValue { return .unchanged }
            }
            try io.write(record.path, wanted)
            let effective = try io.settle(record, at: wantedValue)
            return .restored(effective: effective == wantedValue ? nil : effective)
        } catch {
            return error.isMissing ? .missing : .failed(error)
        }
    }
}
