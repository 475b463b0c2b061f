import Protocol
import Settings
import Testing

@testable import Operator

/// What the coordinator's answers look like for people.
@Suite struct FleetTextTests {
    private func object(_ text: String) throws -> JSON.Object {
        try #require(try JSON.parse(Array(text.utf8)).object)
    }

    @Test(
        "whoever looks for an agent that is not there is told who is",
        arguments: [
            (nil, nil, "[]", "no agent has been heard; start some with `skos agent"),
            (
                "foo", nil, Self.two,
                #"no agent of type "foo" has been heard; heard are storage_watcher, thermal_sentinel"#
            ),
            (
                "foo", "athena", Self.two,
                #"no agent of type "foo" of node "athena" has been heard; heard there is "#
                    + "thermal_sentinel"
            ),
            (
                nil, "hera", Self.two,
                #"no agent of node "hera" has been heard; heard are athena, nova"#
            ),
            (
                nil, "hera",
                "[" + (1...7).map { #"{"node":"n\#($0)"}"# }.joined(separator: ",") + "]",
                "heard are n1, n2, n3, n4, n5 and 2 more"
            ),
        ] as [(String?, String?, String, String)])
    func absence(_ row: (type: String?, node: String?, nodes: String, text: String)) throws {
        let answer = try object(#"{"nodes":\#(row.nodes)}"#)
        let text = Fleet.absence(of: row.type, on: row.node, in: answer)
        #expect(text.contains(row.text), "\(text)")
    }

    private static let two = """
        [{"node":"nova","agents":[{"agent_type":"storage_watcher"}]},
         {"node":"athena","agents":[{"agent_type":"thermal_sentinel"}]}]
        """

    @Test("drills are marked, and dry runs have done nothing")
    func drills() throws {
        let answer = try object(
            """
            {"incidents":[
              {"incident":"nova:storage:1","severity":"warning","phase":"verifying","drill":true,
               "opened":"2026-11-21T09:42:52.594Z","message":"",
               "attempts":[{"action":"cleanup_temp","status":"succeeded","dry_run":true}]},
              {"incident":"nova:storage:2","severity":"warning","phase":"escalated","drill":true,
               "opened":"2026-11-21T09:42:52.594Z","message":"",
               "attempts":[{"action":"cleanup_temp","status":"permanent_failure","dry_run":true}]},
              {"incident":"nova:storage:3","severity":"warning","phase":"verifying",
               "opened":"2026-11-21T09:42:52.594Z","message":"/ is full",
               "attempts":[{"action":"cleanup_temp","status":"succeeded"}]}]}
            """)
        #expect(
            Fleet.incidents(answer, Style()) == """
                INCIDENT        SEVERITY  PHASE              OPENED                LAST ACTION                               MESSAGE
                nova:storage:1  warning   verifying (drill)  2026-11-21 09:42:52Z  cleanup_temp would be done (dry run)
                nova:storage:2  warning   escalated (drill)  2026-11-21 09:42:52Z  cleanup_temp permanent_failure (dry run)
                nova:storage:3  warning   verifying          2026-11-21 09:42:52Z  cleanup_temp succeeded                    / is full

                """)
    }

    @Test(
        "status tells drills from what is wrong",
        arguments: [
            ("{}", "{}", "none"), (#"{"escalated":2}"#, "{}", "2 escalated"),
            (#"{"escalated":2}"#, #"{"escalated":2}"#, "none; of drills: 2 escalated"),
            (
                #"{"acting":1,"escalated":3}"#, #"{"escalated":2}"#,
                "1 acting, 1 escalated; of drills: 2 escalated"
            ),
        ])
    func status(all: String, drills: String, text: String) throws {
        let answer = try object(#"{"incidents":\#(all),"drills":\#(drills)}"#)
        let status = Fleet.status(answer, at: Timestamp(seconds: 0), Style())
        #expect(status.contains("incidents    \(text)\n"), "\(status)")
    }

    @Test("a symptom of a mount has one slash, and a value without a unit no blank behind it")
    func symptoms() throws {
        #expect(Text.symptom("thermal", "cpu") == "thermal/cpu")
        #expect(Text.symptom("thermal", "") == "thermal")
        #expect(Text.symptom("storage", "/tmp") == "storage /tmp")
        let record = try object(
            """
            {"kind":"alert","effect":"opened","alert":{"type":"storage","resource":"/tmp",
             "severity":"warning","value":82,"drill":true}}
            """)
        #expect(
            Narrator.narrate(record).headline
                == "storage /tmp warning at 82 [drill]; it opened the incident")
        let alerts = try object(
            """
            {"alerts":[{"effect":"opened","alert":{"type":"storage","resource":"/","node":"nova",
             "severity":"warning","timestamp":"2026-11-21T09:42:52Z","message":"/ is full"}}]}
            """)
        #expect(Fleet.alerts(alerts, Style()).contains("Z  nova  storage /  warning"))
    }

    @Test("broken chains and pairs")
    func chains() throws {
        let chains = [
            try object(
                """
                {"chain_id":"report-7","state":"open","until":"2026-11-21T09:42:52.594Z",
                 "reason":"depth 11 is over 10"}
                """),
            try object(
                """
                {"chain_id":"report-7","pair":["critic","writer"],"state":"half_open",
                 "until":"2026-11-21T09:42:52.594Z","reason":"depth 11 is over 10"}
                """),
        ]
        #expect(
            BrokenChains.text(chains, Style()) == """
                CHAIN     PAIR            STATE      UNTIL                 REASON
                report-7                  open       2026-11-21 09:42:52Z  depth 11 is over 10
                report-7  critic, writer  half_open  2026-11-21 09:42:52Z  depth 11 is over 10

                """)
    }
}

/// What `skos doctor` makes of what the coordinator says.
@Suite struct DoctorFleetTests {
    private func object(_ text: String) throws -> JSON.Object {
        try #require(try JSON.parse(Array(text.utf8)).object)
    }

    @Test("an open incident of this node is no ok, and a drill is none")
    func incidents() throws {
        let open = #"{"node":"nova","type":"storage","resource":"/","severity":"critical","#
        let answer = try object(
            """
            {"incidents":[
              \(open)"phase":"escalated","incident":"nova:storage:1","message":"/ is 93 % full"},
              \(open)"phase":"escalated","incident":"nova:storage:2","drill":true},
              {"node":"athena","type":"thermal","severity":"critical","phase":"acting"}]}
            """)
        let findings = Doctor.incidents(answer, on: "nova")
        #expect(findings.map(\.grade) == [.warn])
        #expect(findings[0].text == "storage / critical, escalated: / is 93 % full")
        #expect(findings[0].remedy?.contains("skos explain nova:storage:1") == true)
    }

    @Test("what is on a ladder and cannot be done here is named, and whether anything else can")
    func ladders() throws {
        let answer = try object(
            """
            {"policies":[
              {"policy":"thermal/warning","ladder":["throttle_10"]},
              {"policy":"thermal/emergency","ladder":["shutdown_non_essential","failover"]},
              {"policy":"storage/critical","ladder":["cleanup_logs","archive_old_data"]},
              {"policy":"storage/emergency","ladder":["alert_human"]},
              {"policy":"none","ladder":[]}]}
            """)
        var local = Config.Local()
        let offered: Set = ["throttle_10", "cleanup_logs"]
        let findings = Doctor.ladders(answer, offered: offered, local)
        #expect(
            findings.map { "\($0.grade) \($0.topic) \($0.text)" } == [
                "warn action archive_old_data is not done here: it needs roots and to in "
                    + "local.archive_old_data, tar and zstd",
                "ok action failover is not done here: no agent of this version knows it",
                "warn action shutdown_non_essential is not done here: "
                    + "local.shutdown_non_essential lists nothing to stop",
                "warn ladder nothing on the ladder of thermal/emergency can be done here: a human "
                    + "is asked at once",
            ])
        local.deniedActions = ["throttle_10"]
        let denied = Doctor.ladders(answer, offered: offered, local)
        #expect(
            denied.map(\.text).contains(
                "throttle_10 is not done here: local.actions does not let it"))
        #expect(denied.last?.text.contains("thermal/warning, thermal/emergency") == true)
        let all: Set = [
            "throttle_10", "shutdown_non_essential", "failover", "cleanup_logs",
            "archive_old_data",
        ]
        #expect(Doctor.ladders(answer, offered: all, Config.Local()).isEmpty)
    }

    @Test("that nobody would be called is said, and the address is not")
    func human() {
        var settings = Config.AlertHuman()
        #expect(Doctor.human(settings).map(\.grade) == [.warn])
        settings.url = "https://ntfy.sh/secret"
        #expect(Doctor.human(settings).map(\.grade) == [.ok])
        #expect(Doctor.human(settings).allSatisfy { !$0.text.contains("secret") })
    }

    @Test(
        "a container's doctor tells of its own agent",
        arguments: [
            ("/usr/local/bin/skos agent thermal", ["thermal"]),
            ("skos agent storage mesh -c x", ["storage", "mesh"]),
            ("/sbin/docker-init -- skos agent loop", ["loop"]), ("skos coordinator", []),
            ("skos up", nil), ("/sbin/init", nil), ("", nil),
        ] as [(String, [String]?)])
    func container(line: String, agents: [String]?) {
        let bytes = line.utf8.map { $0 == 0x20 ? 0 : $0 } + [0]
        #expect(ServiceContainer.agents(firstProcess: bytes) == agents)
    }
}
