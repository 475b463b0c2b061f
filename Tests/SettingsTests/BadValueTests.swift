import Testing

@testable import Settings

/// Files whose values are wrong or contradict each other; each with every line it must get.
@Suite struct BadValueTests {
    @Test(arguments: values + thermal + policies + others)
    func getsEveryLine(_ file: BadFile) { #expect(problems(file.text) == file.lines) }
}

extension BadValueTests {
    static let values: [BadFile] = [
        BadFile(
            "units of durations",
            """
            heartbeat_interval: 5 m
            heartbeat_timeout: 5x
            monitor_interval: -1
            repeat_interval: 30m1h

            """,
            #"1:1: heartbeat_interval: "5 m" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"2:1: heartbeat_timeout: "5x" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"3:1: monitor_interval: "-1" is not a duration; a duration is not negative"#,
            #"4:1: repeat_interval: "30m1h" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#
        ),
        BadFile(
            "ranges of durations",
            """
            heartbeat_interval: 0
            heartbeat_timeout: 1w
            monitor_interval: .inf
            repeat_interval: 99999999999999999999h

            """,
            "1:1: heartbeat_interval: 0 is outside 10ms to 1h",
            #"2:1: heartbeat_timeout: "1w" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"3:1: monitor_interval: ".inf" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"4:1: repeat_interval: "99999999999999999999h" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#
        ),
        BadFile(
            "yes, and a fraction",
            """
            dry_run: yes
            version: 1.0

            """,
            #"1:1: dry_run: "yes" is not true or false; write true"#,
            #"2:1: version: "1.0" is not a whole number"#),
        BadFile(
            "quotes, and a leading zero",
            """
            dry_run: "true"
            version: 010

            """,
            #"1:1: dry_run: "true" in quotes is a text, not true or false; remove the quotes"#,
            #"2:1: version: "010" is not a whole number"#),
        BadFile(
            "choices",
            "log: {level: INFO, format: yaml}\n",
            #"1:7: log.level: "INFO" is not one of debug, info, warning, error; did you mean "info"?"#,
            #"1:20: log.format: "yaml" is not one of text, json"#),
        BadFile(
            "numbers that are not finite",
            "thermal: {thresholds: {warning: .nan, critical: .inf, emergency: 1e999}}\n",
            #"1:24: thermal.thresholds.warning: ".nan" is not a plain number (°C)"#,
            #"1:39: thermal.thresholds.critical: ".inf" is not a plain number (°C)"#,
            "1:55: thermal.thresholds.emergency: 1e999 is outside -50 to 200 °C"),
        BadFile(
            "numbers in quotes, with units, in hexadecimal",
            #"thermal: {thresholds: {warning: "75", critical: 85C, emergency: 0x5f}}\#n"#,
            #"1:24: thermal.thresholds.warning: "75" in quotes is a text, not a plain number (°C); remove the quotes"#,
            #"1:39: thermal.thresholds.critical: "85C" is not a plain number (°C)"#,
            #"1:54: thermal.thresholds.emergency: "0x5f" is not a plain number (°C)"#),
        BadFile(
            "numbers with units, too large, with underscores",
            "thermal: {thresholds: {warning: 75 °C, critical: 1e308, emergency: 1_00}}\n",
            #"1:24: thermal.thresholds.warning: "75 °C" is not a plain number (°C)"#,
            "1:40: thermal.thresholds.critical: 1e308 is outside -50 to 200 °C",
            #"1:57: thermal.thresholds.emergency: "1_00" is not a plain number (°C)"#),
        BadFile(
            "whole numbers out of range",
            "breaker: {failure_threshold: 0, execution_threshold: 99999999999999999999}\n",
            "1:11: breaker.failure_threshold: 0 is outside 1 to 1000",
            "1:33: breaker.execution_threshold: 99999999999999999999 is outside 1 to 10000"),
        BadFile(
            "paths",
            """
            state_dir: ""
            host_root: host

            """,
            #"1:1: state_dir: "" is not a path (at most 4096 bytes)"#,
            #"2:1: host_root: "host" is not an absolute path (starts with /, at most 4096 bytes)"#),
        BadFile(
            "an address of another protocol, and no addresses",
            "nats: {url: http://x, urls: []}\n",
            #"1:8: nats.url: "http://x" is not a NATS address such as nats://localhost:4222 ([nats:// or tls://][user:password@]host[:port])"#,
            "1:23: nats.urls: is empty; fill it in, or remove the key"),
        BadFile(
            "addresses, without their secrets",
            "nats: {urls: ['nats://user:secret@host:99999', 'nats://a:4222', 'a b']}\n",
            #"1:15: nats.urls[0]: "nats://…@host:99999" is not a NATS address such as nats://localhost:4222 ([nats:// or tls://][user:password@]host[:port])"#,
            #"1:65: nats.urls[2]: "a b" is not a NATS address such as nats://localhost:4222 ([nats:// or tls://][user:password@]host[:port])"#
        ),
        BadFile(
            "url and urls",
            "nats: {url: a, urls: [b]}\n",
            "1:16: nats.urls: both url and urls are given; keep one"),
        BadFile(
            "a node name with a dot",
            "node: {name: Nova.local}\n",
            #"1:8: node.name: "Nova.local" is not a node name (1 to 63 of a-z, 0-9, _ and -); did you mean "nova-local"?"#
        ),
        BadFile(
            "a node name without a value",
            "node: {name: }\n",
            "1:8: node.name: has no value; write a node name, or remove the key"),
    ]

    static let thermal: [BadFile] = [
        BadFile(
            "critical below warning",
            """
            thermal:
              thresholds:
                warning: 75
                critical: 70

            """,
            "4:5: thermal.thresholds.critical: 70 is not above warning (75)"),
        BadFile(
            "warning above the default of critical",
            """
            thermal:
              thresholds:
                warning: 90

            """,
            "3:5: thermal.thresholds.warning: 90 is not below critical (85, the default)"),
        BadFile(
            "all thresholds upside down",
            """
            thermal:
              thresholds: {warning: 99, critical: 98, emergency: 97}

            """,
            "2:29: thermal.thresholds.critical: 98 is not above warning (99)",
            "2:43: thermal.thresholds.emergency: 97 is not above critical (98)"),
        BadFile(
            "clear thresholds not below their thresholds",
            """
            thermal:
              clear: {warning: 75, critical: 90}

            """,
            "2:11: thermal.clear.warning: 75 is not below its threshold (75, the default)",
            "2:24: thermal.clear.critical: 90 is not below its threshold (85, the default)"),
        BadFile(
            "clear thresholds upside down",
            """
            thermal:
              clear: {warning: 70, critical: 60}

            """,
            "2:24: thermal.clear.critical: 60 is below that of warning (70)"),
        BadFile(
            "a clear threshold above a default one",
            """
            thermal:
              clear: {warning: 74}
              thresholds: {critical: 76}

            """,
            "2:11: thermal.clear.warning: 74 is above that of critical (71, the default)"),
        BadFile(
            "no actions in braces",
            """
            thermal:
              actions: {}

            """,
            "2:3: thermal.actions: is empty; fill it in, or remove the key"),
        BadFile(
            "no actions in brackets",
            """
            thermal:
              actions: {warning: []}

            """,
            "2:13: thermal.actions.warning: is empty; fill it in, or remove the key"),
        BadFile(
            "actions without a list",
            """
            thermal:
              actions: {warning: , critical: throttle_50}

            """,
            "2:13: thermal.actions.warning: has no value; write a list such as [throttle_50, redistribute], or remove the key",
            #"2:24: thermal.actions.critical: "throttle_50" is not a list such as [throttle_50, redistribute]"#
        ),
        BadFile(
            "actions that cannot be",
            """
            thermal:
              actions: {warning: [throttle_0, throttle_100, Foo, [a], {name: x}]}

            """,
            #"2:23: thermal.actions.warning[0]: "throttle_0" is not an action (1 to 63 of a-z, 0-9, _ and -; throttle_N takes 1 to 90)"#,
            #"2:35: thermal.actions.warning[1]: "throttle_100" is not an action (1 to 63 of a-z, 0-9, _ and -; throttle_N takes 1 to 90)"#,
            #"2:49: thermal.actions.warning[2]: "Foo" is not an action (1 to 63 of a-z, 0-9, _ and -; throttle_N takes 1 to 90); did you mean "foo"?"#,
            "2:54: thermal.actions.warning[3]: a list is not an action",
            "2:59: thermal.actions.warning[4].action: is missing; write an action",
            #"2:60: thermal.actions.warning[4]: unknown key "name"; did you mean "action"?"#),
        BadFile(
            "actions of a severity",
            """
            thermal:
              actions: {warning: {cooldown: 5 m}, ok: [a]}

            """,
            "2:13: thermal.actions.warning.actions: is missing; write a list such as [throttle_50, redistribute]",
            #"2:23: thermal.actions.warning.cooldown: "5 m" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"2:39: thermal.actions: unknown key "ok"; known here: warning, critical, emergency"#),
        BadFile(
            "parameters",
            """
            thermal:
              actions: {warning: [{action: failover, parameters: 5}, {action: failover, parameters: {a: .nan}}]}

            """,
            #"2:42: thermal.actions.warning[0].parameters: "5" is not a mapping"#,
            "2:77: thermal.actions.warning[1].parameters: holds a number that is not finite"),
    ]

    static let policies: [BadFile] = [
        BadFile(
            "no policies",
            "policies: []\n",
            "1:1: policies: is empty; fill it in, or remove the key"),
        BadFile(
            "an empty policy",
            "policies: [{}]\n",
            "1:12: policies[0]: is empty; fill it in, or remove the key"),
        BadFile(
            "a policy that matches nothing",
            """
            policies:
              - actions: [failover]

            """,
            "2:5: policies[0].match: is missing; write a mapping, with keys such as type"),
        BadFile(
            "a policy with an empty match",
            """
            policies:
              - match: {}
                ladder: [failover]

            """,
            "2:5: policies[0].match: is empty; fill it in, or remove the key",
            "2:5: policies[0].actions: is missing; write a list such as [throttle_50, redistribute]",
            #"3:5: policies[0]: unknown key "ladder"; did you mean "actions"?"#),
        BadFile(
            "a policy without severity",
            """
            policies:
              - match: {type: disk}
                actions: [failover]

            """,
            "2:5: policies[0].match.severity: is missing; write one of warning, critical, emergency"
        ),
        BadFile(
            "a policy without types",
            """
            policies:
              - match: {type: [], severity: high}
                actions: [failover]

            """,
            "2:13: policies[0].match.type: is empty; fill it in, or remove the key",
            #"2:23: policies[0].match.severity: "high" is not one of warning, critical, emergency"#),
        BadFile(
            "policies that match the same",
            """
            policies:
              - match: {type: disk, severity: [warning, critical]}
                actions: [failover]
              - match: {type: [tape, disk], severity: critical}
                actions: [failover]

            """,
            "4:5: policies[1]: disk/critical is already matched by policies[0], so this would never be used"
        ),
    ]

    static let others: [BadFile] = [
        BadFile(
            "breaker that failures cannot open",
            "breaker: {execution_threshold: 2}\n",
            "1:11: breaker.execution_threshold: 2 is below failure_threshold (3, the default), which could never be reached"
        ),
        BadFile(
            "breaker whose failures are too many",
            "breaker: {failure_threshold: 11}\n",
            "1:11: breaker.failure_threshold: 11 is above execution_threshold (10, the default), so it could never be reached"
        ),
        BadFile(
            "unknown verbs of a family, no time",
            """
            local: {actions: {deny: [throttle_91]}}
            alerts: {stale_after: 0}

            """,
            #"1:26: local.actions.deny[0]: "throttle_91" is not an action (1 to 63 of a-z, 0-9, _ and -; throttle_N takes 1 to 90)"#,
            "2:10: alerts.stale_after: 0 is outside 10ms to 7d"),
        BadFile(
            "empty local rules",
            "local: {actions: {allow: [], deny: []}, dry_run: 1}\n",
            "1:19: local.actions.allow: is empty; fill it in, or remove the key",
            "1:30: local.actions.deny: is empty; fill it in, or remove the key",
            #"1:41: local.dry_run: "1" is not true or false"#),
    ]
}
