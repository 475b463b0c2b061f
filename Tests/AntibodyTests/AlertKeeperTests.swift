import Antibody
import Protocol
import Testing

@Suite("AlertKeeper")
struct AlertKeeperTests {
    private func symptom(_ severity: Severity?, _ resource: String = "cpu") -> Symptom {
        var symptom = Symptom(
            type: "thermal", resource: resource, severity: severity, message: "it is warm")
        symptom.value = 87.5
        symptom.unit = "celsius"
        symptom.threshold = 85
        symptom.details = ["sensor": "cpu"]
        return symptom
    }

    /// Severities seen every 20 s, and what is reported at each; repeated every 60 s.
    @Test(
        "what is reported, sample by sample",
        arguments: [
            ([.ok, .ok, nil, .ok], ["", "", "", ""]),
            ([.warning, .warning, .warning, .warning, .ok], ["warning", "", "", "warning", "ok"]),
            ([.warning, .critical, .critical, .warning], ["warning", "critical", "", "warning"]),
            // Unknown clears nothing and repeats nothing; known again, the interval goes on.
            ([.critical, nil, nil, nil, .critical], ["critical", "", "", "", "critical"]),
            ([.critical, nil, .critical, .ok, .ok], ["critical", "", "", "ok", ""]),
            ([.emergency, .ok, .emergency], ["emergency", "ok", "emergency"]),
        ] as [([Severity?], [String])])
    func sequence(severities: [Severity?], expected: [String]) {
        var keeper = AlertKeeper(identity: identity)
        for (index, severity) in severities.enumerated() {
            let reports = keeper.handle(
                [symptom(severity)], repeatInterval: .seconds(60), at: at(Double(index) * 20))
            let text = reports.map(\.alert.severity.rawValue).joined(separator: ",")
            #expect(text == expected[index], "sample \(index) of \(severities)")
        }
    }

    @Test("an alert says everything the symptom does, under an id of its own")
    func contents() throws {
        var keeper = AlertKeeper(identity: identity)
        let first = keeper.handle(
            [symptom(.critical), symptom(.warning, "gpu")], repeatInterval: .seconds(60),
            at: at(1.2345))
        #expect(first.map(\.key.resource) == ["cpu", "gpu"])
        let alert = try #require(first.first?.alert)
        #expect(
            JSON.object(alert.object).text
                == #"{"id":"lamp-keeper-nova:1f:1","agent_id":"lamp-keeper-nova","type":"thermal","#
                + #""severity":"critical","node":"nova","resource":"cpu","message":"it is warm","#
                + #""value":87.5,"unit":"celsius","threshold":85.0,"details":{"sensor":"cpu"},"#
                + #""timestamp":"2023-11-14T22:13:21.234Z"}"#)
        #expect(first.last?.alert.id == "lamp-keeper-nova:1f:2")
    }

    @Test("a restarted agent repeats what still lasts at once, and clears what is gone")
    func restart() {
        let keys = ["cpu", "gpu"].map { AlertKeeper.Key(type: "thermal", resource: $0) }
        var keeper = AlertKeeper(
            identity: identity, raised: [keys[0]: .critical, keys[1]: .warning])
        let reports = keeper.handle(
            [symptom(.critical), symptom(.ok, "gpu"), symptom(.ok, "disk")],
            repeatInterval: .seconds(60), at: at(0))
        #expect(reports.map(\.alert.severity) == [.critical, .ok])
        #expect(reports.map(\.isChange) == [false, true])
    }

    @Test("no more things are remembered than the limit; the rest is counted")
    func limit() {
        var keeper = AlertKeeper(identity: identity)
        let symptoms = (0..<300).map { symptom(.warning, "r\($0)") }
        let reports = keeper.handle(symptoms, repeatInterval: .seconds(60), at: at(0))
        #expect(reports.count == AlertKeeper.thingLimit)
        #expect(keeper.dropped == 44)
        // One that clears makes room.
        let clear = keeper.handle(
            [symptom(.ok, "r0"), symptom(.warning, "r299")], repeatInterval: .seconds(60),
            at: at(1))
        #expect(clear.map(\.key.resource) == ["r0", "r299"])
    }

    /// What there is to watch, what has a symptom, and what is left of two alerts.
    @Test(
        "what is not watched any more is cleared, also what an earlier process has raised",
        arguments: [
            (nil, [:], []), (["cpu", "gpu"], [:], []), (["gpu"], [:], ["cpu"]),
            ([], [:], ["cpu", "gpu"]), (["gpu"], ["cpu": nil], []),
            (["gpu"], ["cpu": .warning], []), (["gpu"], ["gpu": .ok], ["cpu", "gpu"]),
        ] as [(Set<String>?, [String: Severity?], [String])])
    func gone(watched: Set<String>?, symptoms: [String: Severity?], cleared: [String]) throws {
        let keys = ["cpu", "gpu"].map { AlertKeeper.Key(type: "thermal", resource: $0) }
        var keeper = AlertKeeper(
            identity: identity, raised: [keys[0]: .critical, keys[1]: .warning])
        var all: [String: Set<String>] = ["other": []]
        all["thermal"] = watched
        let found = symptoms.map { symptom($0.value, $0.key) }
        let reports = keeper.handle(
            found, watched: all, repeatInterval: .seconds(60), at: at(0)
        ).filter { $0.alert.severity == .ok }
        #expect(reports.map(\.key.resource) == cleared)
        #expect(reports.allSatisfy { $0.isChange })
        // Once.
        let again = keeper.handle([], watched: all, repeatInterval: .seconds(60), at: at(5))
        #expect(again.allSatisfy { !cleared.contains($0.key.resource) })
    }

    @Test("what is gone makes room before what is new needs it") func room() {
        var keeper = AlertKeeper(identity: identity)
        let full = (0..<AlertKeeper.thingLimit).map { symptom(.warning, "r\($0)") }
        _ = keeper.handle(full, repeatInterval: .seconds(60), at: at(0))
        let reports = keeper.handle(
            [symptom(.critical, "new")], watched: ["thermal": ["new"]],
            repeatInterval: .seconds(60), at: at(1))
        #expect(reports.count == AlertKeeper.thingLimit + 1 && keeper.dropped == 0)
        #expect(reports.last?.key.resource == "new")
    }
}
