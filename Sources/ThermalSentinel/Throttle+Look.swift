import Protocol

extension Throttle {
    /// What somebody else has done to the knobs of an action in force: each of those that it holds says more
    /// than it was set to, and more than it said then. As long as one of them is held, and where one cannot
    /// be read, nothing is said: a processor that was taken out and put back has a new knob, which is no
    /// reason to let go of the others.
    func foreignChange(_ undo: JSON.Object, effect: JSON.Object) -> String? {
        var held: [String: Int64] = [:]
        for knob in (effect["knobs"]?.array ?? []).compactMap(\.object) {
            guard let path = knob["path"]?.string else { continue }
            held[path] = knob["effective"]?.integer
        }
        var raised: [String] = []
        for record in KnobRecord.all(in: undo) {
            // What could not be set is not held.
            guard let effective = held[shown(record.path)], let target = record.targetValue else {
                continue
            }
            let text: String
            do throws(KnobIO.Failure) { text = try io.read(record.path) } catch {
                if error.isMissing { continue }
                return nil
            }
            guard let value = KnobText.value(text, kind: record.kind),
                value > max(target, effective)
            else { return nil }
            raised.append("\(shown(record.path)) says \(trimmed(text))")
        }
        guard !raised.isEmpty else { return nil }
        return failureText("somebody else has changed what it had set", raised)
    }
}
