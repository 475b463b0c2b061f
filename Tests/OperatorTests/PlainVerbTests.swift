import Protocol
import Runtime
import Testing

@testable import Operator

/// Verbs that need nothing but themselves.
@Suite struct PlainVerbTests {
    @Test(
        "version, in all ways", arguments: [["version"], ["--version"], ["--version", "status"]])
    func version(words: [String]) async {
        let outcome = await Session().run(words)
        #expect(outcome.out == "skos \(BuildInfo.version)\n")
        #expect(outcome.code == .done)
    }

    @Test("version for programs")
    func versionJSON() async throws {
        let outcome = await Session().run(["version", "-o", "json"])
        let answer = try #require(try JSON.parse(Array(outcome.out.utf8)).object)
        #expect(answer["version"]?.string == BuildInfo.version)
    }

    @Test("usage errors go to standard error, with a hint, and exit with 2")
    func usage() async {
        let outcome = await Session().run(["audit", "tial"])
        #expect(outcome.code == .usage)
        #expect(outcome.out.isEmpty)
        #expect(
            outcome.err == """
                skos: audit: unknown verb "tial"; did you mean "tail"?; one of tail, verify, export \
                must follow
                `skos audit --help` says how it is used.

                """)
    }

    @Test(
        "without NATS there is one line and exit code 3",
        arguments: [
            ["status"], ["nodes"], ["incidents"], ["alerts"], ["explain", "x"], ["undo", "x"],
            ["breaker", "list"], ["breaker", "reset", "--all"], ["audit", "tail"],
            ["audit", "verify"],
            ["audit", "export"], ["policy", "show", "--running"],
            ["inject", "nova", "--type", "thermal", "--severity", "critical"],
        ])
    func unreachable(words: [String]) async {
        let outcome = await Session().run(words)
        #expect(outcome.code == .unreachable)
        #expect(outcome.out.isEmpty)
        #expect(outcome.err.split(separator: "\n").count == 1)
        #expect(outcome.err.contains("127.0.0.1:1"))
        #expect(outcome.err.contains("skos up"))
    }

    @Test("passwords are not shown")
    func secrets() async {
        var session = Session()
        session.environment = ["NATS_URL": "nats://me:secret@127.0.0.1:1"]
        let outcome = await session.run(["status"])
        #expect(outcome.code == .unreachable)
        #expect(!outcome.err.contains("secret"))
    }

    @Test("--nats wins over NATS_URL, and is checked")
    func otherAddress() async {
        let outcome = await Session().run(["status", "--nats", "nats://127.0.0.1:2"])
        #expect(outcome.code == .unreachable)
        #expect(outcome.err.contains("127.0.0.1:2"))
        let wrong = await Session().run(["status", "--nats", "no address"])
        #expect(wrong.code == .usage)
    }

    @Test(
        "inject refuses what a coordinator would reject",
        arguments: [
            (["NOVA"], #""NOVA" is not a name"#),
            (["nova", "--type", "a.b"], #""a.b" is not a name"#),
            (["nova", "--value", "hot"], #""hot" is not a number"#),
            (["nova", "--value", "nan"], #""nan" is not a number"#),
            (["nova", "--value", "1e6"], "value: 1000000.0"),
        ])
    func injectRefuses(words: [String], message: String) async {
        let usual = ["--type", "thermal", "--severity", "critical"]
        let outcome = await Session().run(["inject"] + usual + words)
        #expect(outcome.code == .usage)
        #expect(outcome.err.contains(message), "\(outcome.err)")
    }

    @Test("inject needs a type and a severity")
    func injectNeeds() async {
        #expect(await Session().run(["inject", "nova"]).err.contains("--type is missing"))
        let outcome = await Session().run(["inject", "nova", "--type", "thermal"])
        #expect(outcome.err.contains("--severity is missing"))
        #expect(outcome.code == .usage)
    }

    @Test("policy show prints the rules of the file")
    func policyShow() async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            """
            thermal:
              actions: {warning: [throttle_10]}
              cooldown: 90s
            mesh:
              actions: {tunnel_down: [restart_wireguard]}
              undo: false
            loop:
              actions: {cycle_detected: {actions: [circuit_break], cooldown: 2m}}

            """, to: "config.yaml")
        let outcome = await Session().run(["policy", "show", "--config", file])
        #expect(
            outcome.out == """
                POLICY                    COOLDOWN  ATTEMPTS  DEADLINE  VERIFY  CLEAR  LEASE  UNDO  ACTIONS
                thermal/warning           1m30s     3         30s       1m      10s    2m     yes   throttle_10
                storage/warning           1m        3         5m        1m      10s    2m     yes   cleanup_temp
                storage/critical          1m        3         5m        1m      10s    2m     yes   cleanup_logs → archive_old_data
                storage/emergency         1m        3         5m        1m      10s    2m     yes   emergency_cleanup → alert_human
                tunnel_down/warning       1m        3         30s       1m      1m     2m     no    restart_wireguard
                tunnel_down/critical      1m        3         30s       1m      1m     2m     no    restart_wireguard
                tunnel_down/emergency     1m        3         30s       1m      1m     2m     no    restart_wireguard
                cycle_detected/warning    2m        3         30s       1m      10s    2m     yes   circuit_break
                cycle_detected/critical   2m        3         30s       1m      10s    2m     yes   circuit_break
                cycle_detected/emergency  2m        3         30s       1m      10s    2m     yes   circuit_break

                """)
        #expect(outcome.code == .done)
        #expect(outcome.err.hasPrefix("skos: the rules of \(file); --running shows"))
        let json = await Session().run(["policy", "show", "--config", file, "-o", "json"])
        let answer = try #require(try JSON.parse(Array(json.out.utf8)).object)
        #expect(answer.text("file") == file && json.err.isEmpty)
        #expect(
            answer.list("policies").prefix(2).map { $0.text("policy") } == [
                "thermal/warning", "storage/warning",
            ])
    }

    @Test("policy validate names every mistake")
    func policyValidate() async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            "thermal:\n  thresholds:\n    critical: 60\nbogus: 1\n", to: "bad.yaml")
        let outcome = await Session().run(["policy", "validate", file])
        #expect(outcome.code == .usage)
        #expect(outcome.err.contains("\(file):3:5: thermal.thresholds.critical"))
        #expect(outcome.err.contains("\(file):4:1: unknown key \"bogus\""))
        let json = await Session().run(["policy", "validate", file, "-o", "json"])
        let answer = try #require(try JSON.parse(Array(json.out.utf8)).object)
        #expect(answer["valid"]?.bool == false)
        #expect(answer.list("errors").map { $0.integer("line") } == [3, 4])
        #expect(json.code == .usage)
        let good = try directory.write("version: 1\n", to: "good.yaml")
        let valid = await Session().run(["policy", "validate", good])
        #expect(valid.code == .done)
        #expect(valid.out == "\(good): valid, 18 policies\n")
    }

    @Test("a configuration that cannot be used ends what needs all of it")
    func badConfig() async throws {
        let directory = try TemporaryDirectory()
        let missing = await Session().run(["policy", "show", "--config", directory.path + "/none"])
        #expect(missing.code == .usage)
        #expect(missing.err.contains("does not exist"))
        let folder = await Session().run(["policy", "show", "--config", directory.path])
        #expect(folder.code == .usage)
        #expect(folder.err.contains("is a directory"))
    }

    @Test("a half-edited configuration does not keep operators from NATS")
    func halfEdited() async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            "nats:\n  url: nats://127.0.0.1:3\nthermal:\n  thresholds: {critical: 60}\n",
            to: "config.yaml")
        var session = Session()
        session.environment = [:]
        let outcome = await session.run(["status", "--config", file])
        #expect(outcome.code == .unreachable)
        #expect(outcome.err.contains("thermal.thresholds.critical"))
        #expect(outcome.err.contains("127.0.0.1:3"))
    }

    @Test("schema is JSON Schema")
    func schema() async throws {
        let outcome = await Session().run(["schema"])
        let schema = try #require(try JSON.parse(Array(outcome.out.utf8)).object)
        #expect(schema["$schema"]?.string == "https://json-schema.org/draft/2020-12/schema")
    }

    @Test("doctor says what a mistake in the configuration means, and what for")
    func doctorOfMistake() async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("thermal: {thresholds: {critical: 60}}\n", to: "bad.yaml")
        let outcome = await Session().run(["doctor", "--config", file])
        #expect(outcome.code == .failed)
        #expect(outcome.out.contains("services that run go on with what they had"))
        #expect(outcome.out.contains("none starts with this"))
    }

    @Test("the help on --timeout and on ids says what is so")
    func helpIsTrue() async {
        func help(_ verb: String) async -> String {
            // However it is wrapped.
            await Session().run([verb, "--help"]).out.split { $0 == " " || $0 == "\n" }
                .joined(separator: " ")
        }
        #expect(await help("explain").contains("default: 5s, for explain and inject --wait 60s"))
        #expect(
            await help("undo").contains(
                "an incident, as `skos incidents` lists it, or an action_id"))
    }

    @Test("doctor says what is wrong, and goes on")
    func doctor() async throws {
        let directory = try TemporaryDirectory()
        var session = Session()
        session.environment["SKOS_STATE_DIR"] = directory.path
        let outcome = await session.run(["doctor"])
        #expect(outcome.code == .failed)
        #expect(outcome.out.contains("ok    state   \(directory.path) can be written"))
        #expect(outcome.out.contains("ok    sensor  a sensor"))
        #expect(outcome.out.contains("fail  nats    cannot reach NATS at 127.0.0.1:1"))
        let json = await session.run(["doctor", "-o", "json"])
        let answer = try #require(try JSON.parse(Array(json.out.utf8)).object)
        #expect(answer["well"]?.bool == false)
        #expect(answer.list("findings").map { $0.text("topic") }.contains("nats"))
    }

    @Test(
        "clocks that are apart",
        arguments: [
            (Duration.seconds(1), Finding.Grade.ok), (.seconds(-1), .ok), (.seconds(3), .warn),
            (.seconds(-299), .warn), (.seconds(301), .fail), (.seconds(-301), .fail),
        ])
    func clock(skew: Duration, grade: Finding.Grade) {
        #expect(Doctor.clock(skew).grade == grade)
    }
}
