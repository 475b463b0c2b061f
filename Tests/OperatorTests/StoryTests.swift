import Protocol
import Testing

@testable import Operator

private func json(_ text: String) throws -> JSON.Object {
    try #require(try JSON.parse(Array(text.utf8)).object)
}

/// The records of one incident, as `skos.api.explain` gives them.
private let story = """
    {"id":"nova","truncated":false,"records":[
    {"sequence":2,"kind":"alert","time":"2026-11-21T09:42:52.594Z","actor":"thermal-sentinel-nova",
     "node":"nova","incident":"nova:thermal:cpu:7","effect":"opened","alert_sequence":1,
     "alert":{"id":"a1","type":"thermal","resource":"cpu","severity":"critical","node":"nova",
      "message":"CPU temperature 88.0°C exceeds critical threshold","value":88,"unit":"celsius"}},
    {"sequence":3,"kind":"decision","time":"2026-11-21T09:42:52.594Z","actor":"coordinator-nova",
     "node":"nova","incident":"nova:thermal:cpu:7","policy":"thermal/critical","rung":0,
     "action":"throttle_50","action_id":"nova:thermal:throttle_50:8","verdict":"dispatch",
     "reason":"all guards passed",
     "guards":[{"guard":"stale","passed":true,"reason":"passed"},
               {"guard":"breaker","passed":true,"reason":"passed"}],
     "command":{"action_id":"nova:thermal:throttle_50:8","parameters":{"resource":"cpu"},
      "deadline":"2026-11-21T09:43:22.594Z","lease":120}},
    {"sequence":4,"kind":"result","time":"2026-11-21T09:42:52.598Z","actor":"thermal-sentinel-nova",
     "node":"nova","incident":"nova:thermal:cpu:7","action":"throttle_50",
     "action_id":"nova:thermal:throttle_50:8","status":"done","outcome":"succeeded",
     "until":"2026-11-21T09:43:52.598Z",
     "result":{"agent_id":"thermal-sentinel-nova","duration_ms":0.707,
      "effect":{"knobs":[{"path":"/sys/policy0/scaling_max_freq","effective":1500000}]},
      "undo":{"percent":50,"knobs":[{"path":"/sys/policy0/scaling_max_freq","original":"3000000\\n"}]}}}
    ]}
    """

@Suite struct StoryTests {
    @Test("tells who did what, when, why, and with what result")
    func whole() throws {
        let text = StoryTeller(try json(story)).text(Style())
        #expect(
            text == """
                nova:thermal:cpu:7  verifying: thermal-sentinel-nova: throttle_50 succeeded, in 0.71 ms
                  in force on the node; to take it back: `skos undo nova:thermal:throttle_50:8`

                2026-11-21 (UTC)
                09:42:52.594  alert       thermal-sentinel-nova: thermal/cpu critical: CPU temperature \
                88.0°C exceeds critical threshold; it opened the incident
                09:42:52.594  decision    sends throttle_50, step 1 of thermal/critical: all guards passed
                                          guards passed: stale, breaker
                                          command nova:thermal:throttle_50:8 resource=cpu, until \
                09:43:22.594, leased for 2m
                09:42:52.598  result      thermal-sentinel-nova: throttle_50 succeeded, in 0.71 ms
                                          effect:
                                            path=/sys/policy0/scaling_max_freq, effective=1500000
                                          undoing it restores: percent=50
                                            path=/sys/policy0/scaling_max_freq, original=3000000
                                          the symptom has until 09:43:52.598 to clear; if it is \
                reported again, the next step follows then

                """)
    }

    @Test(
        "every kind of record in a sentence",
        arguments: [
            (
                #"{"kind":"coordinator","actor":"coordinator-nova","version":"1.0.0","config":"ab"}"#,
                "coordinator-nova took over, version 1.0.0, configuration ab"
            ),
            (
                #"{"kind":"config","change":"applied","config":"ab"}"#,
                "configuration ab is in force"
            ),
            (
                #"{"kind":"config","change":"refused","reason":"x.yaml:1:2: bad\nx.yaml:3:4: worse"}"#,
                "an edit of the configuration was refused: x.yaml:1:2: bad"
            ),
            (
                #"{"kind":"alert","effect":"stale","reason":"1h old","alert":{"type":"disk","severity":"warning"}}"#,
                "disk warning; not acted on: 1h old"
            ),
            (
                #"{"kind":"alert","effect":"no_policy","reason":"no policy for disk/warning","alert":{"type":"disk","severity":"warning","value":91,"unit":"percent","drill":true}}"#,
                "disk warning at 91 % [drill]; nothing is done: no policy for disk/warning"
            ),
            (
                #"{"kind":"alert","effect":"cleared","until":"2026-11-21T10:00:00Z","alert":{"type":"thermal","severity":"ok"}}"#,
                "thermal ok; the symptom is gone; resolved at 10:00:00.000 if it stays so"
            ),
            (
                #"{"kind":"decision","verdict":"wait","action":"throttle_50","policy":"thermal/critical","rung":1,"until":"2026-11-21T10:00:00Z","reason":"cooldown: too soon"}"#,
                "waits until 10:00:00.000 with throttle_50, step 2 of thermal/critical: cooldown: too soon"
            ),
            (
                #"{"kind":"decision","verdict":"skip","action":"redistribute","policy":"p","rung":0,"reason":"skipped(no executor)"}"#,
                "passes over redistribute, step 1 of p: skipped(no executor)"
            ),
            (
                #"{"kind":"decision","verdict":"escalate","reason":"nothing helped"}"#,
                "asks a human: nothing helped"
            ),
            (
                #"{"kind":"decision","verdict":"undo","action":"throttle_50","reason":"incident resolved"}"#,
                "takes back throttle_50: incident resolved"
            ),
            (
                #"{"kind":"result","status":"done","outcome":"permanent_failure","reason":"read-only","action":"throttle_50","result":{"agent_id":"t"}}"#,
                "t: throttle_50 failed (permanent failure): read-only"
            ),
            (
                #"{"kind":"result","status":"refused","outcome":"permanent_failure","reason":"not allowed here","action":"throttle_50","result":{"agent_id":"t"}}"#,
                "t: throttle_50 was refused: not allowed here"
            ),
            (
                #"{"kind":"result","status":"timeout","timed_out":true,"action":"throttle_50","result":{"agent_id":"t"}}"#,
                "no result of throttle_50 came in time; it may or may not have been done"
            ),
            (
                #"{"kind":"result","status":"undone","outcome":"superseded","reason":"changed by hand","action":"throttle_50","result":{}}"#,
                "throttle_50 is over: changed by hand; that stays as it is"
            ),
            (
                #"{"kind":"alert","node":"nova","actor":"unknown","effect":"opened","alert":{"type":"thermal","severity":"critical"}}"#,
                "somebody at skos.alert.nova: thermal critical; it opened the incident"
            ),
            (
                #"{"kind":"result","incident":"","status":"done","outcome":"succeeded","action":"throttle_50","result":{"agent_id":"t"}}"#,
                "t: throttle_50 succeeded; no incident asked for it"
            ),
            (
                #"{"kind":"incident","change":"not_verified","lapsed":true,"reason":"throttle_50 is not in force since noon"}"#,
                "it is to be done again: throttle_50 is not in force since noon"
            ),
            (
                #"{"kind":"incident","change":"resolved","reason":"it stayed clear"}"#,
                "resolved: it stayed clear"
            ),
            (
                #"{"kind":"incident","change":"not_verified","reason":"still hot"}"#,
                "it did not help: still hot"
            ),
            (
                #"{"kind":"breaker","breaker":"nova:throttle_50","change":"opened","until":"2026-11-21T10:00:00Z","reason":"3 failures"}"#,
                "breaker nova:throttle_50 opened until 10:00:00.000: 3 failures"
            ),
            (
                #"{"kind":"operator","actor":"alice@laptop","verb":"breaker_reset","parameters":{"breaker":"all"},"outcome":"no open breaker"}"#,
                "alice@laptop asked for breaker reset (breaker=all): no open breaker"
            ),
            (
                #"{"kind":"rejected","subject":"skos.heartbeat.nova","field":"metadata.start_id","reason":"two machines call themselves nova","excerpt":"a-nova"}"#,
                "two machines call themselves nova"
            ),
            (
                #"{"kind":"rejected","subject":"skos.alert.nova","field":"severity","reason":"is missing"}"#,
                "a message on skos.alert.nova was rejected: severity: is missing"
            ),
            (#"{"kind":"novelty","x":1}"#, #"{"kind":"novelty","x":1}"#),
        ])
    func sentence(record: String, expected: String) throws {
        #expect(Narrator.narrate(try json(record)).headline == expected)
    }

    @Test("who stopped it has a line of its own")
    func guards() throws {
        let record = try json(
            """
            {"kind":"decision","verdict":"wait","guards":[
             {"guard":"stale","passed":true,"reason":"passed"},
             {"guard":"cooldown","passed":false,"reason":"last attempt at noon"}]}
            """)
        #expect(
            Narrator.narrate(record).details == [
                "guards passed: stale", "guard cooldown stopped it: last attempt at noon",
            ])
    }

    @Test("control characters from foreign messages come out harmless")
    func hostile() throws {
        let record = try json(
            #"{"kind":"rejected","subject":"s","reason":"\u001b[2J","excerpt":"a\u0007b"}"#)
        let lines = StoryTeller.lines(of: record, Style())
        #expect(lines.count == 2)
        for line in lines { #expect(!line.unicodeScalars.contains { $0.value < 0x20 }) }
    }

    @Test(
        "what is left out is said",
        arguments: [
            ("{}", ""),
            (
                #"{"repeats":1}"#,
                "(left out: 1 repeat of alerts; `skos audit export` has everything)"
            ),
            (
                #"{"records":7,"after":2,"repeats":1600,"shortened":3}"#,
                "(left out: 7 records, 1600 repeats of alerts; 3 long records shortened; "
                    + "`skos audit export` has everything)"
            ),
            (
                #"{"shortened":1}"#,
                "(1 long record shortened; `skos audit export` has everything)"
            ),
        ])
    func leftOut(members: String, notice: String) throws {
        var answer = try json(story)
        answer["left_out"] = .object(try json(members))
        let lines = StoryTeller(answer).text(Style()).split(separator: "\n")
        let found = lines.filter { $0.hasPrefix("(") }
        #expect(found == (notice.isEmpty ? [] : [notice[...]]))
    }

    @Test("a gap is shown where it is, and nothing before it is claimed to be in force")
    func gap() throws {
        var answer = try json(story)
        answer["left_out"] = ["records": 2, "after": 4]
        answer["records"] = .array(
            (answer["records"]?.array ?? []) + [
                [
                    "sequence": 7, "kind": "incident", "time": "2026-11-21T09:50:00Z",
                    "incident": "nova:thermal:cpu:7", "change": "resolved", "reason": "it is cool",
                ]
            ])
        let text = StoryTeller(answer).text(Style())
        let lines = text.split(separator: "\n")
        #expect(lines.dropLast().last == "… 2 records left out …")
        #expect(lines.last?.hasSuffix("resolved: it is cool") == true)
        #expect(!text.contains("in force on the node"))
    }

    @Test(
        "how an incident stands",
        arguments: [
            (#"[{"kind":"alert","effect":"opened"}]"#, "open"),
            (#"[{"kind":"decision","verdict":"dispatch"}]"#, "acting"),
            (#"[{"kind":"decision","verdict":"wait"}]"#, "deciding"),
            (#"[{"kind":"decision","verdict":"escalate"}]"#, "escalated"),
            (#"[{"kind":"result","status":"done","outcome":"succeeded"}]"#, "verifying"),
            (#"[{"kind":"result","status":"done","outcome":"transient_failure"}]"#, "deciding"),
            (#"[{"kind":"alert","effect":"cleared"}]"#, "clearing"),
            (
                #"[{"kind":"incident","change":"resolved"},{"kind":"decision","verdict":"undo"},{"kind":"result","status":"undone"}]"#,
                "resolved"
            ),
            (
                #"[{"kind":"incident","change":"escalated"},{"kind":"alert","effect":"repeated"}]"#,
                "escalated"
            ),
        ])
    func standing(records: String, word: String) throws {
        let list = try json("{\"records\":\(records)}").list("records")
        #expect(StoryTeller.standing(list).word == word)
    }

    @Test("what is in force")
    func inForce() throws {
        let done =
            #"{"kind":"result","status":"done","outcome":"succeeded","action_id":"A","result":{"undo":{}}}"#
        let dry =
            #"{"kind":"result","status":"done","outcome":"succeeded","action_id":"B","result":{"undo":{},"dry_run":true}}"#
        let undone =
            #"{"kind":"result","status":"undone","outcome":"succeeded","action_id":"A","result":{}}"#
        func inForce(_ records: [String]) throws -> [String] {
            let list = try json("{\"records\":[\(records.joined(separator: ","))]}").list("records")
            return StoryTeller.inForce(list)
        }
        #expect(try inForce([done, dry]) == ["A"])
        #expect(try inForce([done, undone]) == [])
    }
}

@Suite struct PursuitTests {
    private func end(_ records: [String]) throws -> Pursuit.Conclusion? {
        var state = Pursuit.State(id: "a1")
        for record in records { _ = state.take(try json(record)) }
        return state.conclusion
    }

    private static let opened =
        #"{"kind":"alert","effect":"opened","incident":"I","alert":{"id":"a1"}}"#

    @Test(
        "what came of an alert",
        arguments: [
            ([opened], nil),
            ([opened, #"{"kind":"decision","verdict":"dispatch","incident":"I"}"#], nil),
            ([opened, #"{"kind":"decision","verdict":"skip","incident":"I"}"#], nil),
            (
                [opened, #"{"kind":"decision","verdict":"wait","incident":"I","reason":"r"}"#],
                .done
            ),
            ([opened, #"{"kind":"decision","verdict":"escalate","incident":"I"}"#], .failed),
            (
                [
                    opened,
                    #"{"kind":"result","status":"done","outcome":"succeeded","incident":"I"}"#,
                ],
                .done
            ),
            ([opened, #"{"kind":"result","status":"refused","incident":"I"}"#], nil),
            ([opened, #"{"kind":"result","status":"timeout","incident":"I"}"#], nil),
            (
                [
                    opened,
                    #"{"kind":"result","status":"done","outcome":"failed","incident":"I"}"#,
                    #"{"kind":"decision","verdict":"dispatch","incident":"I"}"#,
                    #"{"kind":"result","status":"done","outcome":"succeeded","incident":"I"}"#,
                ],
                .done
            ),
            (
                [
                    opened,
                    #"{"kind":"result","status":"done","outcome":"succeeded","incident":"J"}"#,
                ], nil
            ),
            ([#"{"kind":"alert","effect":"opened","incident":"J","alert":{"id":"a2"}}"#], nil),
            ([#"{"kind":"alert","effect":"no_policy","alert":{"id":"a1"},"reason":"r"}"#], .failed),
            ([#"{"kind":"alert","effect":"cleared","incident":"I","alert":{"id":"a1"}}"#], .done),
            ([#"{"kind":"rejected","excerpt":"{\"id\":\"a1\"}","reason":"r"}"#], .failed),
            ([#"{"kind":"rejected","excerpt":"other","reason":"r"}"#], nil),
        ] as [([String], ExitCode?)])
    func conclusions(records: [String], code: ExitCode?) throws {
        #expect(try end(records)?.code == code)
    }

    @Test("only what can be taken back is said to be in force")
    func inForce() throws {
        func text(_ result: String) throws -> String? {
            try end([
                Self.opened,
                """
                {"kind":"result","status":"done","outcome":"succeeded","incident":"I","action":"A",
                "action_id":"1","result":\(result)}
                """,
            ])?.text
        }
        #expect(try text("{}") == "A is done.")
        #expect(try text(#"{"undo":{}}"#) == "A is in force; `skos undo 1` takes it back.")
        #expect(try text(#"{"dry_run":true}"#) == "A would be done; it was a dry run.")
    }

    @Test("silence means that nobody deals with it")
    func silence() throws {
        var state = Pursuit.State(id: "a1")
        let alert = Alert(type: "thermal", severity: .critical, node: "nova")
        func code(_ alert: Alert) -> ExitCode {
            state.silence(about: alert, after: .seconds(1), at: "x").code
        }
        #expect(code(alert) == .unreachable)
        #expect(code(Alert(type: "thermal", severity: .ok, node: "nova")) == .done)
        _ = state.take(try json(Self.opened))
        #expect(code(alert) == .failed)
    }
}
