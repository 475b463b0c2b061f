internal import CNATS
internal import Glibc
internal import Synchronization
internal import Threads

/// What became of one message of an `OrderedPublisher`.
package struct PubAckResult: Sendable {
    /// What the publisher was given with the message.
    package var token: UInt64
    package var result: Result<PubAck, BusError>
}

/// Stores messages one after another without waiting for each: a pipeline whose outcomes come
/// back in the order of publishing.
///
/// Acks arrive on one reply subject of its own, `_INBOX.<id>.<n>`, so that nothing has to be
/// looked up. cnats' own asynchronous publishing would never settle what a killed server left
/// open, and takes a lock and a table per message.
package final class OrderedPublisher: Sendable {
    package struct Limits: Sendable {
        /// Messages whose outcome is open; beyond it `publish` throws `bufferFull`. An ack takes
        /// about as long as the window is deep, and servers refuse after 10,000 queued messages.
        package var window = 4096
        /// A message without an ack after this long has failed with `timeout`.
        package var ackTimeout: Duration = .seconds(5)

        package init() {}
    }

    private struct Pending {
        var token: UInt64
        var deadline: UInt64
        var fenced: Bool
        var outcome: Outcome
    }

    private enum Outcome {
        case open
        case settled(Result<PubAck, BusError>)
        /// Never sent; nobody is to hear of it.
        case withdrawn
    }

    /// Open messages by number: `head ..< next`, in a ring.
    private struct Window {
        var ring: [Pending]
        var head: UInt64 = 0
        var next: UInt64 = 0
        /// The newest fenced message.
        var fenced: (number: UInt64, messageID: String)?
        /// A fenced message failed: no other may follow.
        var broken = false
        /// How many outcomes are open.
        var openCount = 0
        /// How many of them no stream has taken; which ones, the library does not say.
        var refusedCount = 0
        /// The newest message whose ack is here.
        var newestSettled: UInt64 = 0

        /// Whether the oldest message, which is open, is one that no stream has taken: acks of a stream
        /// come in order, so a message whose successor's is here has none to come.
        var isHeadRefused: Bool {
            refusedCount > 0 && (newestSettled > head || openCount == refusedCount)
        }

        subscript(number: UInt64) -> Pending {
            get { ring[Int(number % UInt64(ring.count))] }
            set { ring[Int(number % UInt64(ring.count))] = newValue }
        }
    }

    private let connection: Connection
    private let limits: Limits
    private let acks: @Sendable (PubAckResult) -> Void
    private let inbox: ReplyInbox
    private let window: Mutex<Window>
    private let delivery = Mutex<Delivery?>(nil)

    init(
        _ connection: Connection, _ limits: Limits, acks: @escaping @Sendable (PubAckResult) -> Void
    ) throws(BusError) {
        precondition(limits.window > 0, "a window needs room for one message at least")
        self.connection = connection
        self.limits = limits
        self.acks = acks
        let prefix = try connection.newInbox() + "."
        inbox = ReplyInbox(prefix)
        let none = Pending(token: 0, deadline: 0, fenced: false, outcome: .withdrawn)
        window = Mutex(Window(ring: Array(repeating: none, count: limits.window)))
        let tick = max(.milliseconds(10), limits.ackTimeout / 4)
        let running = try Delivery(
            connection, prefix + "*", isPolled: true,
            handler: { [weak self] in self?.receive($0) },
            unanswered: { [weak self] in self?.refused() }, idleAfter: tick,
            idle: { [weak self] in self?.settle(isIdle: true) })
        delivery.withLock { $0 = running }
    }

    deinit { cancel() }

    /// Ends it. Outcomes that are still open are not reported.
    package func cancel() { delivery.withLock { $0 }?.cancel() }

    /// How many messages wait for their outcome.
    package var pending: Int { window.withLock { Int($0.next - $0.head) } }

    /// Sends a message to be stored; its outcome comes to `acks` under `token`.
    ///
    /// See `JetStream.publish` for `messageID` and `expectedLastSequence`. In a pipeline the
    /// sequence alone is no fence: another writer's message makes the first one fail, but then
    /// the second one's expectation holds. Therefore a message with both, sent while the
    /// previous such message is open, also expects that one's id to be the last; and once one has
    /// failed, for whatever reason, no other is sent until `resetFence`. A publisher of fenced
    /// messages must serve one stream only.
    /// - Throws: `bufferFull` when the window is, `fenced` after a failure, and what
    ///   `Connection.publish` throws; nothing was sent then and no outcome follows.
    package func publish(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)] = [],
        messageID: String? = nil, expectedLastSequence: UInt64? = nil, token: UInt64
    ) throws(BusError) {
        try Subject.check(subject, .publish)
        var headers = PublishHeaders.join(headers, messageID, expectedLastSequence)
        let fence = expectedLastSequence == nil ? nil : messageID
        let number: UInt64
        switch open(token, fence) {
        case .full:
            throw BusError(
                .bufferFull, "publish to \(subject): \(limits.window) messages wait for their ack")
        case .broken:
            throw BusError(
                .fenced,
                "publish to \(subject): an earlier message of this pipeline failed; read the end "
                    + "of the stream, then resetFence")
        case .opened(let opened, let previous):
            number = opened
            if let previous { headers.append((PublishHeaders.expectedLastMessageID, previous)) }
        }
        do throws(BusError) {
            try inbox.withSubject(number) { reply throws(BusError) in
                try connection.send(subject, payload, headers: headers, reply: reply)
            }
        } catch {
            window.withLock { window in
                window[number].outcome = .withdrawn
                window.openCount -= 1
                if window.fenced?.number == number { window.fenced = nil }
            }
            throw error
        }
    }

    /// Lets fenced messages be sent again after one has failed.
    package func resetFence() {
        window.withLock { window in
            window.broken = false
            window.fenced = nil
        }
    }

    private enum Opening {
        /// The number of the new message and, when it is fenced, the id that has to precede it.
        case opened(UInt64, previous: String?)
        case full
        case broken
    }

    private func open(_ token: UInt64, _ fence: String?) -> Opening {
        let deadline = MonotonicClock.deadline(after: limits.ackTimeout)
        return window.withLock { window in
            let number = window.next
            guard number - window.head < UInt64(window.ring.count) else { return .full }
            if fence != nil, window.broken { return .broken }
            window.next += 1
            window.openCount += 1
            window[number] = Pending(
                token: token, deadline: deadline, fenced: fence != nil, outcome: .open)
            guard let fence else { return .opened(number, previous: nil) }
            defer { window.fenced = (number, fence) }
            guard let last = window.fenced, last.number >= window.head else {
                return .opened(number, previous: nil)
            }
            return .opened(number, previous: last.messageID)
        }
    }

    /// On the delivery thread, as `settle`.
    private func receive(_ message: BusMessage) {
        guard let subject = natsMsg_GetSubject(message.raw),
            let number = inbox.number(subject)
        else { return }
        let result = Self.outcome(of: message)
        window.withLock { window in
            // Anything else was given up before.
            guard number >= window.head, number < window.next,
                case .open = window[number].outcome
            else { return }
            window[number].outcome = .settled(result)
            window.newestSettled = max(window.newestSettled, number)
            window.openCount -= 1
        }
        settle()
    }

    /// No stream has taken one of the messages. On a polled subscription cnats says no more than that.
    private func refused() {
        window.withLock { $0.refusedCount += 1 }
        settle()
    }

    /// Reports outcomes from the oldest on, as far as they are known or overdue. While acks arrive,
    /// one is overdue only when its successor's is here.
    private func settle(isIdle: Bool = false) {
        while let settled = window.withLock({ nextSettled(&$0, isIdle) }) { acks(settled) }
    }

    private func nextSettled(_ window: inout Window, _ isIdle: Bool) -> PubAckResult? {
        while window.head < window.next {
            let first = window[window.head]
            switch first.outcome {
            case .withdrawn: window.head += 1
            case .settled(let result):
                window.head += 1
                if case .failure = result, first.fenced { window.broken = true }
                return PubAckResult(token: first.token, result: result)
            case .open:
                let isRefused = window.isHeadRefused
                let mayBeOverdue = isIdle || window.newestSettled > window.head
                guard isRefused || mayBeOverdue && first.deadline <= MonotonicClock.now else {
                    return nil
                }
                window.head += 1
                window.openCount -= 1
                if isRefused { window.refusedCount -= 1 }
                if first.fenced { window.broken = true }
                return PubAckResult(
                    token: first.token, result: .failure(isRefused ? Self.noStream : overdue))
            }
        }
        return nil
    }

    private static let noStream = BusError(.noResponders, "publish: no stream takes this subject")

    private var overdue: BusError {
        BusError(
            .timeout,
            "publish: no ack within \(limits.ackTimeout); whether it was stored is unknown")
    }

    private static func outcome(of message: BusMessage) -> Result<PubAck, BusError> {
        if natsMsg_IsNoResponders(message.raw) { return .failure(noStream) }
        return message.withPayload { bytes in
            do throws(BusError) {
                return .success(try PubAck.read(bytes, "publish"))
            } catch {
                return .failure(error)
            }
        }
    }
}

/// Reply subjects that are a prefix and a number, made and read without allocating.
final class ReplyInbox: Sendable {
    private let prefix: String
    private let length: Int

    init(_ prefix: String) {
        self.prefix = prefix
        length = prefix.utf8.count
    }

    /// Lends the reply subject for one number.
    func withSubject(
        _ number: UInt64, _ body: (UnsafePointer<CChar>) throws(BusError) -> Void
    ) throws(BusError) {
        var failure: BusError?
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 21) { buffer in
            guard let base = buffer.baseAddress else { return }
            prefix.withCString { _ = memcpy(base, $0, length) }
            var digits = 1
            var rest = number
            while rest >= 10 {
                rest /= 10
                digits += 1
            }
            rest = number
            for index in (0..<digits).reversed() {
                base[length + index] = CChar(UInt8(ascii: "0")) + CChar(rest % 10)
                rest /= 10
            }
            base[length + digits] = 0
            do throws(BusError) { try body(base) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// The number of a reply subject; `nil` when there is none.
    func number(_ subject: UnsafePointer<CChar>) -> UInt64? {
        var value: UInt64 = 0
        var index = length
        while subject[index] != 0 {
            let digit = UInt8(bitPattern: subject[index]) &- UInt8(ascii: "0")
            guard digit <= 9, index - length < 19 else { return nil }
            value = value * 10 + UInt64(digit)
            index += 1
        }
        return index == length ? nil : value
    }
}

extension JetStream {
    /// A pipeline for storing messages in order. `acks` is told the outcome of each, in order of
    /// publishing, on a thread of its own that must not be blocked for long.
    package func orderedPublisher(
        limits: OrderedPublisher.Limits = .init(),
        acks: @escaping @Sendable (PubAckResult) -> Void
    ) throws(BusError) -> OrderedPublisher {
        try OrderedPublisher(connection, limits, acks: acks)
    }
}
