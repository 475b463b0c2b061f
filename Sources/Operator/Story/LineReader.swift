import Glibc
import Runtime

/// Reads a file line by line, with a limit on a line's length.
struct LineReader: ~Copyable {
    /// Bytes of the longest line: a record has 64 KiB, and JSON may write each of them with six.
    static let lineLimit = 1 << 20

    private let path: String
    private let descriptor: CInt
    private var buffer: [UInt8] = []
    private var position = 0
    private var isAtEnd = false
    /// The number of the line that was read last, from 1.
    private(set) var number = 0

    /// - `path`: `-` is the standard input.
    /// - Throws: `Failure` when it cannot be opened.
    init(_ path: String) throws(Failure) {
        self.path = path == "-" ? "standard input" : path
        descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(.usage, "\(path) cannot be opened: \(errorText(errno))")
        }
    }

    deinit { if descriptor > 0 { close(descriptor) } }

    /// The next line without its end, or `nil` behind the last one.
    ///
    /// - Throws: `Failure` when reading fails, or a line is too long.
    mutating func next() throws(Failure) -> [UInt8]? {
        var searched = position
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { position = end + 1 }
                number += 1
                return Array(buffer[position..<end])
            }
            searched = buffer.count
            guard buffer.count - position <= Self.lineLimit else {
                throw Failure(
                    .failed,
                    "\(path):\(number + 1): the line is longer than \(Self.lineLimit) bytes")
            }
            guard !isAtEnd else { break }
            searched -= position
            buffer.removeFirst(position)
            position = 0
            try fill()
        }
        guard position < buffer.count else { return nil }
        defer { position = buffer.count }
        number += 1
        return Array(buffer[position...])
    }

    private mutating func fill() throws(Failure) {
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        var count: Int
        repeat { count = read(descriptor, &chunk, chunk.count) } while count < 0 && errno == EINTR
        guard count >= 0 else {
            throw Failure(.failed, "\(path) cannot be read: \(errorText(errno))")
        }
        isAtEnd = count == 0
        buffer += chunk[..<count]
    }
}
