import Testing

@testable import Settings

/// Which directories may be named as roots, and where archives may go.
@Suite("directories the system lives in") struct SystemFolderTests {
    private static let refused = [
        "/", "/bin", "/usr/bin", "/usr/lib/modules", "/usr/local", "/usr/local/lib",
        "/usr/local/share/x",
        "/usr/src/linux", "/lib/modules", "/lib64/x",
        "/sbin/x", "/boot/grub", "/etc/ssh", "/proc/1", "/sys/class", "/dev/shm", "/run/user/0",
        "/root", "/root/.ssh", "/home/x/.ssh/old", "/home/x/.gnupg", "/srv/.aws", "/var",
        "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info", "/var/lib/docker/overlay2",
        "/var/lib/containers/storage", "/var/lib/private", "/var/lib/systemd/timers",
        "/var/lib/systemd/coredumps", "/var/run/x", "/var/spool",
        "/var/spool/cron/crontabs",
    ]
    private static let allowed = [
        "/tmp", "/tmp/usr/lib", "/var/tmp", "/var/log", "/var/log/journal", "/var/cache/apt",
        "/srv", "/srv/data", "/home", "/home/x", "/home/x/.cache", "/opt/x/tmp", "/root/old",
        "/usr/local/tmp", "/usr/local/tomcat/logs",
        "/mnt/usr/bin", "/library", "/usrdata", "/var/lib/app", "/var/lib/app/spool",
        "/var/lib/dpkg-old", "/var/lib/private/app/spool", "/var/spool/app",
        "/var/lib/systemd/coredump", "/var/lib/systemd/coredump/x",
    ]

    @Test("refused, with all that is in them, by SKOS and by the schema", arguments: refused)
    func refuses(_ path: String) throws { try check(path, isAllowed: false) }

    @Test("those of programs and users are theirs to name", arguments: allowed)
    func allows(_ path: String) throws { try check(path, isAllowed: true) }

    private func check(_ path: String, isAllowed: Bool) throws {
        for rule in [TextRule.root, .archiveFolder] {
            #expect(rule.accepts(path) == isAllowed)
            #expect((rule.objection(path) == nil) == isAllowed)
            #expect((try Regex(rule.pattern).wholeMatch(in: path) != nil) == isAllowed)
        }
    }

    @Test("each is named in its place, with the reason, in every list")
    func places() {
        let taboo = "nothing is deleted, moved or archived there"
        let text = """
            local:
              cleanup_temp: {roots: [/tmp, /usr/bin]}
              cleanup_logs: {roots: [/var/lib]}
              archive_old_data: {roots: [/root/.ssh], to: /var/lib/docker/old}

            """
        #expect(
            problems(text) == [
                #"config.yaml:2:32: local.cleanup_temp.roots[1]: "/usr/bin" is not a directory for cleanups: the system lives in /usr; \#(taboo)"#,
                #"config.yaml:3:26: local.cleanup_logs.roots[0]: "/var/lib" is not a directory for cleanups: too much of the system is in it; name a directory inside it"#,
                #"config.yaml:4:30: local.archive_old_data.roots[0]: "/root/.ssh" is not a directory for cleanups: .ssh has keys; \#(taboo)"#,
                #"config.yaml:4:43: local.archive_old_data.to: "/var/lib/docker/old" is not a directory for archives: the system lives in /var/lib/docker; \#(taboo)"#,
            ])
    }
}
