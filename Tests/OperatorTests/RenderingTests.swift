import Protocol
import Testing

@testable import Operator

@Suite struct RenderingTests {
    @Test(
        "durations in words",
        arguments: [
            (Duration.zero, "0ms"), (.milliseconds(350), "350ms"), (.milliseconds(1999), "1s"),
            (.seconds(59), "59s"), (.seconds(60), "1m"), (.seconds(61), "1m1s"),
            (.seconds(3600), "1h"), (.seconds(3661), "1h1m"), (.seconds(3601), "1h"),
            (.seconds(90_000), "1d1h"), (.seconds(86_400 * 400), "400d"),
            (.seconds(-5), "-5s"),
        ])
    func durations(duration: Duration, text: String) {
        #expect(Text.short(duration) == text)
    }

    @Test(
        "numbers",
        arguments: [
            (88, "88"), (87.5, "87.5"), (0.71, "0.71"), (0.705, "0.71"), (-1.25, "-1.25"),
            (2.0, "2"), (1e300, "1e+300"), (0.001, "0.0"),
        ])
    func numbers(value: Double, text: String) {
        #expect(Text.number(value) == text)
    }

    @Test("times in UTC")
    func times() throws {
        let time = try #require(Timestamp("2026-11-21T09:07:07.1234Z"))
        #expect(Text.time(time) == "2026-11-21 09:07:07Z")
        #expect(Text.clock(time) == "09:07:07.123")
        #expect(Text.clock(Timestamp(seconds: 0)) == "00:00:00.000")
    }

    @Test("foreign text cannot move the cursor")
    func safety() {
        #expect(Text.safe("a\u{1B}[2Jb") == "a\\u{1b}[2Jb")
        #expect(Text.safe("a\nb\u{202E}c\u{9B}d") == "a\\u{a}b\\u{202e}c\\u{9b}d")
        #expect(Text.safe("ä → 🙂") == "ä → 🙂")
        #expect(
            Text.safeJSON("{\n  \"a\": \"\u{9B}\u{2028}\u{7F}x\"\n}")
                == "{\n  \"a\": \"\\u009b\\u2028\\u007fx\"\n}")
        #expect(Table.Cell("\u{1B}[31m").text == "\\u{1b}[31m")
    }

    @Test("what people are told to paste runs nothing but skos")
    func commands() {
        #expect(Text.command("undo", "nova:x:1") == "`skos undo nova:x:1`")
        #expect(Text.command("explain", "a $(b) `c`") == "skos explain 'a $(b) `c`'")
        #expect(Text.command("explain", "it's\u{1B}") == #"skos explain 'it'\''s\u{1b}'"#)
    }

    @Test("cuts at a whole character")
    func cuts() {
        #expect(Text.cut("abc", 3) == "abc")
        #expect(Text.cut("abcdef", 5) == "ab…")
        #expect(Text.cut("äöü", 5) == "ä…")
    }

    @Test("a table is as wide as it needs to be")
    func table() {
        var table = Table(["NAME", "STATE", "NOTE"])
        table.add(["nova", "online", ""])
        table.add(["athena-2", "x", "late by 3s"])
        #expect(
            table.text(Style()) == """
                NAME      STATE   NOTE
                nova      online
                athena-2  x       late by 3s

                """)
    }

    @Test("on a terminal the last column gives way")
    func narrow() {
        var table = Table(["A", "NOTE"])
        table.add(["nova", "a very long note that does not fit"])
        #expect(table.text(Style(width: 20)) == "A     NOTE\nnova  a very long n…\n")
    }

    @Test("colours only when asked for, and without changing the widths")
    func colours() {
        var table = Table(["A", "B"])
        table.add([Mood.cell("online"), "x"])
        #expect(table.text(Style()) == "A       B\nonline  x\n")
        #expect(
            table.text(Style(isColoured: true))
                == "\u{1B}[2mA\u{1B}[0m       \u{1B}[2mB\u{1B}[0m\n\u{1B}[32monline\u{1B}[0m  x\n")
    }

    @Test("no colours in files and pipes")
    func plain() throws {
        let style = Style(descriptor: 0, environment: [:])
        #expect(!style.isColoured)
        #expect(style.width == nil)
    }

    @Test("a listing has its values in a column")
    func listing() {
        var listing = Listing()
        listing.add("nats", "here")
        listing.add("configuration", "there")
        listing.more("and more")
        #expect(
            listing.text(Style()) == """
                nats           here
                configuration  there
                               and more

                """)
    }

    @Test("help wraps and lists everything")
    func help() async {
        let session = Session()
        let outcome = await session.run(["audit", "tail", "--help"])
        #expect(outcome.code == .done)
        #expect(outcome.err.isEmpty)
        #expect(outcome.out.hasPrefix("usage: skos audit tail [FLAGS]\n"))
        for word in ["--follow", "-n, --count N", "--config", "coordinator, config, alert"] {
            #expect(outcome.out.contains(word))
        }
        let all = await session.run(["--help"])
        for word in ["coordinator", "up", "explain", "doctor", "Exit codes: 0 done"] {
            #expect(all.out.contains(word))
        }
        for line in (outcome.out + all.out).split(separator: "\n") { #expect(line.count <= 100) }
    }
}
