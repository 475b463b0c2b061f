import Protocol
import Testing

@testable import Settings

@Suite struct EnvironmentTests {
    @Test func everyVariableWinsOverTheFile() throws {
        let config = try load(
            """
            node: {name: lyra}
            nats: {url: "nats://file:4222", credentials: /file}
            heartbeat_timeout: 7
            heartbeat_interval: 1
            monitor_interval: 1
            state_dir: /file
            host_root: /file
            log: {level: debug, format: text}
            thermal: {thresholds: {warning: 1, critical: 2, emergency: 3}}
            """,
            environment: [
                "NATS_URL": "nats://a:1, nats://b:2", "NODE_NAME": "nova",
                "HEARTBEAT_TIMEOUT": "30", "HEARTBEAT_INTERVAL": "2s", "MONITOR_INTERVAL": "0.5",
                "WARNING_TEMP": "60", "CRITICAL_TEMP": " 70.5 ", "EMERGENCY_TEMP": "80",
                "LOG_LEVEL": "WARNING", "LOG_FORMAT": "JSON", "SKOS_HOST_ROOT": "/host",
                "SKOS_STATE_DIR": "state", "NATS_CREDENTIALS": "/env", "HOME": "/root",
            ]
        ).config
        #expect(config.nats.urls == ["nats://a:1", "nats://b:2"])
        #expect(config.nats.credentialsFile == "/env")
        #expect(config.nodeName == "nova")
        #expect(config.policySet.heartbeatTimeout == .seconds(30))
        #expect(config.heartbeatInterval == .seconds(2))
        #expect(config.monitorInterval == .milliseconds(500))
        #expect(config.thermal.thresholds == .init(warning: 60, critical: 70.5, emergency: 80))
        // Nobody wrote clear thresholds, so they follow.
        #expect(config.thermal.clear == .init(warning: 55, critical: 65.5, emergency: 75))
        #expect(config.log.level == .warning)
        #expect(config.log.format == .json)
        #expect(config.hostRoot == "/host")
        #expect(config.stateDirectory == "state")
    }

    @Test func anEmptyVariableCountsAsNotSet() throws {
        let names = [
            "NATS_URL", "NODE_NAME", "HEARTBEAT_TIMEOUT", "HEARTBEAT_INTERVAL", "MONITOR_INTERVAL",
            "WARNING_TEMP", "CRITICAL_TEMP", "EMERGENCY_TEMP", "LOG_LEVEL", "LOG_FORMAT",
            "SKOS_HOST_ROOT", "SKOS_STATE_DIR", "NATS_CREDENTIALS",
        ]
        let empty = Dictionary(uniqueKeysWithValues: names.map { ($0, "") })
        #expect(try load("version: 1", environment: empty) == load("version: 1"))
    }

    @Test(arguments: [
        ("INFO", Config.LogLevel.info), ("Info", .info), ("warn", .warning), ("DEBUG", .debug),
        ("CRITICAL", .error), ("error", .error),
    ])
    func logLevelsInAnyCase(_ text: String, _ level: Config.LogLevel) throws {
        #expect(try load("version: 1", environment: ["LOG_LEVEL": text]).config.log.level == level)
    }

    @Test(arguments: [
        (
            ["WARNING_TEMP": "hot"],
            [#"WARNING_TEMP: thermal.thresholds.warning: "hot" is not a plain number (°C)"#]
        ),
        (
            ["WARNING_TEMP": "nan", "HEARTBEAT_TIMEOUT": "5 m"],
            [
                #"HEARTBEAT_TIMEOUT: heartbeat_timeout: "5 m" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
                #"WARNING_TEMP: thermal.thresholds.warning: "nan" is not a plain number (°C)"#,
            ]
        ),
        (
            ["CRITICAL_TEMP": "75"],
            [
                "CRITICAL_TEMP: thermal.thresholds.critical: 75 is not above warning (75, the default)"
            ]
        ),
        (
            ["WARNING_TEMP": "99", "CRITICAL_TEMP": "98"],
            [
                "CRITICAL_TEMP: thermal.thresholds.critical: 98 is not above warning (99, from WARNING_TEMP)",
                "CRITICAL_TEMP: thermal.thresholds.critical: 98 is not below emergency (95, the default)",
            ]
        ),
        (
            ["NATS_URL": "nats://a,,nats://me:secret@b:0"],
            [
                #"NATS_URL: nats.urls[1]: "nats://…@b:0" is not a NATS address such as nats://localhost:4222 ([nats:// or tls://][user:password@]host[:port])"#
            ]
        ),
        (
            ["NODE_NAME": "Nova.Lan"],
            [
                #"NODE_NAME: node.name: "Nova.Lan" is not a node name (1 to 63 of a-z, 0-9, _ and -); did you mean "nova-lan"?"#
            ]
        ),
        (
            ["LOG_LEVEL": "loud"],
            [#"LOG_LEVEL: log.level: "loud" is not one of debug, info, warning, error"#]
        ),
        (
            ["SKOS_HOST_ROOT": "host", "NATS_URL": ","],
            [
                #"SKOS_HOST_ROOT: host_root: "host" is not an absolute path (starts with /, at most 4096 bytes)"#,
                "NATS_URL: nats.urls: is empty; fill it in, or remove the key",
            ]
        ),
    ])
    func aBadVariableIsNamed(_ environment: [String: String], _ lines: [String]) {
        #expect(
            problems("version: 1", environment: environment)
                == lines.map { "environment variable " + $0 })
    }

    @Test func aVariableCanContradictTheFile() {
        let text = "thermal:\n  clear: {warning: 70}\n"
        #expect(
            problems(text, environment: ["WARNING_TEMP": "60"]) == [
                "config.yaml:2:11: thermal.clear.warning: 70 is not below its threshold "
                    + "(60, from WARNING_TEMP)"
            ])
    }

    @Test func aBadValueInTheFileIsAnErrorEvenWhenOverridden() {
        #expect(
            problems("heartbeat_timeout: x", environment: ["HEARTBEAT_TIMEOUT": "5"]).count == 1)
    }

    @Test(arguments: [
        ("Nova.example.org", "nova-example-org"), ("host_1", "host_1"), ("-a-", "a"), ("...", ""),
        ("ÄB", "b"), (String(repeating: "x", count: 80), String(repeating: "x", count: 63)),
    ])
    func hostNamesBecomeNodeNames(_ host: String, _ node: String) {
        #expect(validName(from: host) == node)
    }
}
