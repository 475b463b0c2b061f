import Glibc
import Synchronization

/// Where log lines go, which of them, and in what form.
package final class LogSink: Sendable {
    /// The form of a line.
    package enum Format: UInt8, Sendable {
        case text, json
    }

    /// The process has one standard error, so there is one sink for it.
    package static let standardError = LogSink(descriptor: 2)

    private let descriptor: CInt
    private let currentLevel = Atomic<UInt8>(Logger.Level.info.rawValue)
    private let currentFormat = Atomic<UInt8>(Format.text.rawValue)
    private let lost = Atomic<Int>(0)

    /// A sink that writes to an open file; it stays the caller's.
    package init(descriptor: CInt) { self.descriptor = descriptor }

    /// Lines below this level are not written. Takes effect at once, everywhere.
    package var level: Logger.Level {
        get { Logger.Level(rawValue: currentLevel.load(ordering: .relaxed)) ?? .info }
        set { currentLevel.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// The form of the lines. Takes effect at once, everywhere.
    package var format: Format {
        get { Format(rawValue: currentFormat.load(ordering: .relaxed)) ?? .text }
        set { currentFormat.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Lines that could not be written since the start.
    package var lostLines: Int { lost.load(ordering: .relaxed) }

    /// One call of `write` for each line, so that lines of several threads and processes do not mix.
    func write(_ line: LogLine) {
        let bytes = format == .json ? line.json() : line.text()
        var count: Int
        repeat {
            count = Glibc.write(descriptor, bytes, bytes.count)
        } while count < 0 && errno == EINTR
        // A full pipe that does not block, or a closed one: the program goes on without its log.
        if count != bytes.count { lost.add(1, ordering: .relaxed) }
    }
}
