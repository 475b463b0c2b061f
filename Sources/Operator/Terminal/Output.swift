import Glibc
import Runtime
import Synchronization

/// Where a verb writes: standard output, standard error, a file, or memory.
///
/// A reader that goes away, as in `skos audit tail | head`, is no failure: what follows is dropped.
package final class Output: Sendable {
    /// Bytes that are collected before they are written.
    private static let bufferSize = 64 * 1024

    private struct State {
        var buffer: [UInt8] = []
        var isClosed = false
        /// `errno` of the first write that failed.
        var failure: CInt = 0
    }

    /// The open file; `nil`: everything stays in memory.
    private let descriptor: CInt?
    private let state = Mutex(State())
    /// Whether to colour words, and where lines end.
    package let style: Style

    /// Writes to an open file, which stays the caller's.
    package init(descriptor: CInt, style: Style = Style()) {
        self.descriptor = descriptor
        self.style = style
    }

    /// Keeps everything, for tests.
    package init(style: Style = Style()) {
        descriptor = nil
        self.style = style
    }

    /// Whether the reader has gone away, so that there is no point in going on.
    package var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Whether nobody can read any more what is written to a pipe or socket; asks the system.
    package var isAbandoned: Bool {
        guard let descriptor else { return false }
        var state = pollfd(fd: descriptor, events: 0, revents: 0)
        return isClosed || (poll(&state, 1, 0) > 0 && state.revents & Int16(POLLERR) != 0)
    }

    /// Everything that was kept; empty for an output to a file.
    package var text: String {
        state.withLock { descriptor == nil ? String(decoding: $0.buffer, as: UTF8.self) : "" }
    }

    package func write(_ text: String) { write(Array(text.utf8)) }

    package func write(_ bytes: [UInt8]) {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.buffer += bytes
            if state.buffer.count >= Self.bufferSize { flush(&state) }
        }
    }

    /// A line, and everything before it, at once.
    package func line(_ text: String) {
        write(text + "\n")
        state.withLock { flush(&$0) }
    }

    /// Writes what was collected.
    ///
    /// - Throws: `Failure` when a write failed, now or before, for another reason than a reader that has
    ///   gone away.
    package func flush() throws(Failure) {
        let failure = state.withLock { state in
            flush(&state)
            return state.failure
        }
        guard failure == 0 || failure == EPIPE else {
            throw Failure(.failed, "cannot write the output: \(errorText(failure))")
        }
    }

    private func flush(_ state: inout State) {
        guard let descriptor else { return }
        var position = 0
        while position < state.buffer.count, !state.isClosed {
            let count = state.buffer.withUnsafeBytes { bytes in
                Glibc.write(
                    descriptor, bytes.baseAddress?.advanced(by: position), bytes.count - position)
            }
            if count > 0 {
                position += count
            } else if errno == EAGAIN {
                // Whoever gave us this made it non-blocking; wait for room.
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&waiting, 1, -1)
            } else if errno != EINTR {
                state.failure = errno
                state.isClosed = true
            }
        }
        state.buffer.removeAll(keepingCapacity: true)
    }
}

/// How texts are shown: with colours or without, and how wide.
package struct Style: Sendable {
    package enum Colour: String, Sendable {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case dim = "2"
        case bold = "1"
    }

    package var isColoured = false
    /// Columns of the terminal; `nil`: there is none, and lines may be as long as they like.
    package var width: Int?

    package init(isColoured: Bool = false, width: Int? = nil) {
        self.isColoured = isColoured
        self.width = width
    }

    /// The style for an open file: colours only on a terminal, and never with `NO_COLOR` (no-color.org).
    package init(descriptor: CInt, environment: [String: String]) {
        guard isatty(descriptor) == 1 else { return }
        isColoured = (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb"
        var size = winsize()
        if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col >= 20 {
            width = Int(size.ws_col)
        }
    }

    package func paint(_ text: String, _ colour: Colour?) -> String {
        guard isColoured, let colour, !text.isEmpty else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }
}
