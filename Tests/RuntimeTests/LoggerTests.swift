import Foundation
import Protocol
import Testing

@testable import Runtime

@Suite("Logger")
struct LoggerTests {
    private static let time = Timestamp("2026-11-21T08:00:00.123456789Z")

    private func line(
        _ message: String, _ fields: [(name: String, value: String)] = [],
        level: Logger.Level = .info
    ) throws -> LogLine {
        LogLine(
            time: try #require(Self.time), level: level, module: "coordinator", message: message,
            fields: fields)
    }

    @Test(
        "text is one line, with values quoted where they need it",
        arguments: [
            ("plain", "nova", "plain node=nova"),
            ("two words", "a b", #"two words node="a b""#),
            ("empty", "", "empty"),
            ("equals", "a=b", #"equals node="a=b""#),
            ("quotes", #"say "no\""#, #"quotes node="say \"no\\\"""#),
            ("new\nline\r\t", "a\nb", #"new\nline\r\t node="a\nb""#),
            ("\u{1B}[31mred", "\u{7F}\u{85}", #"\u{1b}[31mred node="\u{7f}\u{85}""#),
            ("\u{202E}turned\u{2028}", "87 °C", #"\u{202e}turned\u{2028} node="87 °C""#),
        ])
    func text(message: String, value: String, expected: String) throws {
        let bytes = try line(message, [("node", value)]).text()
        #expect(
            String(decoding: bytes, as: UTF8.self)
                == "2026-11-21T08:00:00.123Z INFO  coordinator: \(expected)\n")
        #expect(bytes.count { $0 == 0x0A } == 1)
    }

    @Test("the time has three digits of a fraction, also on the full second")
    func fullSecond() throws {
        var line = try line("x")
        line.time = Timestamp(seconds: 0)
        #expect(
            String(decoding: line.text(), as: UTF8.self)
                == "1970-01-01T00:00:00.000Z INFO  coordinator: x\n")
    }

    @Test("JSON is one object on one line; a field cannot pass for one of the line's own keys")
    func json() throws {
        let fields = [("node", "a\n\u{2028}\u{7F}b"), ("level", "error"), ("incident", "1")]
        let bytes = try line("say \"hi\"", fields.map { (name: $0.0, value: $0.1) }).json()
        #expect(bytes.count { $0 == 0x0A } == 1)
        #expect(bytes.last == 0x0A)
        #expect(!bytes.contains(0x7F))
        let object = try JSON.parse(Array(bytes.dropLast())).object
        #expect(object?["time"] == "2026-11-21T08:00:00.123Z")
        #expect(object?["level"] == "info")
        #expect(object?["msg"] == "say \"hi\"")
        #expect(object?["module"] == "coordinator")
        #expect(object?["node"] == "a\n\u{2028}\u{7F}b")
        #expect(object?["field_level"] == "error")
        #expect(object?.members.map(\.name).prefix(4) == ["time", "level", "msg", "module"])
    }

    @Test("a line is never longer than a pipe takes at once, and stays valid")
    func limits() throws {
        let long = String(repeating: "ü\u{1}", count: 100_000)
        let fields = (0..<100).map { (name: "f\($0)", value: long) }
        let line = try line(long, fields)
        let text = line.text()
        #expect(text.count <= LogLine.lengthLimit)
        #expect(text.count { $0 == 0x0A } == 1)
        #expect(String(validating: text, as: UTF8.self) != nil)
        #expect(String(decoding: text, as: UTF8.self).hasSuffix(" truncated=true\n"))
        let json = line.json()
        #expect(json.count <= LogLine.lengthLimit)
        #expect(try JSON.parse(Array(json.dropLast())).object?["truncated"] == true)
    }

    @Test("level and format change while it runs; bound fields come before the line's own")
    func sink() throws {
        let pipe = Pipe()
        let sink = LogSink(descriptor: pipe.fileHandleForWriting.fileDescriptor)
        let log = Logger("agent", sink: sink).with(["node": "nova"])
        log.debug("not written")
        log.info("first", ["n": 1])
        sink.level = .error
        log.warning("not written")
        sink.level = .debug
        sink.format = .json
        log.named("journal").debug("second", ["n": 2])
        try pipe.fileHandleForWriting.close()
        let all = try #require(try pipe.fileHandleForReading.readToEnd())
        let lines = String(decoding: all, as: UTF8.self).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.first?.hasSuffix("INFO  agent: first node=nova n=1") == true)
        let object = try JSON.parse(String(try #require(lines.last))).object
        #expect(object?["module"] == "journal")
        #expect(object?["node"] == "nova")
        #expect(sink.lostLines == 0)
    }

    @Test("a sink that cannot be written to loses lines, counts them, and goes on")
    func lost() {
        let sink = LogSink(descriptor: -1)
        Logger("agent", sink: sink).error("nobody hears")
        #expect(sink.lostLines == 1)
    }

    @Test("nobody waits long for a log that is not read, and it is written again when it is")
    func clogged() throws {
        let pipe = Pipe()
        let sink = LogSink(descriptor: pipe.fileHandleForWriting.fileDescriptor)
        let log = Logger("agent", sink: sink)
        let text = String(repeating: "x", count: 500)
        for _ in 0..<1000 { log.info(text) }
        let lost = sink.lostLines
        #expect((1..<1000).contains(lost))
        var lines = 0
        while lines < 1000 - lost {
            lines += pipe.fileHandleForReading.availableData.count { $0 == 0x0A }
        }
        log.info("heard")
        #expect(sink.lostLines == lost)
        let last = String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
        #expect(last.hasSuffix("heard\n") && last.count { $0 == "\n" } == 1)
    }

    @Test(
        "levels by name",
        arguments: [
            ("DEBUG", Logger.Level.debug), ("info", .info), ("Warn", .warning),
            ("warning", .warning), ("error", .error), ("loud", nil),
        ] as [(String, Logger.Level?)])
    func levels(text: String, level: Logger.Level?) { #expect(Logger.Level(text) == level) }
}
