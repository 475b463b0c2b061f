import Antibody
import Platform
import Protocol
import Settings
import Synchronization
import Testing

/// Things in memory, with everything that was done to them.
private final class Bench: ThingControl {
    struct State {
        var things: [String: ThingState]
        /// What goes wrong, by what is done and to which.
        var faults: [String: ServiceFailure] = [:]
        /// Things that come back by themselves.
        var stubborn: Set<String> = []
        /// Units that stop with another one.
        var ties: [String: [String]] = [:]
        /// Things that stop by themselves after so many looks, as an earlier process has told them to.
        var orphans: [String: Int] = [:]
        var deeds: [String] = []
    }

    let state: Mutex<State>

    init(_ things: [String: ThingState]) { state = Mutex(State(things: things)) }

    var deeds: [String] {
        state.withLock { state in
            defer { state.deeds = [] }
            return state.deeds
        }
    }

    func set(_ name: String, _ new: ThingState) { state.withLock { $0.things[name] = new } }

    func fail(_ deed: String, isTransient: Bool = true, isCutOff: Bool = false) {
        let failure = ServiceFailure(
            isTransient: isTransient, reason: "refused", isCutOff: isCutOff)
        state.withLock { $0.faults[deed] = failure }
    }

    func state(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> ThingState {
        let name = name(thing)
        let (fault, found) = state.withLock { state in
            if let looks = state.orphans[name] {
                state.orphans[name] = looks > 0 ? looks - 1 : nil
                if looks == 0 { state.things[name] = .stopped }
            }
            return (state.faults["look \(name)"], state.things[name])
        }
        if let fault { throw fault }
        return found ?? .missing
    }

    func stop(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure) {
        try act("stop", thing, .stopped)
    }

    func start(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure) {
        try act("start", thing, .running)
    }

    func objection(to thing: Config.NonEssential, limit: Duration) -> String? {
        name(thing) == "own" ? "this agent runs in it" : nil
    }

    func dependents(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> [String] {
        state.withLock { state in
            (state.ties[name(thing)] ?? []).filter { state.things[$0] == .running }
        }
    }

    private func act(
        _ verb: String, _ thing: Config.NonEssential, _ new: ThingState
    ) throws(ServiceFailure) {
        let name = name(thing)
        let fault = state.withLock { state in
            state.deeds.append("\(verb) \(name)")
            let isFree = !state.stubborn.contains(name) && state.things[name] != .unknown
            let fault = state.faults["\(verb) \(name)"]
            if fault == nil, isFree { state.things[name] = new }
            if verb == "stop", fault == nil {
                for other in state.ties[name] ?? [] { state.things[other] = .stopped }
            }
            return fault
        }
        if let fault { throw fault }
    }

    private func name(_ thing: Config.NonEssential) -> String {
        switch thing {
        case .unit(let name), .container(let name): name
        case .hook(let name, _, _, _): name
        }
    }
}

@Suite("shutdown_non_essential, its decisions")
struct ShutdownVerbTests {
    private static let things: [Config.NonEssential] = [
        .unit("a"), .container("b"),
        .hook(name: "c", stop: ["/stop"], start: ["/start"], check: ["/check"]),
        .hook(name: "mute", stop: ["/stop", "x y"], start: ["/start"], check: nil),
    ]
    private let bench = Bench(["a": .running, "b": .running, "c": .running, "mute": .unknown])

    private func verb(_ things: [Config.NonEssential] = things) -> ShutdownVerb {
        var times = ShutdownVerb.Times()
        times.settle = .milliseconds(20)
        times.orphans = .milliseconds(20)
        return ShutdownVerb(things, control: bench, times: times)
    }

    private func plan(
        _ verb: ShutdownVerb, active: [JSON.Object] = []
    ) throws(VerbFailure) -> VerbPlan {
        try verb.plan(VerbCall(parameters: [:], active: active))
    }

    @Test("what runs is stopped in order and started again in reverse, once")
    func wholeWay() throws {
        bench.set("b", .stopped)
        let verb = verb()
        let plan = try plan(verb)
        #expect(bench.deeds == [], "a plan changes nothing")
        #expect(plan.effect["stop"] == ["unit a", "hook c", "hook mute"])
        #expect(plan.effect["not_stopped"] == ["container b: does not run"])
        let result = try verb.execute(plan)
        #expect(result["things"]?.array?.count == 3)
        #expect(result["not_stopped"] == ["container b: does not run"])
        #expect(bench.deeds == ["stop a", "stop c", "stop mute"])
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start mute", "start c", "start a"])
        let again = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == [], "twice does no harm")
        #expect(again["things"]?.array?.count == 3)
    }

    @Test("the undo is all in the journal: another process can do it")
    func anotherProcess() throws {
        let first = verb()
        let plan = try plan(first)
        _ = try first.execute(plan)
        _ = bench.deeds
        let text = JSON.object(plan.undo).encoded
        let undo = try #require(try JSON.parse(text).object)
        let second = verb([])
        _ = try second.undo(undo, remaining: [])
        #expect(bench.deeds == ["start mute", "start c", "start b", "start a"])
        _ = try second.undo(undo, remaining: [])
        #expect(bench.deeds == [])
    }

    @Test("killed before it stopped anything: only what cannot say is started")
    func killed() throws {
        let plan = try plan(verb())
        _ = try verb().undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start mute"])
    }

    @Test("killed while it stopped something: what stops only after the next start is started, too")
    func killedWhileStopping() throws {
        let plan = try plan(verb())
        bench.set("a", .stopped)
        bench.state.withLock { $0.orphans = ["b": 3] }
        var times = ShutdownVerb.Times()
        times.settle = .milliseconds(20)
        times.orphans = .seconds(5)
        let next = ShutdownVerb(Self.things, control: bench, times: times)
        let result = try next.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start mute", "start b", "start a"])
        #expect(
            result["things"] == [
                ["thing": "hook mute", "state": "started"],
                ["thing": "hook c", "state": "unchanged"],
                ["thing": "container b", "state": "started"],
                ["thing": "unit a", "state": "started"],
            ])
    }

    @Test("one that cannot be stopped stops none of the others; exactly those are started again")
    func partialFailure() throws {
        let verb = verb([Self.things[3], .unit("a"), .unit("x"), Self.things[2]])
        bench.set("x", .running)
        bench.fail("stop x")
        let plan = try plan(verb)
        let result = try verb.execute(plan)
        #expect(result["not_stopped"] == ["unit x: refused"])
        #expect(bench.deeds == ["stop mute", "stop a", "stop x", "stop c"])
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start c", "start a", "start mute"])
    }

    @Test("the result says of each listed thing why it was left out, and of each that did not stop")
    func leftOut() throws {
        let verb = verb([.unit("a"), .unit("nowhere"), .container("b"), .unit("x"), .unit("own")])
        bench.set("x", .running)
        bench.set("own", .running)
        bench.fail("look b")
        bench.fail("stop x")
        let plan = try plan(verb)
        #expect(
            try verb.execute(plan) == [
                "things": [["thing": "unit a", "state": "stopped"]],
                "not_stopped": [
                    "unit x: refused", "unit nowhere: there is none here", "container b: refused",
                    "unit own: this agent runs in it",
                ],
            ])
        bench.set("a", .running)
        bench.fail("stop a")
        let failure = #expect(throws: VerbFailure.self) { try verb.execute(plan) }
        #expect(failure?.reason.hasPrefix("unit a: refused; unit x: refused; unit nowhere") == true)
    }

    @Test("a hook that cannot say is started only if it was stopped, or its stop was cut off")
    func muteFailure() throws {
        let verb = verb([Self.things[3], .unit("a")])
        bench.fail("stop mute")
        let plan = try plan(verb)
        #expect(try verb.execute(plan)["not_stopped"] == ["hook mute: refused"])
        #expect(bench.deeds == ["stop mute", "stop a"])
        let undone = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start a"])
        #expect(undone["things"]?.array?.last == ["thing": "hook mute", "state": "unchanged"])
        bench.fail("stop mute", isCutOff: true)
        let second = try self.plan(verb)
        _ = try verb.execute(second)
        _ = bench.deeds
        _ = try verb.undo(second.undo, remaining: [])
        #expect(bench.deeds == ["start a", "start mute"])
    }

    @Test("when none can be stopped it has failed")
    func failure() throws {
        let verb = verb([.unit("a"), .container("b")])
        bench.fail("stop a")
        bench.fail("stop b", isTransient: false)
        let plan = try plan(verb)
        let failure = #expect(throws: VerbFailure.self) { try verb.execute(plan) }
        #expect(failure?.reason == "unit a: refused; container b: refused")
        #expect(failure?.isTransient == true)
    }

    @Test("what was never begun is not started, whoever has stopped it meanwhile")
    func neverBegun() throws {
        let plan = try plan(verb([.unit("a"), Self.things[3]]))
        var times = ShutdownVerb.Times()
        times.all = .zero
        let hurried = ShutdownVerb([], control: bench, times: times)
        #expect(throws: VerbFailure.self) { try hurried.execute(plan) }
        bench.set("a", .stopped)
        #expect(throws: VerbFailure.self) { try hurried.undo(plan.undo, remaining: []) }
        #expect(bench.deeds == [])
    }

    @Test("what comes back by itself is said")
    func stubborn() throws {
        bench.state.withLock { _ = $0.stubborn.insert("a") }
        let alone = verb([.unit("a")])
        let failure = #expect(throws: VerbFailure.self) { try alone.execute(try plan(alone)) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("something starts it again") == true)
        let verb = verb()
        let result = try verb.execute(try plan(verb))
        let reasons = result["not_stopped"]?.array ?? []
        #expect(reasons.count == 1)
    }

    @Test("what would stop together with something must be listed, too, or neither is stopped")
    func ties() throws {
        bench.state.withLock { $0.ties = ["a": ["app"]] }
        bench.set("app", .running)
        let alone = verb([.unit("a"), .container("b")])
        let plan = try plan(alone)
        #expect(plan.effect["stop"] == ["container b"])
        #expect(plan.effect["not_stopped"]?.array?.first?.string?.contains("unit app runs") == true)
        // Listed, both stop with the first, and both start again.
        let both = verb([.unit("a"), .unit("app")])
        let second = try self.plan(both)
        _ = try both.execute(second)
        #expect(bench.deeds == ["stop a"])
        _ = try both.undo(second.undo, remaining: [])
        #expect(bench.deeds == ["start app", "start a"])
        // One that does not run is nobody's business.
        bench.set("app", .stopped)
        #expect(try self.plan(alone).effect["stop"] == ["unit a", "container b"])
    }

    @Test("two actions: what one has stopped stays so until both are over")
    func overlap() throws {
        let verb = verb()
        let first = try plan(verb)
        _ = try verb.execute(first)
        _ = bench.deeds
        let second = try plan(verb, active: [first.undo])
        #expect(second.effect["stop"]?.array?.count == 4)
        _ = try verb.execute(second)
        #expect(bench.deeds == [], "all of it is stopped already")
        _ = try verb.undo(first.undo, remaining: [second.undo])
        #expect(bench.deeds == [])
        _ = try verb.undo(second.undo, remaining: [])
        #expect(bench.deeds == ["start mute", "start c", "start b", "start a"])
    }

    @Test("what cannot be started again is tried again, the rest is started")
    func startFails() throws {
        let verb = verb()
        let plan = try plan(verb)
        _ = try verb.execute(plan)
        bench.fail("start b")
        _ = bench.deeds
        let failure = #expect(throws: VerbFailure.self) {
            try verb.undo(plan.undo, remaining: [])
        }
        #expect(failure?.isTransient == true)
        #expect(failure?.reason == "not started again: container b: refused")
        #expect(bench.deeds == ["start mute", "start c", "start b", "start a"])
        bench.state.withLock { $0.faults = [:] }
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start b"])
    }

    @Test("nothing to stop is a failure that says why for each")
    func nothing() throws {
        let empty = #expect(throws: VerbFailure.self) { try plan(verb([])) }
        #expect(empty?.reason.contains("local.shutdown_non_essential") == true)
        bench.set("a", .stopped)
        bench.fail("look b")
        let listed: [Config.NonEssential] = [
            .unit("a"), .unit("nowhere"), .unit("own"), .container("b"),
        ]
        bench.set("own", .running)
        let failure = #expect(throws: VerbFailure.self) { try plan(verb(listed)) }
        #expect(failure?.isTransient == true)
        #expect(
            failure?.reason
                == "nothing to stop: unit a: does not run; unit nowhere: there is none here; "
                + "unit own: this agent runs in it; container b: refused")
    }

    @Test("what is gone by the time of the undo is let go")
    func gone() throws {
        let verb = verb()
        let plan = try plan(verb)
        _ = try verb.execute(plan)
        _ = bench.deeds
        bench.set("b", .missing)
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(bench.deeds == ["start mute", "start c", "start a"])
    }

    @Test("nothing takes longer than its time, however long the list")
    func time() throws {
        var times = ShutdownVerb.Times()
        times.plan = .zero
        times.all = .zero
        let verb = ShutdownVerb(Self.things, control: bench, times: times)
        let failure = #expect(throws: VerbFailure.self) { try plan(verb) }
        #expect(failure?.reason.contains("no time was left for it") == true)
        let made = try plan(self.verb())
        #expect(throws: VerbFailure.self) { try verb.execute(made) }
        #expect(throws: VerbFailure.self) { try verb.undo(made.undo, remaining: []) }
        #expect(bench.deeds == [])
        let real = ShutdownVerb.Times()
        #expect(real.plan < ActionDesk.verbLimit && real.all < ActionDesk.verbLimit)
    }
}
