package import Antibody
package import Protocol

/// Alerts that an earlier process has raised and that nothing is known about any more: without a word
/// they would stand for ever.
package struct Leftovers: Sendable {
    /// How long it is told that they are over; once is enough, but a look may fail.
    static let toldFor: Duration = .seconds(60)

    private var keys: Set<AlertKeeper.Key> = []
    private var until: Timestamp?

    package init() {}

    /// It is known by now what is broken. Only the first call counts.
    package mutating func begin(_ raised: [AlertKeeper.Key], at now: Timestamp) {
        guard until == nil else { return }
        keys = Set(raised)
        until = now + Self.toldFor
    }

    /// What is to be cleared: all that is neither among the symptoms nor broken.
    package mutating func symptoms(
        beside others: [Symptom], at now: Timestamp, isBroken: (_ chainID: String) -> Bool
    ) -> [Symptom] {
        guard let until, !keys.isEmpty else { return [] }
        guard now < until else {
            keys = []
            return []
        }
        for symptom in others {
            keys.remove(AlertKeeper.Key(type: symptom.type, resource: symptom.resource))
        }
        return keys.sorted().filter { !isBroken($0.resource) }.map { key in
            Symptom(
                type: key.type, resource: key.resource, severity: .ok,
                message: "nothing is known of it since the agent started again")
        }
    }
}
