import Testing

@testable import Settings

@Suite struct ScalarTests {
    @Test(arguments: [
        ("5s", Duration.seconds(5)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
        ("500ms", .milliseconds(500)), ("1h30m", .seconds(5400)),
        ("1m1s1ms", .milliseconds(61_001)),
        ("0", .zero), ("30", .seconds(30)), ("0.5", .milliseconds(500)),
        ("1.000000001", .nanoseconds(1_000_000_001)), ("90s", .seconds(90)),
        ("30d", .seconds(30 * 86_400)), ("1d1h", .seconds(90_000)), ("25h", .seconds(90_000)),
    ])
    func durationsAreRead(_ text: String, _ duration: Duration) {
        #expect(parseDuration(text) == duration)
        #expect(parseDuration(durationText(duration)) == duration)
    }

    @Test(arguments: [
        "", " ", "s", "5 s", "5S", "-5s", "-5", "5s2m", "5s5s", "1.5h", "1w", "1h1d", "ms", "5sm",
        "1e3",
        "0x5", "٥s", "9223372036854775807h", "99999999999999999999s", "1.0000000001", ".5", "5.",
        "+5s", "5s ", "NaN", "inf", "99999999999999999999", "2562047h9999999999m",
    ])
    func notDurations(_ text: String) {
        #expect(parseDuration(text) == nil)
    }

    @Test(arguments: [
        (Duration.zero, "0s"), (.milliseconds(1500), "1s500ms"), (.seconds(86_400), "1d"),
        (.seconds(129_600), "1d12h"), (.seconds(30 * 86_400), "30d"),
        (.nanoseconds(1), "0.000000001"), (.microseconds(1_000_500), "1.000500000"),
    ])
    func durationsAreWritten(_ duration: Duration, _ text: String) {
        #expect(durationText(duration) == text)
    }

    @Test(
        arguments: [
            ("0", 0), ("500M", 500 << 20), ("1G", 1 << 30), ("16T", 16 << 40), ("3K", 3072),
            ("1025", 1025), ("1536K", 1536 << 10), ("9223372036854775807", .max),
        ] as [(String, Int64)])
    func sizesAreRead(_ text: String, _ bytes: Int64) {
        #expect(parseSize(text) == bytes)
        #expect(parseSize(sizeText(bytes)) == bytes)
    }

    @Test(arguments: [
        "", "M", "500m", "500MB", "500 M", "-1", "1.5G", "1e3", "0x1", "٥M", "8388608T",
        "9223372036854775808", "M500", "1MM", "+1",
    ])
    func notSizes(_ text: String) {
        #expect(parseSize(text) == nil)
    }

    @Test(arguments: [
        ("0", true), ("-1", true), ("75.5", true), ("1e3", true), ("1E-3", true),
        ("-0.5e+10", true),
        ("", false), ("-", false), ("01", false), ("1.", false), (".5", false), ("1e", false),
        ("+1", false), ("0x1", false), ("nan", false), ("inf", false), ("1_0", false),
        ("1 ", false),
    ])
    func syntaxOfNumbers(_ text: String, _ isNumber: Bool) {
        #expect(isNumberSyntax(text) == isNumber)
    }

    @Test func numbersStayFinite() {
        #expect(parseNumber("1e308") == 1e308)
        #expect(parseNumber("1e309") == nil)
        #expect(parseInteger("9223372036854775807") == .max)
        #expect(parseInteger("9223372036854775808") == nil)
        #expect(parseInteger("1e3") == nil)
    }

    @Test(arguments: [
        ("thresholds", "threshold", 1), ("teh", "the", 1), ("", "abc", 3), ("kitten", "sitting", 3),
        ("same", "same", 0),
    ])
    func distances(_ left: String, _ right: String, _ distance: Int) {
        #expect(levenshtein(Array(left.utf8), Array(right.utf8)) == distance)
        #expect(levenshtein(Array(right.utf8), Array(left.utf8)) == distance)
    }

    @Test(arguments: [
        ("warnings", "warning"), ("crit", "critical"), ("heartbeat-interval", "heartbeat_interval"),
        ("xyz", nil), ("", nil), ("heartbeat_timout", "heartbeat_timeout"),
    ])
    func whatWasMeant(_ text: String, _ meant: String?) {
        let candidates = ["warning", "critical", "heartbeat_interval", "heartbeat_timeout"]
        #expect(nearest(to: text, among: candidates) == meant)
    }

    @Test(arguments: [
        ("nats://localhost:4222", true), ("localhost", true), ("tls://nats.example.org:4443", true),
        ("nats://user:pass@10.0.0.1:4222", true), ("nats://[::1]:4222", true), ("a:65535", true),
        ("nats://a/", true), ("", false), ("nats://", false), ("http://a", false),
        ("nats://a:0", false), ("a:65536", false), ("a b", false), ("nats://a:4222/x", false),
        ("nats://a\r\nPUB x", false), ("[::1", false), ("nats://@:4222", false), ("a:", false),
    ])
    func addresses(_ text: String, _ isValid: Bool) throws {
        let rule = TextRule.address
        #expect(rule.accepts(text) == isValid)
        // The schema's pattern does not know how large a port may be, and is as strict otherwise.
        let isPort = text.hasSuffix(":0") || text.hasSuffix(":65536")
        #expect(try Regex(rule.pattern).wholeMatch(in: text) != nil || !isValid)
        if !isValid, !isPort { #expect(try Regex(rule.pattern).wholeMatch(in: text) == nil) }
    }

    @Test(arguments: [
        ("throttle_1", true), ("throttle_90", true), ("throttle_91", false), ("throttle_0", false),
        ("throttle_05", false), ("throttle_gpu", true), ("restart-x", true), ("Upper", false),
        ("", false), (String(repeating: "a", count: 63), true),
        (String(repeating: "a", count: 64), false), ("throttle_5x", false),
    ])
    func actions(_ text: String, _ isValid: Bool) throws {
        #expect(TextRule.action.accepts(text) == isValid)
        #expect(try (Regex(TextRule.action.pattern).wholeMatch(in: text) != nil) == isValid)
    }
}
