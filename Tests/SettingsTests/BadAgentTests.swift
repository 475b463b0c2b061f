import Testing

@testable import Settings

/// Mistakes in the sections of the storage watcher, the mesh healer and the loop breaker, and in what
/// they may do; each with every line it must get.
@Suite struct BadAgentTests {
    @Test(arguments: storage + mesh + loop + files + rights)
    func getsEveryLine(_ file: BadFile) { #expect(problems(file.text) == file.lines) }
}

extension BadAgentTests {
    static let storage: [BadFile] = [
        BadFile(
            "percentages",
            "storage: {thresholds: {warning: 0.5, critical: 101, emergency: 90%}}\n",
            "1:24: storage.thresholds.warning: 0.5 is outside 1 to 100 %",
            "1:38: storage.thresholds.critical: 101 is outside 1 to 100 %",
            #"1:53: storage.thresholds.emergency: "90%" is not a plain number (%)"#),
        BadFile(
            "thresholds and clear thresholds upside down",
            "storage: {thresholds: {warning: 90}, clear: {critical: 90, emergency: 80}}\n",
            "1:24: storage.thresholds.warning: 90 is not below critical (90, the default)",
            "1:46: storage.clear.critical: 90 is not below its threshold (90, the default)",
            "1:60: storage.clear.emergency: 80 is below that of critical (90)"),
        BadFile(
            "inodes against what they have of space",
            "storage: {inode_thresholds: {critical: 80}, inode_clear: {warning: 80}}\n",
            "1:30: storage.inode_thresholds.critical: 80 is not above warning (80, the default)",
            "1:59: storage.inode_clear.warning: 80 is not below its threshold (80, the default)",
            "1:59: storage.inode_clear.warning: 80 is above that of critical (75, the default)"),
        BadFile(
            "space that is wrong says nothing of inodes",
            "storage: {thresholds: {warning: 96}}\n",
            "1:24: storage.thresholds.warning: 96 is not below critical (90, the default)"),
        BadFile(
            "mount points",
            #"storage: {mounts: {include: [], exclude: [srv, /mnt/, /a/../b, "/a//b"]}}"# + "\n",
            "1:20: storage.mounts.include: is empty; fill it in, or remove the key",
            #"1:43: storage.mounts.exclude[0]: "srv" is not a pattern of mount points such as /srv/** (starts with /, without //, ., .. and a / at the end); did you mean "/srv"?"#,
            #"1:48: storage.mounts.exclude[1]: "/mnt/" is not a pattern of mount points such as /srv/** (starts with /, without //, ., .. and a / at the end); did you mean "/mnt"?"#,
            #"1:55: storage.mounts.exclude[2]: "/a/../b" is not a pattern of mount points such as /srv/** (starts with /, without //, ., .. and a / at the end)"#,
            #"1:64: storage.mounts.exclude[3]: "/a//b" is not a pattern of mount points such as /srv/** (starts with /, without //, ., .. and a / at the end); did you mean "/a/b"?"#
        ),
        BadFile(
            "keys that nearly exist",
            "storage: {treshold: {}, inodes: {}, actions: {full: [cleanup_temp]}, forecast: 8d}\n",
            #"1:11: storage: unknown key "treshold"; did you mean "thresholds"?"#,
            #"1:25: storage: unknown key "inodes"; did you mean "inode_thresholds"?"#,
            #"1:47: storage.actions: unknown key "full"; known here: warning, critical, emergency"#,
            "1:70: storage.forecast: 8d is outside 0s to 7d"),
    ]

    static let mesh: [BadFile] = [
        BadFile(
            "interfaces",
            #"mesh: {interfaces: [], probe_interval: 10ms}"# + "\n"
                + #"local: {mesh: {restart: [wg/0, "wg[0", "..", "a b"]}}"# + "\n",
            "1:8: mesh.interfaces: is empty; fill it in, or remove the key",
            "1:24: mesh.probe_interval: 10ms is outside 100ms to 1h",
            #"2:26: local.mesh.restart[0]: "wg/0" is not a pattern of interfaces such as wg* (1 to 31 of letters, digits and _ . = + - as they are, * and ? that match, and [ ] that are closed)"#,
            #"2:32: local.mesh.restart[1]: "wg[0" is not a pattern of interfaces such as wg* (1 to 31 of letters, digits and _ . = + - as they are, * and ? that match, and [ ] that are closed)"#,
            #"2:40: local.mesh.restart[2]: ".." is not a pattern of interfaces such as wg* (1 to 31 of letters, digits and _ . = + - as they are, * and ? that match, and [ ] that are closed)"#,
            #"2:46: local.mesh.restart[3]: "a b" is not a pattern of interfaces such as wg* (1 to 31 of letters, digits and _ . = + - as they are, * and ? that match, and [ ] that are closed)"#
        ),
        BadFile(
            "types of alerts",
            "mesh: {actions: {tunnel_dwn: [ping_peer], warning: [ping_peer], tunnel_down: []}}\n",
            #"1:18: mesh.actions: unknown key "tunnel_dwn"; did you mean "tunnel_down"?"#,
            #"1:43: mesh.actions: unknown key "warning"; known here: tunnel_down, peer_unreachable, peer_one_way, peer_filtered, endpoint_moved, config_drift"#,
            "1:65: mesh.actions.tunnel_down: is empty; fill it in, or remove the key"),
    ]

    static let loop: [BadFile] = [
        BadFile(
            "subjects that are none",
            #"loop: {watch: ["a..b", "a.>.b", "a b", "", "a.b*"]}"# + "\n",
            #"1:16: loop.watch[0]: "a..b" is not a subject such as synthesis.> (words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words)"#,
            #"1:24: loop.watch[1]: "a.>.b" is not a subject such as synthesis.> (words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words)"#,
            #"1:33: loop.watch[2]: "a b" is not a subject such as synthesis.> (words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words)"#,
            #"1:40: loop.watch[3]: "" is not a subject such as synthesis.> (words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words)"#,
            #"1:44: loop.watch[4]: "a.b*" is not a subject such as synthesis.> (words of A-Z a-z 0-9 _ - joined by dots; * is any word, > at the end any words)"#
        ),
        BadFile(
            "subjects that nobody may watch",
            #"loop: {watch: [">", "*.alert.*", "skos.alert.*", SKOS_AUDIT.config, $JS.API.>, _INBOX.x.y, $KV.*.a]}"#
                + "\n",
            #"1:16: loop.watch[0]: ">" overlaps skos.>, SKOS's own messages: a healer must not watch itself"#,
            #"1:21: loop.watch[1]: "*.alert.*" overlaps skos.>, SKOS's own messages: a healer must not watch itself"#,
            #"1:34: loop.watch[2]: "skos.alert.*" overlaps skos.>, SKOS's own messages: a healer must not watch itself"#,
            #"1:50: loop.watch[3]: "SKOS_AUDIT.config" overlaps SKOS_AUDIT.>, SKOS's own records: a healer must not watch itself"#,
            #"1:69: loop.watch[4]: "$JS.API.>" overlaps $JS.>, NATS's own"#,
            #"1:80: loop.watch[5]: "_INBOX.x.y" overlaps _INBOX.>, answers to anybody's requests"#,
            #"1:92: loop.watch[6]: "$KV.*.a" overlaps $KV.>, NATS's own"#),
        BadFile(
            "a subject twice",
            "loop: {watch: [a.b, c, a.b]}\n",
            "1:24: loop.watch[2]: is the same as loop.watch[0]; keep one"),
        BadFile(
            "limits",
            "loop: {limits: {depth: -1, iterations: 1.5, tokens: 1e9, fanout: 3, rate: 1000001}, cooldown: 0}\n",
            "1:17: loop.limits.depth: -1 is outside 0 to 10000",
            #"1:28: loop.limits.iterations: "1.5" is not a whole number"#,
            #"1:45: loop.limits.tokens: "1e9" is not a whole number"#,
            #"1:58: loop.limits: unknown key "fanout"; did you mean "fan_out"?"#,
            "1:69: loop.limits.rate: 1000001 is outside 0 to 1000000",
            "1:85: loop.cooldown: 0 is outside 10ms to 7d"),
        BadFile(
            "a relay to nowhere",
            #"loop: {relay: {from: "a.*.>", too: "a.>"}}"# + "\n",
            "1:8: loop.relay.to: is missing; write a subject that ends in .>, such as synthesis.in.>",
            #"1:16: loop.relay.from: "a.*.>" is not a subject that ends in .>, such as synthesis.in.> (words of A-Z a-z 0-9 _ - joined by dots, and .> at the end)"#,
            #"1:31: loop.relay: unknown key "too"; did you mean "to"?"#),
        BadFile(
            "a relay that goes round",
            #"loop: {relay: {from: "a.in.>", to: "a.in.out.>"}}"# + "\n",
            #"1:32: loop.relay.to: "a.in.out.>" lies inside from ("a.in.>"), so that messages would go round"#
        ),
        BadFile(
            "a relay to itself",
            #"loop: {relay: {from: "a.>", to: "a.>"}}"# + "\n",
            #"1:29: loop.relay.to: "a.>" lies inside from ("a.>"), so that messages would go round"#
        ),
        BadFile(
            "a relay into SKOS",
            #"loop: {relay: {from: "a.>", to: "skos.command.>"}}"# + "\n",
            #"1:29: loop.relay.to: "skos.command.>" overlaps skos.>, SKOS's own messages: a healer must not watch itself"#
        ),
    ]

    private static let rootRule =
        "(absolute, without //, ., .. and a / at the end, and not where the system lives)"
    private static let taboo = "nothing is deleted, moved or archived there"

    static let files: [BadFile] = [
        BadFile(
            "directories that are not cleaned",
            "local: {cleanup_temp: {roots: [/, /usr, /proc/1, /run, /tmp/../etc, tmp, /var/tmp/, /a//b]}}\n",
            #"1:32: local.cleanup_temp.roots[0]: "/" is not a directory for cleanups: too much of the system is in it; name a directory inside it"#,
            #"1:35: local.cleanup_temp.roots[1]: "/usr" is not a directory for cleanups: the system lives in /usr; \#(taboo)"#,
            #"1:41: local.cleanup_temp.roots[2]: "/proc/1" is not a directory for cleanups: the system lives in /proc; \#(taboo)"#,
            #"1:50: local.cleanup_temp.roots[3]: "/run" is not a directory for cleanups: the system lives in /run; \#(taboo)"#,
            #"1:56: local.cleanup_temp.roots[4]: "/tmp/../etc" is not a directory for cleanups \#(rootRule)"#,
            #"1:69: local.cleanup_temp.roots[5]: "tmp" is not a directory for cleanups \#(rootRule); did you mean "/tmp"?"#,
            #"1:74: local.cleanup_temp.roots[6]: "/var/tmp/" is not a directory for cleanups \#(rootRule); did you mean "/var/tmp"?"#,
            #"1:85: local.cleanup_temp.roots[7]: "/a//b" is not a directory for cleanups \#(rootRule); did you mean "/a/b"?"#
        ),
        BadFile(
            "a directory twice, an age, a size",
            "local: {cleanup_logs: {roots: [/var/log, /srv, /var/log], min_age: -1d, journal_max: 500MB}}\n",
            "1:48: local.cleanup_logs.roots[2]: is the same as local.cleanup_logs.roots[0]; keep one",
            #"1:59: local.cleanup_logs.min_age: "-1d" is not a duration; write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"#,
            #"1:73: local.cleanup_logs.journal_max: "500MB" is not a size; did you mean 500M?"#),
        BadFile(
            "a size without its unit",
            "local: {cleanup_logs: {journal_max: 500}}\n",
            "1:24: local.cleanup_logs.journal_max: 500 bytes are less than 1M; write a unit, such as 500M, or 0 to leave the journal alone"
        ),
        BadFile(
            "sizes",
            "local: {cleanup_logs: {journal_max: 17T}, cleanup_temp: {journal_max: big}}\n",
            "1:24: local.cleanup_logs.journal_max: 17T is outside 0 to 16T",
            #"1:58: local.cleanup_temp: unknown key "journal_max"; known here: roots, patterns, min_age"#
        ),
        BadFile(
            "no size",
            "local: {cleanup_logs: {journal_max: big}}\n",
            #"1:24: local.cleanup_logs.journal_max: "big" is not a size; write one such as 500M or 1G, or a plain number of bytes"#
        ),
        BadFile(
            "patterns",
            #"local: {cleanup_temp: {patterns: ["*.[0-9", "a/b", ".."]}, cleanup_logs: {patterns: []}}"#
                + "\n",
            #"1:35: local.cleanup_temp.patterns[0]: "*.[0-9" is not a pattern of file names such as *.gz (1 to 255 bytes without / and \; * and ? match, and [ ] that are closed)"#,
            #"1:45: local.cleanup_temp.patterns[1]: "a/b" is not a pattern of file names such as *.gz (1 to 255 bytes without / and \; * and ? match, and [ ] that are closed)"#,
            #"1:52: local.cleanup_temp.patterns[2]: ".." is not a pattern of file names such as *.gz (1 to 255 bytes without / and \; * and ? match, and [ ] that are closed)"#,
            "1:75: local.cleanup_logs.patterns: is empty; fill it in, or remove the key"),
        BadFile(
            "archives of archives",
            "local: {archive_old_data: {roots: [/srv/data, /srv/data/old], to: /srv/data/old/x}}\n",
            #"1:63: local.archive_old_data.to: "/srv/data/old/x" lies inside local.archive_old_data.roots[0] ("/srv/data"), which would archive the archives"#,
            #"1:63: local.archive_old_data.to: "/srv/data/old/x" lies inside local.archive_old_data.roots[1] ("/srv/data/old"), which would archive the archives"#
        ),
        BadFile(
            "archives that would be cleaned up",
            "local: {archive_old_data: {roots: [/srv/data], to: /var/tmp/old}}\n",
            #"1:48: local.archive_old_data.to: "/var/tmp/old" lies inside local.cleanup_temp.roots[1] ("/var/tmp", the default), where cleanup_temp would delete the archives"#
        ),
        BadFile(
            "archives in no place",
            "local: {archive_old_data: {roots: [/srv/data], to: mnt}}\n",
            #"1:48: local.archive_old_data.to: "mnt" is not a directory for archives \#(rootRule); did you mean "/mnt"?"#
        ),
    ]

    static let rights: [BadFile] = [
        BadFile(
            "webhooks, without their secrets",
            "local: {alert_human: {url: 'ftp://me:secret@h/token', format: xml}}\n",
            #"1:23: local.alert_human.url: "ftp://…@h/…" is not a web address such as https://ntfy.example.org/skos (http:// or https://, [user:password@]host[:port][/path], or empty)"#,
            #"1:55: local.alert_human.format: "xml" is not one of json, ntfy, slack"#),
        BadFile(
            "a webhook without a scheme",
            "local: {alert_human: {url: hooks.slack.com/services/T0/B0/secret}}\n",
            #"1:23: local.alert_human.url: "hooks.slack.com/…" is not a web address such as https://ntfy.example.org/skos (http:// or https://, [user:password@]host[:port][/path], or empty)"#
        ),
        BadFile(
            "routes",
            """
            local:
              mesh:
                routes:
                  - {prefix: 10.88.0.1/24, device: eth1, interface: wg0}
                  - {prefix: 10.88.0.1, device: eth1/2, interface: wg0}
                  - {prefix: 10.88.0.0/24, device: eth1}
                  - {prefix: fd00::/8, device: eth1, peer: "", via: 10.1.0.1}
                  - {prefix: 10.88.0.0/33, interface: wg0}
                  - {prefix: 10.1.0.0/16, device: eth1, peer: AAAAAAAAAAAAAAAAAAAA, metric: -1, table: 0}

            """,
            #"4:10: local.mesh.routes[0].prefix: "10.88.0.1/24" is not a network such as 10.88.0.0/24 (an address of IPv4 or IPv6, /, and the length; all bits after it are 0); did you mean "10.88.0.0/24"?"#,
            #"5:10: local.mesh.routes[1].prefix: "10.88.0.1" is not a network such as 10.88.0.0/24 (an address of IPv4 or IPv6, /, and the length; all bits after it are 0); did you mean "10.88.0.1/32"?"#,
            #"5:29: local.mesh.routes[1].device: "eth1/2" is not a device's name (1 to 15 of letters, digits and _ . = + -)"#,
            "6:9: local.mesh.routes[2]: needs a peer or an interface whose loss the other way stands in for",
            "7:9: local.mesh.routes[3]: needs a peer or an interface whose loss the other way stands in for",
            "7:52: local.mesh.routes[3].via: is IPv4, but the prefix is IPv6",
            "8:9: local.mesh.routes[4].device: is missing; write a device's name",
            #"8:10: local.mesh.routes[4].prefix: "10.88.0.0/33" is not a network such as 10.88.0.0/24 (an address of IPv4 or IPv6, /, and the length; all bits after it are 0)"#,
            #"9:45: local.mesh.routes[5].peer: "AAAA…" is not a peer's public key (32 bytes in base64: 44 characters, or empty)"#,
            "9:73: local.mesh.routes[5].metric: -1 is outside 0 to 4294967295",
            "9:85: local.mesh.routes[5].table: 0 is outside 1 to 4294967295"),
        BadFile(
            "a route twice",
            """
            local:
              mesh:
                routes:
                  - {prefix: fd00:0::/16, device: eth1, interface: wg0}
                  - {prefix: fd00::/16, device: eth2, interface: wg0, metric: 0}

            """,
            "5:9: local.mesh.routes[1]: is the same as local.mesh.routes[0]; keep one"),
        BadFile(
            "what cannot be stopped",
            """
            local:
              shutdown_non_essential:
                - {}
                - {unit: x, container: y}
                - {unit: skos-agent.service}
                - {container: /y}
                - {name: a, stop: "systemctl stop a"}
                - {name: b, stop: [systemctl, stop, b], start: [/bin/../bin/b]}
                - {name: c, start: [], stop: [/bin/c]}
                - {container: d}
                - {container: d}
                - {check: [/bin/e]}

            """,
            "3:7: local.shutdown_non_essential[0]: is empty; fill it in, or remove the key",
            "4:7: local.shutdown_non_essential[1]: has unit and container; keep one",
            #"4:8: local.shutdown_non_essential[1].unit: "x" is not a systemd unit such as renderer.service (letters, digits and : _ . @ \ -, and .service, .socket, .timer or .path at the end); did you mean "x.service"?"#,
            #"5:8: local.shutdown_non_essential[2].unit: "skos-agent.service" is SKOS itself, which could not start anything again"#,
            #"6:8: local.shutdown_non_essential[3].container: "/y" is not a container's name (letters, digits, _ . and -, the first no sign)"#,
            "7:7: local.shutdown_non_essential[4]: needs start as well: a name, stop and start",
            #"7:17: local.shutdown_non_essential[4].stop: "systemctl stop a" is not a list such as [/usr/local/bin/indexer, stop]"#,
            #"8:24: local.shutdown_non_essential[5].stop[0]: "systemctl" is not the absolute path of a program; write one such as "/usr/bin/systemctl""#,
            #"8:53: local.shutdown_non_essential[5].start[0]: "/bin/../bin/b" is not the absolute path of a program; write one such as "/usr/bin/b""#,
            "9:17: local.shutdown_non_essential[6].start: is empty; fill it in, or remove the key",
            "11:7: local.shutdown_non_essential[8]: is the same as local.shutdown_non_essential[7]; keep one",
            "12:7: local.shutdown_non_essential[9]: needs name and stop and start as well: a name, stop and start"
        ),
    ]
}

/// The rules of texts, and that the patterns of the JSON Schema are no stricter.
@Suite struct TextRuleTests {
    private func check(_ rule: TextRule, _ texts: [(String, Bool)]) throws {
        let pattern = try Regex(rule.pattern)
        for (text, isValid) in texts {
            #expect(rule.accepts(text) == isValid, "\(text)")
            let matches = try pattern.wholeMatch(in: text) != nil
            #expect(matches || !isValid, "the schema refuses \(text)")
        }
    }

    @Test func subjects() throws {
        try check(
            .subject,
            [
                ("a", true), ("a.*.>", true), ("*", true), ("$X.a", true), ("synthesis.>", true),
                ("", false), (".", false), ("a.", false), ("a.>.b", false), ("a.$b", false),
                ("a\tb", false), ("ä", false), ("$", false), ("a>", false),
            ])
        try check(
            .relayedSubject,
            [("a.>", true), ("a.b.>", true), (">", false), ("*.>", false), ("a", false)])
    }

    @Test(arguments: [
        ("a.b", "a.b", true), ("a.*", "a.b", true), ("a.>", "a", false), ("a.>", "a.b.c", true),
        (">", "a", true), ("*.b", "a.>", true), ("a.b", "a.c", false), ("*", "skos.>", false),
        ("a.*.c", "*.b.*", true), ("a.b.c", "a.b", false), ("skosx.>", "skos.>", false),
    ])
    func overlaps(_ left: String, _ right: String, _ overlap: Bool) {
        #expect(subjectsOverlap(left, right) == overlap)
        #expect(subjectsOverlap(right, left) == overlap)
    }

    @Test func directories() throws {
        try check(
            .root,
            [
                ("/tmp", true), ("/var/log", true), ("/usr/local/tmp", true), ("/srv/a b", true),
                ("/running", true), ("/srv/..a", true), ("", false), ("/", false), ("/var", false),
                ("/dev/shm", false), ("/run/user", false), ("/a/.", false), ("/a\nb", false),
                ("/a/", false), ("//", false),
            ])
        try check(.archiveFolder, [("", true), ("/mnt", true), ("/sys/x", false)])
        try check(.mountPattern, [("/", true), ("/**", true), ("/a/*/b", true), ("**", false)])
        try check(
            .filePattern,
            [
                ("*", true), ("[]a]?", true), ("[!]]", true), ("[a", false), ("[]", false),
                ("", false),
            ])
    }

    @Test func network() throws {
        try check(
            .publicKey,
            [
                ("", true), ("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", true),
                // One bit too many, too short, too long.
                ("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=", false),
                ("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D==", false),
                ("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8DggA", false),
            ])
        try check(
            .prefix,
            [
                ("10.0.0.0/8", true), ("0.0.0.0/0", true), ("10.1.2.3/32", true), ("::/0", true),
                ("fd00::/8", true), ("fd00::1/128", true), ("10.0.0.0", false), ("/8", false),
                ("10.0.0.0/08", false), ("10.0.0/8", false), ("10.0.0.1/31", false),
                ("fd00::1/127", false), ("10.0.0.0/8/8", false), ("010.0.0.0/8", false),
                ("10.0.0.0\u{0}/8", false),
            ])
        try check(
            .ipAddress, [("", true), ("10.0.0.1", true), ("fe80::1", true), ("host", false)])
        try check(
            .interface("an interface"),
            [("wg0", true), ("br-lan.7", true), ("", false), (".", false), ("a/b", false)])
    }

    @Test func webhooks() throws {
        try check(
            .webhook,
            [
                ("", true), ("https://hooks.slack.com/services/T/B/x", true), ("http://h", true),
                ("http://[::1]:8080/x?y=1&z", true), ("https://u:p@h:1/", true),
                ("file:///etc/passwd", false), ("HTTP://h", false), ("http://", false),
                ("http://h:0/", false), ("http://h/a b", false), ("http://h/#x", false),
                ("http://h/\r\nX: y", false), ("gopher://h", false), ("http:///x", false),
            ])
    }

    @Test func thingsToStop() throws {
        try check(
            .unit,
            [
                ("a.service", true), ("getty@tty1.service", true), ("a\\x2db.timer", true),
                ("a", false), (".service", false), ("a.mount", false), ("a b.service", false),
                ("../a.service", false),
            ])
        try check(
            .container, [("a", true), ("a_b.c-1", true), ("-a", false), ("a/b", false)])
        try check(.argument, [("", true), ("a b", true), ("a\u{7}", false)])
    }
}
