import Protocol
import Synchronization

/// Writes what happens as one line each: who says it, what, and the names and values that belong to it.
///
/// A value: `with` gives one that says more on every line. `Logger.Level` and format are the sink's and
/// can be changed while the program runs.
package struct Logger: Sendable {
    /// How much a line matters; lines below the sink's level cost almost nothing.
    package enum Level: UInt8, Sendable, Comparable, CaseIterable {
        case debug, info, warning, error

        package static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        /// Reads `debug`, `info`, `warning` (or `warn`) and `error` in any case.
        package init?(_ text: String) {
            switch text.lowercased() {
            case "debug": self = .debug
            case "info": self = .info
            case "warning", "warn": self = .warning
            case "error": self = .error
            default: return nil
            }
        }

        /// The name, as JSON lines and `config.yaml` write it.
        package var name: String {
            switch self {
            case .debug: "debug"
            case .info: "info"
            case .warning: "warning"
            case .error: "error"
            }
        }
    }

    /// Names and values of one line.
    package typealias Fields = KeyValuePairs<String, any CustomStringConvertible & Sendable>

    /// The part of the program that speaks.
    package let module: String
    /// What every line of this logger carries.
    private let bound: [(name: String, value: String)]
    private let sink: LogSink
    /// Where the lines wait for the end of a batch, within one.
    private let batch: Batch?

    private final class Batch: Sendable {
        let lines = Mutex<[LogLine]>([])
    }

    package init(_ module: String, sink: LogSink = .standardError) {
        self.init(module: module, bound: [], sink: sink, batch: nil)
    }

    private init(
        module: String, bound: [(name: String, value: String)], sink: LogSink, batch: Batch?
    ) {
        self.module = module
        self.bound = bound
        self.sink = sink
        self.batch = batch
    }

    /// A logger whose lines also carry these.
    package func with(_ fields: Fields) -> Logger {
        Logger(module: module, bound: joined(fields), sink: sink, batch: batch)
    }

    /// A logger that speaks for another part of the program.
    package func named(_ module: String) -> Logger {
        Logger(module: module, bound: bound, sink: sink, batch: batch)
    }

    /// Writes many lines at once, which costs much less than one by one: what `body` says by the logger it
    /// is given is written when it returns.
    package func batched(_ body: (Logger) -> Void) {
        let batch = Batch()
        body(Logger(module: module, bound: bound, sink: sink, batch: batch))
        sink.write(batch.lines.withLock { $0 })
    }

    /// For those who look for a fault.
    package func debug(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]
    ) {
        if isEnabled(.debug) { write(.debug, message(), fields()) }
    }

    /// What happened, for everyone.
    package func info(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]
    ) {
        if isEnabled(.info) { write(.info, message(), fields()) }
    }

    /// Something is not as it should be, and SKOS goes on.
    package func warning(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]
    ) {
        if isEnabled(.warning) { write(.warning, message(), fields()) }
    }

    /// Something SKOS was asked to do does not work.
    package func error(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]
    ) {
        if isEnabled(.error) { write(.error, message(), fields()) }
    }

    /// Whether lines of this level are written.
    package func isEnabled(_ level: Level) -> Bool { level >= sink.level }

    private func write(_ level: Level, _ message: String, _ fields: Fields) {
        let line = LogLine(
            time: SteadyClock.wallTime(), level: level, module: module, message: message,
            fields: joined(fields))
        if let batch { batch.lines.withLock { $0.append(line) } } else { sink.write([line]) }
    }

    /// The bound fields and these. One without a value is left out, since a line says what there is to
    /// say, and one that stands already gets the new value instead of standing twice.
    private func joined(_ fields: Fields) -> [(name: String, value: String)] {
        var all = bound
        for (name, field) in fields {
            let value = field.description
            if value.isEmpty { continue }
            if let index = all.firstIndex(where: { $0.name == name }) {
                all[index].value = value
            } else {
                all.append((name, value))
            }
        }
        return all
    }
}

/// One event, before it becomes text.
struct LogLine {
    /// A line is at most this long, so that one `write` to a pipe is never torn (PIPE_BUF of Linux).
    static let lengthLimit = 4096
    /// Bytes of a message that are kept.
    static let messageLimit = 1024
    /// Bytes of one value that are kept.
    static let valueLimit = 512

    var time: Timestamp
    var level: Logger.Level
    var module: String
    var message: String
    /// Those without a value are left out of the text: a line says what there is to say.
    var fields: [(name: String, value: String)]

    /// `2026-11-21T08:00:00.123Z INFO  coordinator: message node=nova action=throttle_50`
    func text() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        for text in [
            Self.text(time), " ", Self.column(level), " ", Self.escaped(module), ": ",
            Self.escaped(Self.cut(message, Self.messageLimit)),
        ] { bytes += text.utf8 }
        for (name, value) in fields where !value.isEmpty {
            let end = bytes.count
            bytes += " ".utf8
            bytes += Self.escaped(name).utf8
            bytes += "=".utf8
            Self.append(Self.cut(value, Self.valueLimit), to: &bytes)
            if bytes.count + Self.truncated.count >= Self.lengthLimit {
                bytes.removeSubrange(end...)
                if !bytes.suffix(Self.truncated.count).elementsEqual(Self.truncated) {
                    bytes += Self.truncated
                }
            }
        }
        bytes.removeSubrange(min(bytes.count, Self.lengthLimit - 1)...)
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// Stands for the fields that there was no room for.
    private static let truncated = Array(" truncated=true".utf8)

    /// `{"time":…,"level":…,"msg":…,"module":…, then the fields}`
    func json() -> [UInt8] {
        var object: JSON.Object = [
            "time": .string(Self.text(time)), "level": .string(level.name),
            "msg": .string(Self.cut(message, Self.messageLimit)),
            "module": .string(Self.cut(module, Self.valueLimit)),
        ]
        let reserved = object.members.map(\.name)
        for (name, value) in fields where !value.isEmpty {
            // A field must not pass itself off as one of the line's own keys.
            let key = reserved.contains(name) ? "field_\(name)" : name
            var longer = object
            longer[key] = .string(Self.cut(value, Self.valueLimit))
            guard JSON.object(longer).encoded.count < Self.lengthLimit - 32 else {
                object["truncated"] = true
                break
            }
            object = longer
        }
        return Self.jsonText(object) + [UInt8(ascii: "\n")]
    }

    /// JSON itself escapes only what is below 0x20.
    private static func jsonText(_ object: JSON.Object) -> [UInt8] {
        let text = JSON.object(object).text
        guard text.unicodeScalars.contains(where: isControl) else { return Array(text.utf8) }
        return text.unicodeScalars.reduce(into: []) { bytes, scalar in
            guard isControl(scalar) else {
                bytes.append(contentsOf: UTF8.encode(scalar)?.map { $0 } ?? [])
                return
            }
            let digits = String(scalar.value, radix: 16)
            bytes.append(contentsOf: "\\u".utf8)
            bytes.append(contentsOf: String(repeating: "0", count: 4 - digits.utf8.count).utf8)
            bytes.append(contentsOf: digits.utf8)
        }
    }

    /// Always three digits of a second's fraction, so that lines are in columns.
    private static func text(_ time: Timestamp) -> String {
        let text = time.inMilliseconds.description
        return text.contains(".") ? text : "\(text.dropLast()).000Z"
    }

    /// Five characters each, so that what follows is in columns.
    private static func column(_ level: Logger.Level) -> String {
        switch level {
        case .debug: "DEBUG"
        case .info: "INFO "
        case .warning: "WARN "
        case .error: "ERROR"
        }
    }

    /// At most `limit` bytes of a text, ending in `…` when some were dropped.
    private static func cut(_ text: String, _ limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: limit - 3)
        while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
            end = text.utf8.index(before: end)
        }
        return text[..<end] + "…"
    }

    /// Appends a value, in quotes where it needs them. Most are plain words, or several of them.
    private static func append(_ value: String, to bytes: inout [UInt8]) {
        var hasGaps = false
        var isSimple = true
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "="): hasGaps = true
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): isSimple = false
            case 0x21..<0x7F: break
            default: isSimple = false
            }
        }
        switch (isSimple, hasGaps) {
        case (true, false): bytes += value.utf8
        case (true, true):
            bytes.append(UInt8(ascii: "\""))
            bytes += value.utf8
            bytes.append(UInt8(ascii: "\""))
        case (false, _): bytes += (needsQuotes(value) ? quoted(value) : value).utf8
        }
    }

    private static func needsQuotes(_ value: String) -> Bool {
        value.utf8.contains {
            $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "=")
                || $0 == UInt8(ascii: "\\")
        } || hasControls(value)
    }

    /// Most texts are plain ASCII, which is seen much faster.
    private static func hasControls(_ text: String) -> Bool {
        !text.utf8.allSatisfy { 0x20 <= $0 && $0 < 0x7F }
            && text.unicodeScalars.contains(where: isControl)
    }

    private static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { text += "\\" }
            text += escape(scalar)
        }
        return text + "\""
    }

    private static func escaped(_ text: String) -> String {
        guard hasControls(text) else { return text }
        return text.unicodeScalars.reduce(into: "") { $0 += escape($1) }
    }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        guard isControl(scalar) else { return String(scalar) }
        switch scalar {
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        default: return "\\u{\(String(scalar.value, radix: 16))}"
        }
    }

    /// What could end a line, move a terminal's cursor, or turn the direction of the text: control
    /// characters, line and paragraph separators, bidirectional marks.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: true
        default: false
        }
    }
}
