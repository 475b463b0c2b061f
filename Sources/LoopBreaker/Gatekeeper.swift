import Bus
import Protocol
import Runtime
import Settings
import Synchronization

/// The judge, for everything that happens at the same time: one lock, no waiting under it.
final class Gatekeeper: Sendable {
    private struct State {
        var judge: ChainJudge
        var isDryRun: Bool
        /// Changes that wait for the shared bucket.
        var changes: [BreakChange] = []
        var lostChanges = 0
        /// What the clock showed when the machine started; `nil`: nothing was judged yet.
        var origin: Timestamp?
    }

    /// Changes that may wait; more are not shared, and counted.
    private static let changeLimit = 16_384

    private let state: Mutex<State>
    private let clockOfNode: Mutex<SteadyClock>
    /// Rung when there are changes.
    let changed = Wakeup()
    /// Rung when there is something to look after.
    let stirred = Wakeup()

    init(_ config: Config, clock: SteadyClock = SteadyClock()) {
        let judge = ChainJudge(
            limits: config.loop.limits, cooldown: config.loop.cooldown, at: clock.now())
        state = Mutex(State(judge: judge, isDryRun: Self.isDryRun(config)))
        clockOfNode = Mutex(clock)
    }

    var now: Timestamp { clockOfNode.withLock { $0 }.now() }

    func use(_ clock: SteadyClock) { clockOfNode.withLock { $0 = clock } }

    func apply(_ config: Config) {
        state.withLock { state in
            state.judge.apply(limits: config.loop.limits, cooldown: config.loop.cooldown)
            state.isDryRun = Self.isDryRun(config)
        }
    }

    private static func isDryRun(_ config: Config) -> Bool {
        config.local.dryRun || config.policySet.dryRun
    }

    /// Whether this node only tells what it would do.
    var isDryRun: Bool { state.withLock { $0.isDryRun } }

    /// Asks or tells the judge something, and sees to what follows from it.
    func withJudge<R>(_ body: (inout ChainJudge, Timestamp) -> R) -> R {
        let uptime = SteadyClock.sinceBoot()
        let now = clockOfNode.withLock { $0 }.time(sinceBoot: uptime)
        let origin = now + (.zero - uptime)
        let (result, isChanged) = state.withLock { state -> (R, Bool) in
            // The clock takes one step when the time becomes known; nothing is older or younger by it.
            if let known = state.origin, known != origin { state.judge.shift(by: origin - known) }
            state.origin = origin
            let result = body(&state.judge, now)
            let new = state.judge.changes
            guard !new.isEmpty else { return (result, false) }
            state.judge.changes = []
            let room = Self.changeLimit - state.changes.count
            state.changes.append(contentsOf: new.prefix(max(0, room)))
            state.lostChanges += max(0, new.count - room)
            return (result, true)
        }
        if isChanged {
            changed.ring()
            stirred.ring()
        }
        return result
    }

    /// Takes the changes out that wait.
    func takeChanges() -> [BreakChange] {
        state.withLock { state in
            defer { state.changes = [] }
            return state.changes
        }
    }
}

/// What is known of each request's sender, and what it is told.
enum CheckAnswer {
    static let allowed = [UInt8](#"{"allow":true}"#.utf8)

    static func denied(_ reason: String, until: Timestamp) -> [UInt8] {
        let object: JSON = [
            "allow": false, "reason": .string(reason),
            "until": .string(until.inMilliseconds.description),
        ]
        return object.encoded
    }

    /// To a trial; a program need not look at it.
    static let trial = [UInt8](#"{"allow":true,"trial":true}"#.utf8)

    /// On a node that only tells what it would do.
    static func wouldBeDenied(_ reason: String) -> [UInt8] {
        let object: JSON = ["allow": true, "dry_run": true, "reason": .string(reason)]
        return object.encoded
    }

    static func malformed(_ error: MessageError) -> [UInt8] {
        var object: JSON.Object = ["allow": false, "error": .string(error.description)]
        if !error.field.isEmpty { object["field"] = .string(error.field) }
        return JSON.object(object).encoded
    }
}
