import Antibody
import Protocol

extension Throttle {
    /// What became of one knob.
    private enum Outcome {
        /// It stands at the target, or as far down as the hardware lets it.
        case lowered(Int64)
        /// It was at or below the target already, by another action or by somebody else.
        case held(Int64)
        case failed(KnobIO.Failure)
    }

    /// Writes the targets, reads them back, and tells what came of it.
    ///
    /// One knob that works is a success: a processor may be gone, a GPU may refuse. What was written
    /// without effect is taken back; when nothing had one, the whole fails.
    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let records = KnobRecord.all(in: plan.undo)
        guard !records.isEmpty else {
            throw VerbFailure(isTransient: false, reason: "the plan names no knob")
        }
        // All are written before any is read back, so that the slow ones settle together.
        let writes = records.map { write($0) }
        var outcomes: [JSON] = []
        var failures: [KnobIO.Failure] = []
        var works = 0
        for (record, write) in zip(records, writes) {
            let outcome =
                switch write {
                case .pending(let before): verify(record, before: before)
                case .decided(let outcome): outcome
                }
            var entry: JSON.Object = ["path": .string(shown(record.path))]
            switch outcome {
            case .lowered(let value):
                entry["effective"] = .integer(value)
                works += 1
            case .held(let value):
                entry["effective"] = .integer(value)
                entry["held"] = true
                works += 1
            case .failed(let failure):
                entry["error"] = .string(failure.reason)
                failures.append(failure)
            }
            outcomes.append(.object(entry))
        }
        guard works > 0 else {
            throw VerbFailure(
                isTransient: failures.contains { $0.isTransient },
                reason: failureText("nothing was throttled", failures.map(\.reason)))
        }
        return ["knobs": .array(outcomes), "failed": .integer(Int64(failures.count))]
    }

    /// A knob after the first pass: written and to be verified, or decided already.
    private enum Write {
        case pending(before: String)
        case decided(Outcome)
    }

    private func write(_ record: KnobRecord) -> Write {
        do throws(KnobIO.Failure) {
            let before = try io.read(record.path)
            guard let target = record.targetValue,
                let now = KnobText.value(before, kind: record.kind)
            else { return .decided(.failed(unreadable(record))) }
            // Never up: another action, or somebody else, wants it lower.
            if now <= target { return .decided(.held(now)) }
            try io.write(record.path, record.target)
            return .pending(before: before)
        } catch { return .decided(.failed(error)) }
    }

    private func verify(_ record: KnobRecord, before: String) -> Outcome {
        do throws(KnobIO.Failure) {
            guard let target = record.targetValue, let value = try io.settle(record, at: target),
                let old = KnobText.value(before, kind: record.kind)
            else { return .failed(takeBack(record, before, unreadable(record))) }
            // Drivers round and clamp; anything lower than before is an effect.
            if value < old { return .lowered(value) }
            let failure = KnobIO.Failure(
                isTransient: false, isMissing: false,
                reason: "\(shown(record.path)): was written \(trimmed(record.target)) but still "
                    + "says \(value): a firmware lock, or another limit that is stronger")
            return .failed(takeBack(record, before, failure))
        } catch { return .failed(takeBack(record, before, error)) }
    }

    /// Writes back what a knob said before this action; another action's limit stays so.
    private func takeBack(
        _ record: KnobRecord, _ before: String, _ failure: KnobIO.Failure
    ) -> KnobIO.Failure {
        var failure = failure
        do throws(KnobIO.Failure) { try io.write(record.path, before) } catch {
            failure.reason += "; and putting it back failed: \(error.reason)"
        }
        return failure
    }

    func unreadable(_ record: KnobRecord) -> KnobIO.Failure {
        KnobIO.Failure(
            isTransient: false, isMissing: false, reason: "\(shown(record.path)): holds no number")
    }
}
