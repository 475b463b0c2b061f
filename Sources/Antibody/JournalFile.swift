import Glibc
import Platform
import Protocol
import Runtime
import Synchronization

/// The file behind an agent's memory. What `append` has returned for survives the loss of the process
/// and of power. All functions block until the disk has answered.
package final class JournalFile: Sendable {
    /// Bytes of a file that are read; a journal that SKOS wrote stays far below.
    package static let sizeLimit = 64 << 20
    /// A file smaller than this is never rewritten to make it shorter.
    package static let compactionFloor = 128 << 10
    /// Bytes on the disk that are kept free for records: an agent must be able to act also when the disk that
    /// it is to make room on holds its own journal. A record has some hundred bytes.
    static let reserveBytes = 64 << 10

    /// Why the journal cannot be used, and what to do about it.
    package struct Failure: Error, Equatable, CustomStringConvertible {
        package var reason: String
        package var description: String { reason }
    }

    private struct State {
        var descriptor: CInt
        var length: Int
        /// Rewritten when it is longer than this.
        var compactionLength = JournalFile.compactionFloor
        /// Set when the file may not be added to; a rewrite mends it.
        var isBroken = false
        /// The end of what is set aside on the disk.
        var reserved = 0

        /// Sets room aside for the next records, when half of it is used up.
        mutating func reserve() {
            guard descriptor >= 0, reserved - length < JournalFile.reserveBytes / 2 else { return }
            let bytes = JournalFile.reserveBytes
            if SpaceReserve.make(descriptor, from: length, bytes: bytes) {
                reserved = length + bytes
            }
        }
    }

    package let path: String
    private let agent: String
    /// What is wrong with the file as it was found; then it is never written to.
    package let damage: String?
    private let state: Mutex<State>

    /// Opens the journal, or begins one; the directory is created when there is none.
    ///
    /// - Throws: `Failure`. A damaged journal is no failure: see `damage`.
    package static func open(
        directory: String, name: String, agent: String
    ) throws(Failure) -> (JournalFile, Ledger) {
        let path = "\(directory)/\(name).journal"
        try makeDirectory(directory)
        let bytes = try read(path)
        let contents = JournalText.read(bytes ?? [], agent: agent)
        let damage = contents.damage.map { damage in
            "\(path), \(damage): nothing is done on this node by this agent until a person has looked "
                + "at it; to begin anew, stop the agent and move the file away"
        }
        let descriptor = damage == nil && bytes != nil ? try openForWriting(path) : -1
        let file = JournalFile(
            path: path, agent: agent, damage: damage,
            state: State(descriptor: descriptor, length: contents.goodLength))
        file.state.withLock { $0.reserve() }
        if damage == nil {
            // Also drops a torn end, and what is no longer needed.
            if bytes.map({ $0.count != contents.goodLength || $0.isEmpty }) ?? true {
                try file.rewrite(contents.ledger)
            }
        }
        return (file, contents.ledger)
    }

    private init(path: String, agent: String, damage: String?, state: State) {
        self.path = path
        self.agent = agent
        self.damage = damage
        self.state = Mutex(state)
    }

    deinit { close() }

    /// Lets go of the file; later calls fail.
    package func close() {
        state.withLock { state in
            if state.descriptor >= 0 { Glibc.close(state.descriptor) }
            state.descriptor = -1
            state.isBroken = true
        }
    }

    /// Whether `append` would fail without trying; `rewrite` may mend that.
    package var isBroken: Bool { state.withLock { $0.isBroken } || damage != nil }

    /// Whether it is time to `rewrite`, to make the file shorter.
    package var isLong: Bool { state.withLock { $0.length > $0.compactionLength } }

    /// Writes records and waits until they are on the disk.
    ///
    /// - Throws: `Failure`; then none of the records will be found after a restart, or all of them.
    package func append(_ records: [JournalRecord]) throws(Failure) {
        if let damage { throw Failure(reason: damage) }
        let bytes = records.flatMap(JournalText.line)
        let result = state.withLock { state -> Result<Void, Failure> in
            guard !state.isBroken, state.descriptor >= 0 else {
                return .failure(Failure(reason: "\(path) failed before and is not mended yet"))
            }
            do throws(Failure) {
                try Self.write(bytes, to: state.descriptor, at: state.length, path)
            } catch {
                // Half a line in the middle of the file would be damage to the next reader.
                state.isBroken = ftruncate(state.descriptor, off_t(state.length)) != 0
                state.reserved = 0
                return .failure(error)
            }
            guard fdatasync(state.descriptor) == 0 else {
                // The kernel may have dropped the pages, so nothing about the file is sure.
                state.isBroken = true
                return .failure(Self.failure("cannot sync \(path)"))
            }
            state.length += bytes.count
            state.reserve()
            return .success(())
        }
        try result.get()
    }

    /// Replaces the file by the shortest one that holds the ledger; at no time there is none.
    ///
    /// - Throws: `Failure`; then the file is as it was.
    package func rewrite(_ ledger: Ledger) throws(Failure) {
        if let damage { throw Failure(reason: damage) }
        let lines = [JournalText.header(agent: agent)] + ledger.records.map(JournalText.line)
        let bytes = Array(lines.joined())
        let result = state.withLock { state -> Result<Void, Failure> in
            let descriptor: CInt
            do throws(Failure) { descriptor = try replace(with: bytes) } catch {
                return .failure(error)
            }
            if state.descriptor >= 0 { Glibc.close(state.descriptor) }
            let floor = max(Self.compactionFloor, 2 * bytes.count)
            state = State(descriptor: descriptor, length: bytes.count, compactionLength: floor)
            state.reserve()
            do throws(Failure) { try Self.syncDirectory(of: path) } catch {
                // After a loss of power the old file may be back.
                state.isBroken = true
                return .failure(error)
            }
            return .success(())
        }
        try result.get()
    }

    /// Puts a new file in the place of the old one and returns it, open for writing.
    private func replace(with bytes: [UInt8]) throws(Failure) -> CInt {
        let temporary = path + ".new"
        let descriptor = Glibc.open(
            temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Self.failure("cannot create \(temporary)") }
        do throws(Failure) {
            try Self.write(bytes, to: descriptor, at: 0, temporary)
            guard fsync(descriptor) == 0 else { throw Self.failure("cannot sync \(temporary)") }
            guard rename(temporary, path) == 0 else {
                throw Self.failure("cannot rename \(temporary) to \(path)")
            }
        } catch {
            Glibc.close(descriptor)
            unlink(temporary)
            throw error
        }
        return descriptor
    }

    private static func write(
        _ bytes: [UInt8], to descriptor: CInt, at offset: Int, _ path: String
    ) throws(Failure) {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { bytes in
                pwrite(
                    descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written,
                    off_t(offset + written))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw failure("cannot write \(path)") }
            written += count
        }
    }

    private static func read(_ path: String) throws(Failure) -> [UInt8]? {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failure("cannot open \(path)")
        }
        defer { Glibc.close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("cannot look at \(path)") }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Failure(reason: "\(path) is not a file; move it away")
        }
        guard status.st_size <= sizeLimit else {
            throw Failure(reason: "\(path) has more than \(sizeLimit) bytes; move it away")
        }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var length = 0
        while length < bytes.count {
            let count = bytes.withUnsafeMutableBytes { bytes in
                Glibc.read(descriptor, bytes.baseAddress.map { $0 + length }, bytes.count - length)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot read \(path)") }
            if count == 0 { break }
            length += count
        }
        return Array(bytes.prefix(length))
    }

    private static func openForWriting(_ path: String) throws(Failure) -> CInt {
        let descriptor = Glibc.open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw failure("cannot write \(path)") }
        return descriptor
    }

    /// Creates a directory and those above it.
    static func makeDirectory(_ path: String) throws(Failure) {
        if mkdir(path, 0o750) == 0 { return try syncDirectory(of: path) }
        switch errno {
        case EEXIST: return
        case ENOENT:
            let parent = parent(of: path)
            guard parent != path else { throw failure("cannot create \(path)") }
            try makeDirectory(parent)
            guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
                throw failure("cannot create \(path)")
            }
            try syncDirectory(of: path)
        default: throw failure("cannot create \(path)")
        }
    }

    /// Makes a new name durable.
    private static func syncDirectory(of path: String) throws(Failure) {
        let parent = parent(of: path)
        let descriptor = Glibc.open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open \(parent)") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync \(parent)") }
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The failure of the last call of the C library.
    private static func failure(_ what: String) -> Failure {
        Failure(reason: "\(what): \(errorText(errno))")
    }
}
