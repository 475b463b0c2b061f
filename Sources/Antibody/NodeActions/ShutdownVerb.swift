import Glibc
import Platform
package import Protocol
import Runtime
package import Settings
import Synchronization

/// The action `shutdown_non_essential`: stops what the node's own file lists, in its order, and starts
/// again exactly what it has stopped, in the reverse order.
package final class ShutdownVerb: Verb {
    package static let action = "shutdown_non_essential"

    /// How long things may take. The sums stay below `ActionDesk.verbLimit`.
    package struct Times: Sendable {
        /// To say whether it runs.
        package var look: Duration = .seconds(3)
        /// To stop, or to start.
        package var act: Duration = .seconds(12)
        /// To be seen as stopped or running once that was done.
        package var settle: Duration = .seconds(3)
        /// For what an earlier process of this agent has begun to stop, and which goes on without it.
        package var orphans: Duration = .seconds(15)
        /// All of one call.
        package var plan: Duration = .seconds(15)
        package var all: Duration = .seconds(25)

        package init() {}
    }

    package let name = ShutdownVerb.action
    package let summary = "stop what local.shutdown_non_essential lists; it is started again later"
    package let isReversible = true
    package let family = ShutdownVerb.action
    let control: any ThingControl
    let times: Times
    private let listed: Mutex<[Config.NonEssential]>
    /// What was stopped, by the token of the plan.
    private let memories = Mutex(Memories())
    /// Since when this process can have stopped anything.
    private let begun = SteadyClock.sinceBoot()

    package init(
        _ listed: [Config.NonEssential], control: any ThingControl, times: Times = Times()
    ) {
        self.listed = Mutex(listed)
        self.control = control
        self.times = times
    }

    /// Another list; what has been stopped already is started again all the same.
    package func list(_ things: [Config.NonEssential]) { listed.withLock { $0 = things } }

    // MARK: Verb

    package func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        let things = listed.withLock { $0 }
        guard !things.isEmpty else {
            throw VerbFailure(
                isTransient: false,
                reason: "config.yaml of this node lists nothing in local.shutdown_non_essential")
        }
        let held = call.active.flatMap { Self.things(in: $0) }
        let (chosen, reasons, isTransient) = choose(things, held: held)
        guard !chosen.isEmpty else {
            throw VerbFailure(
                isTransient: isTransient, reason: "nothing to stop: \(Self.text(of: reasons))")
        }
        var effect: JSON.Object = ["stop": .array(chosen.map { .string($0.text) })]
        if !reasons.isEmpty { effect["not_stopped"] = .array(reasons.map(JSON.string)) }
        var undo: JSON.Object = [
            "token": .integer(SteadyClock.sinceBoot().wholeNanoseconds),
            "things": .array(chosen.map(\.json)),
        ]
        // What cannot say that another action has stopped it already.
        let mute = chosen.filter { $0.isMute && held.contains($0) }
        undo["held"] = mute.isEmpty ? nil : .array(mute.map(\.json))
        return VerbPlan(undo: undo, effect: effect)
    }

    /// What of a list is to be stopped, and why the rest is not.
    private func choose(
        _ things: [Config.NonEssential], held: [Config.NonEssential]
    ) -> (chosen: [Config.NonEssential], reasons: [String], isTransient: Bool) {
        let end = SteadyClock.sinceBoot() + times.plan
        var chosen: [Config.NonEssential] = []
        var ties: [String: [String]] = [:]
        var reasons: [String] = []
        var isTransient = false
        for thing in things where !chosen.contains(thing) {
            do throws(ServiceFailure) {
                if let objection = try objection(to: thing, held: held, until: end) {
                    reasons.append("\(thing.text): \(objection)")
                    continue
                }
                let limit = try rest(of: times.look, until: end)
                ties[thing.text] = try control.dependents(of: thing, limit: limit)
                chosen.append(thing)
            } catch {
                isTransient = isTransient || error.isTransient
                reasons.append("\(thing.text): \(error.reason)")
            }
        }
        // What stops together with something must be started again with it: it has to be listed.
        while let (thing, other) = Self.loose(chosen, ties) {
            chosen.removeAll { $0 == thing }
            reasons.append(
                "\(thing.text): unit \(other) runs and would stop with it, and is not to be stopped: "
                    + "list it, too")
        }
        return (chosen, reasons, isTransient)
    }

    /// The first thing with which something would stop that is not to be stopped.
    private static func loose(
        _ chosen: [Config.NonEssential], _ ties: [String: [String]]
    ) -> (Config.NonEssential, String)? {
        for thing in chosen {
            let other = ties[thing.text]?.first { !chosen.contains(.unit($0)) }
            if let other { return (thing, other) }
        }
        return nil
    }

    /// Why a thing is not to be stopped.
    private func objection(
        to thing: Config.NonEssential, held: [Config.NonEssential], until end: Duration
    ) throws(ServiceFailure) -> String? {
        let limit = try rest(of: times.look, until: end)
        if let objection = control.objection(to: thing, limit: limit) { return objection }
        switch try control.state(of: thing, limit: try rest(of: times.look, until: end)) {
        case .running, .unknown: return nil
        case .missing: return "there is none here"
        // What another action has stopped must stay so when that one ends first.
        case .stopped: return held.contains(thing) ? nil : "does not run"
        }
    }

    package func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let things = Self.things(in: plan.undo)
        let held = Self.things(in: plan.undo, "held")
        let token = Self.token(in: plan.undo)
        let end = SteadyClock.sinceBoot() + times.all
        memories.withLock { memories in
            memories.begin(token)
            for thing in held { memories.stopped(thing, token) }
        }
        var entries: [JSON] = []
        var failures: [ServiceFailure] = []
        var hasStopped = false
        for thing in things {
            do throws(ServiceFailure) {
                let word =
                    held.contains(thing) ? "held" : try stop(thing, token, until: end)
                hasStopped = hasStopped || word != "missing"
                entries.append(["thing": .string(thing.text), "state": .string(word)])
            } catch {
                // One that does not stop is no reason to start all the others again.
                failures.append(
                    ServiceFailure(
                        isTransient: error.isTransient, reason: "\(thing.text): \(error.reason)"))
            }
        }
        // What the plan has left out is on the node's list, too, and runs on or never ran.
        let leftOut = plan.effect["not_stopped"]?.array?.compactMap(\.string) ?? []
        let reasons = failures.map(\.reason) + leftOut
        guard hasStopped || failures.isEmpty else {
            throw VerbFailure(
                isTransient: failures.contains(where: \.isTransient),
                reason: Self.text(of: reasons))
        }
        var result: JSON.Object = ["things": .array(entries)]
        if !reasons.isEmpty { result["not_stopped"] = .array(reasons.map(JSON.string)) }
        return result
    }

    private func stop(
        _ thing: Config.NonEssential, _ token: Int64, until end: Duration
    ) throws(ServiceFailure) -> String {
        let state = try control.state(of: thing, limit: try rest(of: times.look, until: end))
        switch state {
        case .stopped:
            // By another action, or together with something before it.
            memories.withLock { $0.stopped(thing, token) }
            return "held"
        case .missing: return "missing"
        case .running, .unknown: break
        }
        let limit = try rest(of: times.act, until: end)
        // Before the attempt: half a stop is one that is taken back.
        memories.withLock { $0.stopped(thing, token) }
        do throws(ServiceFailure) { try control.stop(thing, limit: limit) } catch {
            // What can say is asked at the undo. Of what cannot, only the program's own word is known.
            if state == .unknown, !error.isCutOff {
                memories.withLock { $0.notStopped(thing, token) }
            }
            throw error
        }
        guard state == .running else { return "stopped" }
        guard try settles(thing, at: .stopped, until: end) else {
            throw ServiceFailure(
                isTransient: false, reason: "was stopped and still runs: something starts it again")
        }
        return "stopped"
    }

    package func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object {
        let others = remaining.flatMap { Self.things(in: $0) }
        let token = Self.token(in: undo)
        let end = SteadyClock.sinceBoot() + times.all
        var entries: [JSON] = []
        var failures: [String] = []
        let mine = Self.things(in: undo).filter { !others.contains($0) }
        awaitOrphans(of: mine, token, until: end)
        for thing in Self.things(in: undo).reversed() {
            do throws(ServiceFailure) {
                let word =
                    others.contains(thing) ? "held" : try start(thing, token, until: end)
                entries.append(["thing": .string(thing.text), "state": .string(word)])
            } catch {
                failures.append("\(thing.text): \(error.reason)")
            }
        }
        guard failures.isEmpty else {
            throw VerbFailure(
                isTransient: true, reason: "not started again: \(Self.text(of: failures))")
        }
        return ["things": .array(entries)]
    }

    /// What an earlier process was stopping when it was killed may stop yet, after it was found to run. So
    /// as long as something of it runs, or cannot say, it is waited for.
    private func awaitOrphans(
        of things: [Config.NonEssential], _ token: Int64, until end: Duration
    ) {
        guard !memories.withLock({ $0.knows(token) }) else { return }
        let quiet = min(begun + times.orphans, end)
        var pause: Duration = .milliseconds(5)
        while SteadyClock.sinceBoot() < quiet {
            let isOver = things.allSatisfy { thing in
                guard let limit = try? rest(of: times.look, until: quiet) else { return false }
                let state = try? control.state(of: thing, limit: limit)
                return state == .stopped || state == .missing
            }
            if isOver { return }
            usleep(UInt32(pause / .microseconds(1)))
            pause = min(pause * 2, .milliseconds(500))
        }
    }

    private func start(
        _ thing: Config.NonEssential, _ token: Int64, until end: Duration
    ) throws(ServiceFailure) -> String {
        let state = try control.state(of: thing, limit: try rest(of: times.look, until: end))
        switch state {
        case .running: return "unchanged"
        case .missing: return "missing"
        case .stopped, .unknown:
            guard memories.withLock({ $0.mayBeStopped(thing, token) }) else { return "unchanged" }
        }
        try control.start(thing, limit: try rest(of: times.act, until: end))
        if state == .unknown {
            memories.withLock { $0.started(thing, token) }
        } else if try !settles(thing, at: .running, until: end) {
            throw ServiceFailure(isTransient: true, reason: "was started and does not run")
        }
        return "started"
    }

    /// Looks until a thing is as it should be, or the time is over.
    private func settles(
        _ thing: Config.NonEssential, at wanted: ThingState, until end: Duration
    ) throws(ServiceFailure) -> Bool {
        let last = min(SteadyClock.sinceBoot() + times.settle, end)
        var pause: Duration = .milliseconds(5)
        while true {
            let limit = try rest(of: times.look, until: end)
            let state = try control.state(of: thing, limit: limit)
            // What is gone altogether does not run either.
            if state == wanted || (state == .missing && wanted == .stopped) { return true }
            guard SteadyClock.sinceBoot() + pause < last else { return false }
            usleep(UInt32(pause / .microseconds(1)))
            pause = min(pause * 2, .milliseconds(200))
        }
    }

    private func rest(of limit: Duration, until end: Duration) throws(ServiceFailure) -> Duration {
        let left = min(limit, end - SteadyClock.sinceBoot())
        guard left > .zero else {
            throw ServiceFailure(isTransient: true, reason: "no time was left for it")
        }
        return left
    }

    // MARK: The journal's words

    private static func things(
        in undo: JSON.Object, _ name: String = "things"
    ) -> [Config.NonEssential] {
        (undo[name]?.array ?? []).compactMap { Config.NonEssential($0) }
    }

    private static func token(in undo: JSON.Object) -> Int64 { undo["token"]?.integer ?? 0 }

    private static func text(of reasons: [String]) -> String {
        let rest = reasons.count > 4 ? "; and \(reasons.count - 4) more" : ""
        return reasons.prefix(4).joined(separator: "; ") + rest
    }
}

/// What this process knows of what it has stopped: without it an undo would start what somebody else
/// has stopped, or what cannot say that it runs, or that twice. After a restart nothing is known, and what
/// does not run is started.
private struct Memories: Sendable {
    /// Plans that are remembered.
    private static let limit = 128

    private struct Plan {
        /// Whether this process has carried it out.
        var isBegun = false
        var stopped: [Config.NonEssential] = []
        var started: [Config.NonEssential] = []
    }

    private var byToken: [Int64: Plan] = [:]
    private var order: [Int64] = []

    mutating func begin(_ token: Int64) {
        remember(token)
        byToken[token]?.isBegun = true
    }

    private mutating func remember(_ token: Int64) {
        guard byToken[token] == nil else { return }
        byToken[token] = Plan()
        order.append(token)
        if order.count > Self.limit { byToken[order.removeFirst()] = nil }
    }

    mutating func stopped(_ thing: Config.NonEssential, _ token: Int64) {
        byToken[token]?.stopped.append(thing)
    }

    /// It was not stopped after all.
    mutating func notStopped(_ thing: Config.NonEssential, _ token: Int64) {
        byToken[token]?.stopped.removeAll { $0 == thing }
    }

    /// Whether this process has carried a plan out, or has taken part of it back.
    func knows(_ token: Int64) -> Bool { byToken[token] != nil }

    /// From now on an undo of the same plan leaves it alone.
    mutating func started(_ thing: Config.NonEssential, _ token: Int64) {
        remember(token)
        byToken[token]?.started.append(thing)
    }

    /// Whether a plan has stopped a thing and not started it again; what is not known counts.
    func mayBeStopped(_ thing: Config.NonEssential, _ token: Int64) -> Bool {
        guard let plan = byToken[token] else { return true }
        return !plan.started.contains(thing) && (!plan.isBegun || plan.stopped.contains(thing))
    }
}
