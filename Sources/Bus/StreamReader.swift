internal import Protocol

/// Messages of a stream in order, without gaps and without acks: for replays and watches.
///
/// Behind it is a short-lived pull consumer with a reply subject of its own. The server sends only
/// what was asked for, so the reader sets the pace. When messages are missing, or the server falls
/// silent or restarts, the consumer is made anew at the next sequence.
package struct StreamReader: AsyncSequence, Sendable {
    package typealias Element = BusMessage
    package typealias Failure = BusError

    enum Start: Sendable, Equatable {
        case sequence(UInt64)
        /// The last message of each subject first, then what is new.
        case lastPerSubject
    }

    /// The server says at least this often that it is still there.
    static let heartbeat: Duration = .seconds(2)
    /// One request for messages stands this long.
    static let requestLife: Duration = .seconds(30)
    /// Attempts to make the consumer before a bounded reading gives up.
    static let attempts = 5
    /// Pause between them.
    static let pause: Duration = .milliseconds(200)

    let jetStream: JetStream
    let stream: String
    var filter: String?
    var start: Start
    /// Where it ends; `nil` is never.
    var last: UInt64?
    var batch: Int
    var headersOnly = false

    package func makeAsyncIterator() -> Iterator { Iterator(reader: self) }

    enum Event: Sendable {
        case message(BusMessage)
        /// Neither a message nor a heartbeat for a while.
        case silence
    }

    /// One consumer with its subscription.
    final class Session: Sendable {
        let inbox: Inbox<Event>
        let subject: String
        let delivery: Delivery
        let jetStream: JetStream
        let stream: String
        let consumer: String

        init(
            _ inbox: Inbox<Event>, _ subject: String, _ delivery: Delivery, _ reader: StreamReader,
            _ consumer: String
        ) {
            self.inbox = inbox
            self.subject = subject
            self.delivery = delivery
            jetStream = reader.jetStream
            stream = reader.stream
            self.consumer = consumer
        }

        deinit {
            inbox.cancel()
            delivery.cancel()
            // The server would notice by itself after a while; nobody waits for its answer.
            try? jetStream.connection.publish(
                "$JS.API.CONSUMER.DELETE.\(stream).\(consumer)", [])
        }
    }

    package struct Iterator: AsyncIteratorProtocol {
        private let reader: StreamReader
        private var session: Session?
        private var start: Start
        private var failures = 0
        private var expected: UInt64 = 1
        private var outstanding = 0
        /// Taken out of the inbox together, handed out one by one.
        private var taken: [Event] = []
        private var position = 0
        private var finished = false

        fileprivate init(reader: StreamReader) {
            self.reader = reader
            start = reader.start
        }

        package mutating func next(
            isolation: isolated (any Actor)?
        ) async throws(BusError) -> BusMessage? {
            try await next()
        }

        /// The next message; `nil` after the last one, or when the task is cancelled.
        package mutating func next() async throws(BusError) -> BusMessage? {
            while !finished {
                if let last = reader.last, case .sequence(let next) = start, next > last { break }
                if session == nil, try await !open() { continue }
                guard let session else { continue }
                try ask(session)
                guard let event = await take(session) else {
                    guard reader.jetStream.connection.isClosed else { break }
                    throw BusError(.closed, "stream \(reader.stream): the connection was closed")
                }
                if let message = await accept(event) { return message }
            }
            finished = true
            session = nil
            return nil
        }

        private mutating func take(_ session: Session) async -> Event? {
            if position == taken.count {
                taken = await session.inbox.nextAll()
                position = 0
                if taken.isEmpty { return nil }
            }
            defer { position += 1 }
            return taken[position]
        }

        /// Makes the consumer. False means: try again.
        private mutating func open() async throws(BusError) -> Bool {
            expected = 1
            outstanding = 0
            taken = []
            position = 0
            do throws(BusError) {
                session = try await reader.open(start)
                return true
            } catch {
                failures += 1
                let fatal = reader.last != nil && failures >= StreamReader.attempts
                switch error.code {
                case .timeout, .notConnected, .noResponders, .bufferFull: if fatal { throw error }
                case .cancelled:
                    finished = true
                    return false
                default: throw error
                }
                if (try? await Task.sleep(for: StreamReader.pause)) == nil { finished = true }
                return false
            }
        }

        /// Keeps at least half a batch on the way.
        private mutating func ask(_ session: Session) throws(BusError) {
            guard outstanding <= reader.batch / 2 else { return }
            let request: JSON = [
                "batch": .integer(Int64(reader.batch)),
                "expires": .integer(StreamReader.requestLife.wholeNanoseconds),
                "idle_heartbeat": .integer(StreamReader.heartbeat.wholeNanoseconds),
            ]
            do throws(BusError) {
                try reader.jetStream.connection.publish(
                    "$JS.API.CONSUMER.MSG.NEXT.\(reader.stream).\(session.consumer)",
                    request.encoded, reply: session.subject)
                outstanding += reader.batch
            } catch  where error.code == .bufferFull || error.code == .notConnected {
                // Silence will follow, and with it a new consumer.
            }
        }

        private mutating func accept(_ event: Event) async -> BusMessage? {
            guard case .message(let message) = event else {
                session = nil
                return nil
            }
            guard let metadata = message.metadata else {
                await control(message)
                return nil
            }
            guard metadata.consumerSequence == expected else {
                session = nil
                return nil
            }
            expected += 1
            outstanding -= 1
            failures = 0
            start = .sequence(metadata.streamSequence + 1)
            if let last = reader.last, metadata.streamSequence > last {
                finished = true
                session = nil
                return nil
            }
            return message
        }

        /// A heartbeat tells how much the server has sent. What was lost on the way, as when the connection
        /// broke and came back, would else be noticed only with the next message.
        private mutating func checkDelivered(_ heartbeat: BusMessage) {
            guard let sent = heartbeat.header("Nats-Last-Consumer").flatMap({ UInt64($0) }) else {
                return
            }
            if sent >= expected { session = nil }
        }

        /// What the server says about the consumer instead of a message.
        private mutating func control(_ message: BusMessage) async {
            switch message.status {
            case 100: checkDelivered(message)
            case 404, 408:
                // This request is over; another one may stand.
                let unsent = message.header("Nats-Pending-Messages").flatMap { Int($0) }
                outstanding = Swift.max(0, outstanding - (unsent ?? outstanding))
            case 409 where message.header("Description")?.hasPrefix("Batch Completed") == true:
                break
            default:
                session = nil
                if (try? await Task.sleep(for: StreamReader.pause)) == nil { finished = true }
            }
        }
    }
}

extension StreamReader {
    fileprivate func open(_ start: Start) async throws(BusError) -> Session {
        let connection = jetStream.connection
        let subject = try connection.newInbox()
        let inbox = Inbox<Event>(capacity: 2 * batch + 64, overflow: .dropNewest)
        let delivery = try Delivery(
            connection, subject, handler: { inbox.deliver(.message($0)) },
            idleAfter: Self.heartbeat * 3, idle: { inbox.deliver(.silence) },
            ended: { inbox.finish() })
        var config: JSON.Object = [
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": .integer((Self.requestLife * 2).wholeNanoseconds),
        ]
        switch start {
        case .lastPerSubject: config["deliver_policy"] = "last_per_subject"
        case .sequence(let sequence):
            config["deliver_policy"] = "by_start_sequence"
            config["opt_start_seq"] = .integer(Int64(clamping: Swift.max(1, sequence)))
        }
        // Last-per-subject needs a filter; everything is one.
        if let filter = filter ?? (start == .lastPerSubject ? ">" : nil) {
            config["filter_subject"] = .string(filter)
        }
        if headersOnly { config["headers_only"] = true }
        let answer = try await jetStream.api(
            "CONSUMER.CREATE.\(stream)",
            ["stream_name": .string(stream), "config": .object(config)])
        guard let name = answer["name"]?.string, Subject.isToken(name) else {
            throw BusError(.protocolError, "stream \(stream): the server named no consumer")
        }
        return Session(inbox, subject, delivery, self, name)
    }
}

extension JetStream {
    /// The most messages one request may ask for.
    package static let batchLimit = 4096

    /// Reads the messages `range.lowerBound ... range.upperBound` of a stream, in order; sequences
    /// that the stream no longer has are left out. Ends there, so take the upper bound from
    /// `streamInfo`: a sequence not stored yet is waited for. Up to twice `batch` wait in memory.
    /// - Throws, while it is read: `jetStream(code)`, `timeout`, `closed`.
    package func readRange(
        _ stream: String, _ range: ClosedRange<UInt64>, batch: Int = 512
    ) throws(BusError) -> StreamReader {
        try Self.checkName(stream, "stream")
        guard 1...Self.batchLimit ~= batch else {
            throw BusError(.invalidArgument, "batch \(batch): between 1 and \(Self.batchLimit)")
        }
        return StreamReader(
            jetStream: self, stream: stream, start: .sequence(range.lowerBound),
            last: range.upperBound, batch: batch)
    }
}
