internal import Protocol

/// A bucket of keys with revisions, kept in a JetStream stream the way all NATS clients do (ADR-8).
///
/// Keys are tokens of `A-Z a-z 0-9 _ -`, joined by dots.
package struct KeyValue: Sendable {
    package struct Config: Sendable, Equatable {
        package var bucket: String
        /// Values kept per key, 1 to 64.
        package var history = 1
        /// How long a value lives after it was written; `nil` is for ever.
        package var ttl: Duration?
        package var storage: StreamConfig.Storage = .file
        package var replicas = 1
        package var maxValueSize: Int?

        package init(bucket: String) { self.bucket = bucket }
    }

    /// One revision of one key.
    package struct Entry: Sendable, Equatable {
        package enum Operation: Sendable, Equatable {
            case put
            case delete
            /// Deleted together with its history.
            case purge
            /// Its time to live ran out, and the bucket, made by somebody else, is told to say so.
            case expired
        }

        package var key: String
        package var value: [UInt8]
        package var revision: UInt64
        package var operation: Operation
        /// When it was written, in nanoseconds since the epoch.
        package var timestampNanoseconds: Int64
        /// In a watch: how many entries are known to follow. 0 means that this is the present state.
        package var pending: UInt64
    }

    package let bucket: String
    let jetStream: JetStream
    private var stream: String { "KV_\(bucket)" }
    var prefix: String { "$KV.\(bucket)." }

    /// The newest value of a key; `nil` when it was never written, was deleted or has expired.
    /// Read from the leader, so what was written before is seen.
    /// - Throws: `jetStream(code)`, `timeout`.
    package func get(_ key: String) async throws(BusError) -> Entry? {
        guard let entry = try await newest(key), entry.operation == .put else { return nil }
        return entry
    }

    /// Writes, whatever was there before. Returns the revision.
    package func put(_ key: String, _ value: [UInt8]) async throws(BusError) -> UInt64 {
        try await write(key, value, [])
    }

    /// Writes a key that does not exist, or no longer. Returns the revision.
    /// - Throws: an error that `isWrongSequence` when it exists.
    package func create(_ key: String, _ value: [UInt8]) async throws(BusError) -> UInt64 {
        do throws(BusError) {
            return try await update(key, value, revision: 0)
        } catch  where error.isWrongSequence {
            // A deleted key still has a last revision, its marker.
            guard let entry = try await newest(key), entry.operation != .put else { throw error }
            return try await update(key, value, revision: entry.revision)
        }
    }

    /// Writes only if `revision` is the key's newest; 0 means that it was never written.
    /// Returns the new revision.
    /// - Throws: an error that `isWrongSequence` when somebody else was faster.
    package func update(
        _ key: String, _ value: [UInt8], revision: UInt64
    ) async throws(BusError) -> UInt64 {
        try await write(key, value, [(Self.expectedRevision, String(revision))])
    }

    /// Leaves a marker that the key is deleted; with `revision`, only if that is the newest.
    package func delete(_ key: String, revision: UInt64? = nil) async throws(BusError) {
        var headers = [(Self.operation, "DEL")]
        if let revision { headers.append((Self.expectedRevision, String(revision))) }
        _ = try await write(key, [], headers)
    }

    /// As `delete`, and drops the key's history.
    package func purge(_ key: String) async throws(BusError) {
        _ = try await write(key, [], [(Self.operation, "PURGE"), ("Nats-Rollup", "sub")])
    }

    /// The keys that have a value, sorted.
    package func keys() async throws(BusError) -> [String] {
        let info = try await jetStream.streamInfo(stream)
        guard info.messages > 0 else { return [] }
        var keys: [String] = []
        let reader = StreamReader(
            jetStream: jetStream, stream: stream, filter: prefix + ">", start: .lastPerSubject,
            last: info.lastSequence, batch: 256, headersOnly: true)
        for try await message in reader {
            guard let entry = Entry(message, prefix) else { continue }
            if entry.operation == .put { keys.append(entry.key) }
            if entry.pending == 0 { break }
        }
        return keys.sorted()
    }

    /// The present value of every key that matches, then every change as it happens, in order.
    /// `pattern` may have wildcards. Survives disconnections. Ends when the task is cancelled.
    /// - Throws: `invalidArgument`; while it is read, what `StreamReader` throws.
    package func watch(_ pattern: String = ">") throws(BusError) -> Watch {
        try Subject.check(pattern, .subscribe)
        return Watch(
            reader: StreamReader(
                jetStream: jetStream, stream: stream, filter: prefix + pattern,
                start: .lastPerSubject, batch: 256),
            prefix: prefix)
    }

    private static let operation = "KV-Operation"
    private static let expectedRevision = "Nats-Expected-Last-Subject-Sequence"

    private func write(
        _ key: String, _ value: [UInt8], _ headers: [(String, String)]
    ) async throws(BusError) -> UInt64 {
        try checkKey(key)
        return try await jetStream.publish(prefix + key, value, headers: headers).sequence
    }

    private func newest(_ key: String) async throws(BusError) -> Entry? {
        try checkKey(key)
        guard let stored = try await jetStream.getMessage(stream, lastBySubject: prefix + key)
        else {
            return nil
        }
        return Entry(
            key: key, value: stored.payload, revision: stored.sequence,
            operation: Entry.operation(
                stored.header(Self.operation), stored.header(Entry.markerReason)),
            timestampNanoseconds: stored.timestampNanoseconds, pending: 0)
    }

    private func checkKey(_ key: String) throws(BusError) {
        guard key.first != "$" else {
            throw BusError(.invalidArgument, "key '\(key)': a key does not begin with '$'")
        }
        try Subject.check(key, .publish)
    }
}

extension KeyValue.Entry {
    static let markerReason = "Nats-Marker-Reason"

    static func operation(_ operation: String?, _ markerReason: String?) -> Operation {
        if let markerReason { return markerReason == "MaxAge" ? .expired : .delete }
        return switch operation {
        case "DEL": .delete
        case "PURGE": .purge
        default: .put
        }
    }

    init?(_ message: BusMessage, _ prefix: String) {
        guard let metadata = message.metadata else { return nil }
        let subject = message.subject
        guard subject.hasPrefix(prefix) else { return nil }
        key = String(subject.dropFirst(prefix.count))
        value = message.payload
        revision = metadata.streamSequence
        operation = Self.operation(
            message.header("KV-Operation"), message.header(Self.markerReason))
        timestampNanoseconds = metadata.timestampNanoseconds
        pending = metadata.pending
    }
}

extension KeyValue {
    /// The changes of a bucket; see `watch`.
    package struct Watch: AsyncSequence, Sendable {
        package typealias Element = Entry
        package typealias Failure = BusError

        let reader: StreamReader
        let prefix: String

        package func makeAsyncIterator() -> Iterator {
            Iterator(messages: reader.makeAsyncIterator(), prefix: prefix)
        }

        package struct Iterator: AsyncIteratorProtocol {
            fileprivate var messages: StreamReader.Iterator
            fileprivate let prefix: String

            package mutating func next() async throws(BusError) -> Entry? {
                while let message = try await messages.next() {
                    if let entry = Entry(message, prefix) { return entry }
                }
                return nil
            }

            package mutating func next(
                isolation: isolated (any Actor)?
            ) async throws(BusError) -> Entry? {
                try await next()
            }
        }
    }
}

extension JetStream {
    /// Creates the bucket, or checks that the existing one is what `config` asks for.
    /// - Throws: `configMismatch` naming the field, `jetStream(code)`, `timeout`.
    package func ensureBucket(_ config: KeyValue.Config) async throws(BusError) -> KeyValue {
        try Self.checkName(config.bucket, "bucket")
        guard 1...64 ~= config.history else {
            throw BusError(.invalidArgument, "bucket \(config.bucket): history is 1 to 64")
        }
        var stream = StreamConfig(
            name: "KV_\(config.bucket)", subjects: ["$KV.\(config.bucket).>"])
        stream.storage = config.storage
        stream.replicas = config.replicas
        stream.discard = .new
        stream.maxMessagesPerSubject = config.history
        stream.maxMessageSize = config.maxValueSize
        stream.maxAge = config.ttl
        stream.denyDelete = true
        stream.allowRollup = true
        stream.allowDirect = true
        // The server's default; it refuses a window longer than the messages live.
        stream.duplicateWindow = min(.seconds(120), config.ttl ?? .seconds(120))
        _ = try await ensureStream(stream)
        return KeyValue(bucket: config.bucket, jetStream: self)
    }

    /// A bucket that exists.
    /// - Throws: `jetStream(streamNotFound)`, `timeout`.
    package func bucket(_ bucket: String) async throws(BusError) -> KeyValue {
        try Self.checkName(bucket, "bucket")
        _ = try await streamInfo("KV_\(bucket)")
        return KeyValue(bucket: bucket, jetStream: self)
    }
}
