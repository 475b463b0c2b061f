import Platform
import Testing

@Suite struct GlobPatternTests {
    @Test(
        arguments: [
            ("*", "anything\n", true), ("*", "", true), ("", "", true), ("", "a", false),
            ("*.gz", "a.gz", true), ("*.gz", ".gz", true), ("*.gz", "a.gzip", false),
            ("*.[0-9]", "syslog.1", true), ("*.[0-9]", "syslog.10", false),
            ("*.[!0-9]", "syslog.a", true), ("*.[^0-9]", "syslog.1", false),
            ("a?c", "abc", true), ("a?c", "ac", false), ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbYcZ", false), ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaa", false),
            ("\\*", "*", true), ("\\*", "a", false), ("[]]", "]", true), ("[a-]", "-", true),
            ("[", "[", true), ("[z-a]", "m", false), ("a\\", "a\\", true), ("x*", "y", false),
            ("*/*", "a/b", true), ("a*", "a/b", true),
        ])
    func names(_ row: (pattern: String, name: String, matches: Bool)) {
        #expect(GlobPattern(name: row.pattern).matches(row.name) == row.matches)
    }

    @Test(
        arguments: [
            ("/**", "/", true), ("/**", "/var/lib", true), ("/*", "/var", true),
            ("/*", "/var/lib", false), ("/mnt/*/data", "/mnt/a/data", true),
            ("/mnt/*/data", "/mnt/a/b/data", false), ("/mnt/**/data", "/mnt/a/b/data", true),
            ("/mnt/**/*.d/x", "/mnt/a/b.d/c.d/x", true), ("/mnt/**/*.d/x", "/mnt/a.d/y", false),
            ("/a?b", "/a/b", false), ("/a[/]b", "/a/b", false), ("/**/c*", "/a/b/c/d", false),
            ("/home", "/home/user", false), ("**", "", true),
        ])
    func paths(_ row: (pattern: String, path: String, matches: Bool)) {
        #expect(GlobPattern(path: row.pattern).matches(row.path) == row.matches)
    }

    @Test("names need not be text") func bytes() {
        #expect(GlobPattern(name: "*.gz").matches([0xFF, 0x0A, 0x2E, 0x67, 0x7A]))
        #expect(GlobPattern(name: "?").matches([0xFF]))
    }
}
