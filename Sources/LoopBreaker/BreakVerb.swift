import Antibody
import Glibc
import Protocol

/// The actions `circuit_break` and `reset_chain`: nothing of a chain passes for the cool-down, nor
/// anything like it between the agents among which it ran.
///
/// There is nothing to undo: it ends by itself, with one trial. Taking it back with the incident would
/// cut the cool-down short as soon as it works.
struct BreakVerb: Verb {
    enum Kind: String, CaseIterable {
        case circuitBreak = "circuit_break"
        case resetChain = "reset_chain"
    }

    /// How long the shared bucket may take to know of it; it is in force here before that.
    private static let shareLimit: Duration = .seconds(2)

    let kind: Kind
    let gatekeeper: Gatekeeper

    var name: String { kind.rawValue }
    var isReversible: Bool { false }
    var family: String { "chain" }

    var summary: String {
        let what =
            kind == .circuitBreak
            ? "let nothing of a chain pass for loop.cooldown, then one trial"
            : "as circuit_break, and forget what the chain has done so far"
        return what + "; parameter resource: the chain's id; pair: two agents, [\"a\",\"b\"]"
    }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let fields = Fields(call.parameters)
        do throws(MessageError) {
            let id = try fields.required(
                "resource",
                try fields.identifier("resource", limit: Envelope.identifierBytes))
            guard !id.isEmpty else { throw fields.error("resource", "is empty") }
            guard !CommandChains.isOwn(id) else {
                throw fields.error(
                    "resource",
                    "\(Name.quoted(id)) is SKOS itself and no chain of messages: look why the "
                        + "same action is needed again and again (skos incidents)")
            }
            var effect: JSON.Object = ["chain_id": .string(id)]
            if let pair = try pair(fields) {
                effect["pairs"] = [.array([.string(pair.first), .string(pair.second)])]
            }
            return VerbPlan(undo: JSON.Object(), effect: effect)
        } catch {
            throw VerbFailure(isTransient: false, reason: "parameters.\(error.description)")
        }
    }

    /// Two names in an array, or with a comma between them.
    private func pair(_ fields: Fields) throws(MessageError) -> Pair? {
        guard let value = fields.object["pair"], value != .null else { return nil }
        let names =
            value.array?.compactMap(\.string)
            ?? value.string?.split(separator: ",").map { String($0.drop { $0 == " " }) } ?? []
        let isFine =
            names.count == 2
            && names.allSatisfy { name in
                (1...Envelope.identifierBytes).contains(name.utf8.count)
            }
        guard isFine else {
            throw fields.error("pair", "two names of agents are expected, such as [\"a\",\"b\"]")
        }
        return Pair(names[0], names[1])
    }

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        guard let id = plan.effect["chain_id"]?.string else {
            throw VerbFailure(isTransient: false, reason: "the plan names no chain")
        }
        let named = (plan.effect["pairs"]?.array ?? []).compactMap { element -> Pair? in
            let names = element.array?.compactMap(\.string) ?? []
            return names.count == 2 ? Pair(names[0], names[1]) : nil
        }
        let isReset = kind == .resetChain
        let broken = gatekeeper.withJudge { judge, now in
            judge.command(id, pairs: named, forgetting: isReset, at: now)
        }
        let key = BreakKey.chain(ChainTable.key(id))
        let state = gatekeeper.withJudge { judge, _ in judge.breaks[key]?.state }
        guard state == .open else {
            throw VerbFailure(
                isTransient: true,
                reason: "\(ChainJudge.breakLimit) chains are broken already; try again later")
        }
        var result: JSON.Object = ["chain_id": .string(id)]
        result["until"] = .string(broken.until.inMilliseconds.description)
        result["pairs"] = .array(
            broken.pairs.map { .array([.string($0.first), .string($0.second)]) })
        result["shared"] = .bool(waitUntilShared(key))
        return result
    }

    func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object { JSON.Object() }

    /// Whether the other agents of the fleet have been told. Blocks for a moment.
    private func waitUntilShared(_ key: BreakKey) -> Bool {
        let step: Duration = .milliseconds(2)
        for _ in 0..<Int(Self.shareLimit / step) {
            let (isShared, isStored) = gatekeeper.withJudge { judge, _ in
                (judge.isShared, judge.breaks[key]?.isStored ?? true)
            }
            if !isShared { return false }
            if isStored { return true }
            usleep(2000)
        }
        return false
    }
}
