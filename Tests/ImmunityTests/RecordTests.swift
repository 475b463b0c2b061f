import Protocol
import Testing

@testable import Immunity

@Suite("Records and snapshots")
struct RecordTests {
    private static let time = Timestamp(nanoseconds: 1_700_000_000_123_456_789)

    /// One of each kind, with and without what is optional.
    static let events: [Event] = {
        var alert = Alert(type: "thermal", severity: .critical, node: "nova", resource: "cpu")
        alert.id = "a"
        alert.extra = ["zone": [1, .null]]
        alert.timestamp = Timestamp(nanoseconds: .min)
        var command = Command(
            actionID: "nova:t:x:1", actionType: "x", node: "nova", operation: .undo)
        command.lease = .milliseconds(1500)
        command.epoch = 3
        command.extra = ["precondition": "y"]
        var result = CommandResult(
            actionID: "nova:t:x:1", actionType: "x", node: "nova", status: .done,
            outcome: .superseded, reason: "…")
        result.effect = ["a": 1.5]
        result.undo = [:]
        result.isAsked = true
        let key = BreakerKey(node: "nova", action: "x", resource: "a:b", isDryRun: true)
        return [
            .started(version: "1", configuration: "f", isAlertStreamNew: false),
            .started(version: "1", configuration: "", isAlertStreamNew: true),
            .configured(fingerprint: "f", refused: nil),
            .configured(fingerprint: "", refused: String(repeating: "r", count: 4096)),
            .alert(AlertEvent(alert: alert, sequence: 9, effect: .stale, reason: "old")),
            .alert(
                AlertEvent(
                    alert: alert, sequence: .max / 2, effect: .cleared, incident: "i",
                    until: time)),
            .decision(
                Decision(
                    incident: "i", node: "nova", policy: "p", rung: 2, action: "x",
                    verdict: .dispatch, reason: "",
                    guards: [
                        .init(name: "stale", passed: true, reason: "passed"),
                        .init(name: "breaker", passed: false, reason: "open"),
                    ], command: command, until: time, cause: "a")),
            .decision(
                Decision(
                    incident: "i", node: "nova", policy: "p", rung: 0, action: "",
                    verdict: .escalate, reason: "r", guards: [])),
            .result(ResultEvent(result: result, incident: "i", timedOut: true, until: time)),
            .result(ResultEvent(result: result, incident: "i", timedOut: false, until: nil)),
            .incident(IncidentEvent(incident: "i", node: "nova", change: .expired, reason: "r")),
            .incident(
                IncidentEvent(
                    incident: "i", node: "nova", change: .notVerified, reason: "r", isLapsed: true)),
            .breaker(BreakerEvent(key: key, change: .opened, reason: "r", until: time)),
            .breaker(BreakerEvent(key: key, change: .reset, reason: "r", until: nil)),
            .operation(
                OperatorEvent(verb: "undo", actor: "op", parameters: ["id": "x"], outcome: "o")),
            .clock(reason: "r"),
            .rejected(Rejection(subject: "s", node: "", field: "", reason: "r", excerpt: "")),
            .rejected(Rejection(subject: "s", node: "n", field: "f", reason: "r", excerpt: "e")),
        ]
    }()

    @Test("come back as they went", arguments: events)
    func roundTrip(event: Event) throws {
        let record = Record(time: Self.time, actor: event.actor ?? "coordinator", event: event)
        let bytes = JSON.object(record.object).encoded
        let again = try bytes.withUnsafeBytes { try Record(decoding: $0) }
        #expect(again == record)
        #expect(JSON.object(again.object).encoded == bytes)
    }

    @Test("say who, what and when at the top", arguments: events)
    func envelope(event: Event) {
        let record = Record(time: Self.time, actor: "me", event: event)
        #expect(record.object.members.prefix(3).map(\.name) == ["kind", "time", "actor"])
        #expect(record.object["kind"] == .string(event.kind))
        #expect(Name.isValid(event.kind))
    }

    @Test(
        "without a member that must be there, or with a wrong type, name the field",
        arguments: events)
    func damaged(event: Event) throws {
        let object = Record(time: Self.time, actor: "me", event: event).object
        for member in object.members {
            var damaged = object
            damaged[member.name] = nil
            for value in [nil, JSON.array([.bool(true)])] {
                damaged[member.name] = value
                let bytes = JSON.object(damaged).encoded
                let result = Result { try bytes.withUnsafeBytes { try Record(decoding: $0) } }
                switch result {
                case .success(let record):
                    // Optional, or only written for readers; never silently something else.
                    #expect(value == nil || record.event == event, "\(member.name)")
                case .failure(let error):
                    let field = (error as? MessageError)?.field ?? ""
                    #expect(field.hasPrefix(member.name), "\(member.name): \(error)")
                }
            }
        }
    }

    @Test("a record around the deepest and longest message can be read")
    func extremes() throws {
        let depth = Limits.messageDepth - 2
        let nested = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        let text =
            #"{"type":"t","severity":"ok","details":{"x":\#(nested),"y":["#
            + Array(repeating: "1e15", count: 10_000).joined(separator: ",") + "]}}"
        #expect(text.utf8.count < Limits.messageBytes)
        let alert = try Array(text.utf8).withUnsafeBytes { try Alert(decoding: $0, node: "nova") }
        let record = Record(
            time: Self.time, actor: "me",
            event: .alert(AlertEvent(alert: alert, sequence: 1, effect: .stale)))
        let bytes = JSON.object(record.object).encoded
        #expect(try bytes.withUnsafeBytes { try Record(decoding: $0) } == record)
    }

    @Test("the longest names make an incident whose records and commands can be read")
    func longestNames() {
        var s = Scenario(
            PolicySet(policies: [
                Policy(
                    type: String(repeating: "t", count: 63), severity: .critical,
                    ladder: [Rung(action: "throttle_50")])
            ]))
        let resource = String(repeating: "é", count: Limits.resourceBytes / 2)
        // Every step of a scenario reads its records back.
        #expect(
            s.alert(
                .critical, resource: resource, node: String(repeating: "n", count: 63),
                type: String(repeating: "t", count: 63)
            ).first == "alert opened")
        let command = s.commands[0]
        let bytes = JSON.object(command.object).encoded
        let again = bytes.withUnsafeBytes { try? Command(decoding: $0, node: command.node) }
        #expect(again == command)
    }

    // MARK: Snapshots

    @Test("an empty state and a busy one come back from their snapshots")
    func snapshots() throws {
        #expect(try State(snapshot: State().snapshot) == State())
        var simulation = Simulation(seed: 5)
        try simulation.run(steps: 300)
        var s = Scenario()
        _ = s.alert(.critical)
        _ = s.succeed()
        _ = s.alert(.critical, resource: "gpu")
        _ = s.alert(.ok)
        _ = s.live(10)
        for state in [simulation.durable, s.durable] {
            #expect(!state.finished.isEmpty || !state.undoing.isEmpty)
            let object = try #require(JSON.parse(JSON.object(state.snapshot).encoded).object)
            #expect(try State(snapshot: object) == state)
        }
    }

    @Test("another version, and anything damaged, is an error that names the field")
    func badSnapshots() throws {
        var s = Scenario()
        _ = s.alert(.critical)
        let good = s.durable.snapshot
        for member in good.members {
            for value in [nil, JSON.bool(true)] {
                var bad = good
                bad[member.name] = value
                #expect {
                    try State(snapshot: bad)
                } throws: { ($0 as? MessageError)?.field.hasPrefix(member.name) == true }
            }
        }
        var other = good
        other["version"] = 2
        #expect(
            throws: MessageError(
                field: "version", reason: "2 is not 1: replay the whole audit instead")
        ) { try State(snapshot: other) }
        var inner = try #require(good["incidents"]?.array?.first?.object)
        inner["phase"] = "dancing"
        other = good
        other["incidents"] = [.object(inner)]
        #expect {
            try State(snapshot: other)
        } throws: { ($0 as? MessageError)?.field == "incidents[0].phase" }
    }

    @Test("places in the stream: exact for the last thousands, in runs")
    func sequences() throws {
        var set = SequenceSet()
        for place in 1...20_000 as ClosedRange<UInt64> where place % 1000 != 0 { set.insert(place) }
        #expect(set.highest == 19_999)
        #expect(set.contains(19_999) && !set.contains(19_000) && set.contains(18_000 + 1))
        #expect(!set.contains(1))
        #expect(set.sorted.count < 2 * SequenceSet.limit)
        var state = State()
        state.alertSequences = set
        #expect(try State(snapshot: state.snapshot) == state)
        #expect(JSON.object(state.snapshot).encoded.count < 1000)
    }

    // MARK: Bounds

    @Test("what is remembered of the past is bounded, and numbers stay unique")
    func memory() {
        var state = State()
        let count = State.memoryLimit + 100
        for index in 0..<count {
            let time = Timestamp(seconds: Int64(index))
            let key = IncidentKey(node: "n\(index)", type: "t", resource: "")
            state.remember(State.Report(time: time, alertID: ""), about: key)
            state.remember(BreakerKey(node: "n\(index)", action: "x")) {
                index == 0
                    ? $0.open(until: time, reason: "r") : $0.executed("a", at: time)
            }
            // A clock that stands still, so that no number is in the past.
            state.stamp("n\(index):x:\(1000 + index)", node: "n\(index)", at: Timestamp(seconds: 0))
        }
        #expect(state.lastReports.count == State.memoryLimit / 2 + 100)
        #expect(
            state.lastReports[IncidentKey(node: "n\(count - 1)", type: "t", resource: "")] != nil)
        #expect(state.breakers.count == State.memoryLimit / 2 + 100)
        // The open one is the last to go.
        #expect(state.breakers[BreakerKey(node: "n0", action: "x")] != nil)
        #expect(state.stamps.count <= State.memoryLimit)
        for index in [0, 5, count - 1] {
            let next = state.nextStamp(node: "n\(index)", at: Timestamp(seconds: 0))
            #expect(next > 1000 + Int64(index))
        }
        state.stamp("nova:x:y", node: "nova", at: Timestamp(seconds: 0))
        #expect(state.stamps["nova"] == nil)
    }

    @Test("finished incidents are bounded, unfinished undos are not dropped for it")
    func finished() {
        var state = State()
        let time = Timestamp(seconds: 0)
        for index in 0..<State.finishedLimit + State.finishedSlack + 10 {
            let node = "n\(index)"
            let alert = Alert(type: "t", severity: .critical, node: node)
            state.apply(
                .alert(
                    AlertEvent(alert: alert, sequence: 1, effect: .opened, incident: "i:\(index)")),
                at: time)
            var command = Command(actionID: "a:\(index)", actionType: "x", node: node)
            // The first owes an undo.
            command.lease = index == 0 ? .seconds(10) : nil
            state.apply(
                .decision(
                    Decision(
                        incident: "i:\(index)", node: node, policy: "p", rung: 0, action: "x",
                        verdict: .dispatch, reason: "", guards: [], command: command)), at: time)
            state.apply(
                .incident(
                    IncidentEvent(
                        incident: "i:\(index)", node: node, change: .resolved, reason: "")),
                at: time)
        }
        #expect(state.finished.count < State.finishedLimit + State.finishedSlack)
        #expect(state.finished.count >= State.finishedLimit)
        #expect(Array(state.undoing.keys) == ["i:0"])
        #expect(state.incidents.isEmpty && state.openCounts.isEmpty)
        let actions = Set(state.closed.flatMap(\.attempts).map(\.command.actionID))
        #expect(Set(state.incidentOfAction.keys) == actions)
    }
}
