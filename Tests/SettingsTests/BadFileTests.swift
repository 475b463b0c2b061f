import Testing

@testable import Settings

/// Files that are no configuration at all, or not in its shape; each with every line it must get.
@Suite struct BadFileTests {
    @Test(arguments: syntax + shapes)
    func getsEveryLine(_ file: BadFile) { #expect(problems(file.text) == file.lines) }
}

extension BadFileTests {
    static let syntax: [BadFile] = [
        BadFile(
            "a tab before a key",
            """
            thermal:
            \tthresholds:

            """,
            "2:1: a tab cannot be used for indentation; use spaces"),
        BadFile(
            "a tab before a nested key",
            """
            thermal:
              thresholds:
            \t  warning: 75

            """,
            "3:1: a tab cannot be used for indentation; use spaces"),
        BadFile(
            "a bracket that is never closed",
            "thermal: {for: 5s\n",
            "2:1: did not find expected ',' or '}' while parsing a flow mapping that starts in line 1; check the indentation and the brackets"
        ),
        BadFile(
            "a key indented below a value",
            """
            thermal:
              for: 5s
                clear: 3

            """,
            #"3:10: mapping values are not allowed in this context; check the indentation, or quote a text that contains ": ""#
        ),
        BadFile(
            "a quote that is never closed",
            """
            thermal:
              for: "5s

            """,
            "3:1: found unexpected end of stream while scanning a quoted scalar that starts in line 2"
        ),
        BadFile(
            "two colons",
            "a: b: c\n",
            #"1:5: mapping values are not allowed in this context; check the indentation, or quote a text that contains ": ""#
        ),
        BadFile(
            "a list that becomes a mapping",
            """
            - a
            b: c

            """,
            "2:1: did not find expected '-' indicator while parsing a block collection that starts in line 1; check the indentation and the brackets"
        ),
        BadFile(
            "a NUL byte",
            "\0\n",
            "1:1: has a control character here (U+0000); remove it"),
        BadFile(
            "a control character",
            "version: 1\nlog: {level: \u{07}info}\n",
            "2:14: has a control character here (U+0007); remove it"),
        BadFile(
            "nothing at all",
            "",
            "1:1: holds no settings; write at least `version: 1` to use the defaults"),
        BadFile(
            "only a comment",
            "# only a comment\n",
            "1:1: holds no settings; write at least `version: 1` to use the defaults"),
        BadFile(
            "an empty document",
            "---\n",
            "2:1: holds no settings; write at least `version: 1` to use the defaults"),
        BadFile(
            "two documents",
            """
            version: 1
            ---
            version: 1

            """,
            "2:1: a second document starts here; keep one"),
        BadFile(
            "text after the end",
            """
            version: 1
            ...
            foo

            """,
            "3:1: did not find expected <document start>; check the indentation and the brackets"),
        BadFile(
            "just text",
            "just text\n",
            #"1:1: sections such as `thermal:` are expected, not "just text""#),
        BadFile(
            "a list",
            "[a, b]\n",
            "1:1: sections such as `thermal:` are expected, not a list"),
        BadFile(
            "an anchor and an alias",
            """
            thermal: &t {for: 5s}
            log: *t

            """,
            "1:10: anchors (&t) are not supported; write the value out where it is needed",
            "2:6: aliases (*t) are not supported; write the value out"),
        BadFile(
            "aliases that would expand",
            """
            a: &a [x]
            b: &b [*a, *a]
            c: [*b, *b]

            """,
            #"1:1: unknown key "a"; known here: version, node, heartbeat_interval, heartbeat_timeout, monitor_interval, repeat_interval, state_dir, host_root, dry_run, nats, log, thermal, storage, mesh, loop, policies, breaker, alerts, nodes, local"#,
            "1:4: anchors (&a) are not supported; write the value out where it is needed",
            #"2:1: unknown key "b"; known here: version, node, heartbeat_interval, heartbeat_timeout, monitor_interval, repeat_interval, state_dir, host_root, dry_run, nats, log, thermal, storage, mesh, loop, policies, breaker, alerts, nodes, local"#,
            "2:4: anchors (&b) are not supported; write the value out where it is needed",
            "2:8: aliases (*a) are not supported; write the value out",
            "2:12: aliases (*a) are not supported; write the value out",
            #"3:1: unknown key "c"; known here: version, node, heartbeat_interval, heartbeat_timeout, monitor_interval, repeat_interval, state_dir, host_root, dry_run, nats, log, thermal, storage, mesh, loop, policies, breaker, alerts, nodes, local"#,
            "3:5: aliases (*b) are not supported; write the value out",
            "3:9: aliases (*b) are not supported; write the value out"),
        BadFile(
            "a tag",
            "dry_run: !!bool true\n",
            "1:10: tags (!!bool) are not supported; remove it"),
        BadFile(
            "a key that is a list",
            """
            ? [a, b]
            : c

            """,
            "1:3: a key must be plain text, not a list"),
        BadFile(
            "a key twice",
            """
            dry_run: true
            version: 1
            dry_run: false

            """,
            #"3:1: "dry_run" is given twice; first in line 1"#),
        BadFile(
            "a merge key",
            "<<: {a: b}\n",
            #"1:1: unknown key "<<"; known here: version, node, heartbeat_interval, heartbeat_timeout, monitor_interval, repeat_interval, state_dir, host_root, dry_run, nats, log, thermal, storage, mesh, loop, policies, breaker, alerts, nodes, local"#
        ),
        BadFile(
            "an alias to nothing",
            "dry_run: *nowhere\n",
            "1:10: aliases (*nowhere) are not supported; write the value out"),
        BadFile(
            "a directive",
            """
            %YAML 1.2
            ---
            version: 2

            """,
            "3:1: version: 2 is not 1"),
        BadFile(
            "a value that starts with @",
            "dry_run: @x\n",
            #"1:10: a value cannot start with "@"; put it in quotes"#),
        BadFile(
            "a bracket that was never opened",
            "}\n",
            "1:1: did not find expected node content while parsing a block node; check the indentation and the brackets"
        ),
        BadFile(
            "a byte order mark",
            "\u{FEFF}version: 2\n",
            "1:1: version: 2 is not 1"),
    ]

    static let shapes: [BadFile] = [
        BadFile(
            "a section without keys",
            "thermal:\n",
            "1:1: thermal: is empty; fill it in, or remove the key"),
        BadFile(
            "a section with no keys in braces",
            "thermal: {}\n",
            "1:1: thermal: is empty; fill it in, or remove the key"),
        BadFile(
            "sections of the wrong kind",
            """
            thermal: hot
            log: [a]
            nodes: nova
            policies: x

            """,
            #"1:1: thermal: "hot" is not a mapping, with keys such as thresholds"#,
            "2:1: log: a list is not a mapping, with keys such as level",
            #"3:1: nodes: "nova" is not a mapping whose keys are each a node name"#,
            #"4:1: policies: "x" is not a list such as [{match: {type: thermal, severity: critical}, actions: [throttle_50]}]"#
        ),
        BadFile(
            "keys that nearly exist",
            """
            thermals: {}
            termal: {}
            foo: 1
            state-dir: x
            Nats: {}

            """,
            #"1:1: unknown key "thermals"; did you mean "thermal"?"#,
            #"2:1: unknown key "termal"; did you mean "thermal"?"#,
            #"3:1: unknown key "foo"; known here: version, node, heartbeat_interval, heartbeat_timeout, monitor_interval, repeat_interval, state_dir, host_root, dry_run, nats, log, thermal, storage, mesh, loop, policies, breaker, alerts, nodes, local"#,
            #"4:1: unknown key "state-dir"; did you mean "state_dir"?"#,
            #"5:1: unknown key "Nats"; did you mean "nats"?"#),
        BadFile(
            "nested keys that nearly exist",
            """
            thermal:
              thresholds:
                warn: 75
                crit: 80
                emergncy: 99

            """,
            #"3:5: thermal.thresholds: unknown key "warn"; did you mean "warning"?"#,
            #"4:5: thermal.thresholds: unknown key "crit"; did you mean "critical"?"#,
            #"5:5: thermal.thresholds: unknown key "emergncy"; did you mean "emergency"?"#),
        BadFile(
            "keys that are a number and nothing",
            "thermal: {thresholds: {1: 3, '': 4}}\n",
            #"1:24: thermal.thresholds: unknown key "1"; known here: warning, critical, emergency"#,
            #"1:30: thermal.thresholds: unknown key ""; known here: warning, critical, emergency"#),
        BadFile(
            "a list for a flag",
            """
            dry_run: [true]
            heartbeat_interval: {a: 1}

            """,
            "1:1: dry_run: a list is not true or false",
            "2:1: heartbeat_interval: a mapping is not a duration such as 500ms, 30s, 1h30m or 7d"),
        BadFile(
            "no nodes in braces",
            "nodes: {}\n",
            "1:1: nodes: is empty; fill it in, or remove the key"),
        BadFile(
            "keys and values of nodes",
            "nodes: {nova: {role: spare, rol: x}, lyra: 5}\n",
            #"1:29: nodes.nova: unknown key "rol"; did you mean "role"?"#,
            #"1:38: nodes.lyra: "5" is not a mapping, with keys such as role"#),
        BadFile(
            "no nodes",
            "nodes:\n",
            "1:1: nodes: is empty; fill it in, or remove the key"),
        BadFile(
            "no nodes in brackets",
            "nodes: []\n",
            "1:1: nodes: a list is not a mapping whose keys are each a node name"),
        BadFile(
            "names of nodes",
            #"nodes: {Nova: , "a b": {role: x}, ok: {role: A B, labels: {}}}\#n"#,
            #"1:9: nodes: "Nova" is not a node name (1 to 63 of a-z, 0-9, _ and -); did you mean "nova"?"#,
            #"1:17: nodes: "a b" is not a node name (1 to 63 of a-z, 0-9, _ and -); did you mean "a-b"?"#,
            #"1:40: nodes.ok.role: "A B" is not a role (1 to 63 of a-z, 0-9, _ and -); did you mean "a-b"?"#,
            "1:51: nodes.ok.labels: is empty; fill it in, or remove the key"),
    ]
}
