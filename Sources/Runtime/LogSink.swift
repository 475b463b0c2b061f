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
    /// Whether the last line found no room: nobody waits for the next ones then.
    private let isClogged = Mutex(false)

    /// How long a line waits for whoever reads the log, before the program goes on without. Nothing that
    /// heals may be held up by a log that nobody reads.
    static let patience: Duration = .seconds(1)
    /// Bytes that a pipe takes at once without waiting, when it says that it takes any (`PIPE_BUF`).
    private static let pieceBytes = 4096

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

    /// As few calls of `write` as whole lines allow, so that lines of several threads and processes do not
    /// mix.
    func write(_ lines: [LogLine]) {
        var piece: [UInt8] = []
        var count = 0
        for line in lines {
            let bytes = format == .json ? line.json() : line.text()
            if piece.count + bytes.count > Self.pieceBytes {
                write(piece, lines: count)
                (piece, count) = ([], 0)
            }
            piece += bytes
            count += 1
        }
        write(piece, lines: count)
    }

    private func write(_ piece: [UInt8], lines: Int) {
        let isWritten = isClogged.withLock { isClogged in
            var rest = piece[...]
            while !rest.isEmpty {
                guard hasRoom(within: isClogged ? .zero : Self.patience) else {
                    isClogged = true
                    return false
                }
                isClogged = false
                // For more there may be no room, although there is some: then it would wait.
                let count = rest.prefix(Self.pieceBytes).withUnsafeBytes { bytes in
                    Glibc.write(descriptor, bytes.baseAddress, bytes.count)
                }
                if count < 0 && errno == EINTR { continue }
                // Closed, or full all the same: the program goes on without its log.
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }
        if !isWritten { lost.add(lines, ordering: .relaxed) }
    }

    /// Whether something can be written without waiting longer than this; true also of what is closed, and
    /// says so at once.
    private func hasRoom(within limit: Duration) -> Bool {
        let end = ContinuousClock.now + limit
        var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while descriptor >= 0 {
            let left = max(.zero, end - .now)
            let milliseconds = CInt(left / .milliseconds(1))
            let found = poll(&poller, 1, milliseconds)
            if found > 0 { return true }
            guard found < 0, errno == EINTR else { return false }
        }
        return false
    }
}
