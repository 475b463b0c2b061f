internal import CNATS
internal import Glibc
internal import Synchronization

/// Requests under way on one connection. All answers come to one subscription.
final class Requests: Sendable {
    typealias Answer = Result<BusMessage, BusError>

    private struct Waiting {
        var continuation: CheckedContinuation<Answer, Never>
        /// Its timeout, in `Deadlines`.
        var deadline: UInt64

        func end(_ answer: Answer) {
            Deadlines.shared.cancel(deadline)
            continuation.resume(returning: answer)
        }
    }

    private struct State {
        var last: UInt64 = 0
        var waiting: [UInt64: Waiting] = [:]
        /// Cancelled before they began to wait.
        var cancelled: Set<UInt64> = []
        /// Reply subjects begin with this; there once the subscription is.
        var inbox: ReplyInbox?
        /// Not a `Delivery`, which would keep the connection, and thereby this, alive.
        var box: DeliveryBox?
    }

    private let prefix: String
    private let state = Mutex(State())

    init(prefix: String) { self.prefix = prefix }

    /// A subject nobody else uses: `_INBOX.` and 22 random characters.
    static func newInbox(_ prefix: String) throws(BusError) -> String {
        var created: UnsafeMutablePointer<natsInbox>?
        let status = natsInbox_Create(&created)
        guard status == NATS_OK, let created else { throw BusError(status, "reply subject") }
        defer { natsInbox_Destroy(created) }
        return prefix + String(cString: created).dropFirst("_INBOX".utf8.count)
    }

    func request(
        _ connection: Connection, timeout: Duration,
        send: (_ reply: UnsafePointer<CChar>) throws(BusError) -> Void
    ) async throws(BusError) -> BusMessage {
        let inbox = try openInbox(connection)
        let id = state.withLock { state in
            state.last += 1
            return state.last
        }
        let answer: Answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let cancelled = state.withLock { state in
                    guard !state.cancelled.contains(id) else { return true }
                    // Under the lock: a deadline that has come already finds whom to tell.
                    state.waiting[id] = Waiting(
                        continuation: continuation, deadline: expire(id, after: timeout))
                    return false
                }
                guard !cancelled else { return continuation.resume(returning: Self.cancelled) }
                do throws(BusError) {
                    try inbox.withSubject(id, send)
                } catch {
                    finish(id, .failure(error))
                }
            }
        } onCancel: {
            let waits = state.withLock { state in
                guard state.waiting[id] == nil else { return true }
                state.cancelled.insert(id)
                return false
            }
            if waits { finish(id, Self.cancelled) }
        }
        state.withLock { _ = $0.cancelled.remove(id) }
        return try answer.get()
    }

    private static let cancelled = Answer.failure(
        BusError(.cancelled, "request: the task was cancelled"))

    private func expire(_ id: UInt64, after timeout: Duration) -> UInt64 {
        Deadlines.shared.schedule(after: timeout) { [weak self] in
            self?.finish(id, .failure(BusError(.timeout, "request: no answer within \(timeout)")))
        }
    }

    private func finish(_ id: UInt64, _ answer: Answer) {
        let waiting = state.withLock { $0.waiting.removeValue(forKey: id) }
        waiting?.end(answer)
    }

    /// The connection is closed: nothing will be answered.
    func closeAll() {
        let waiting = state.withLock { state in
            defer { state.waiting = [:] }
            return state.waiting.values.map { $0 }
        }
        for request in waiting {
            request.end(.failure(BusError(.closed, "request: the connection was closed")))
        }
    }

    private func openInbox(_ connection: Connection) throws(BusError) -> ReplyInbox {
        if let inbox = state.withLock({ $0.inbox }) { return inbox }
        let subject = try Self.newInbox(prefix) + "."
        let inbox = ReplyInbox(subject)
        let box = DeliveryBox(
            connection, handler: { [weak self] in self?.receive($0, inbox) })
        try box.start(connection, subject + "*")
        let used = state.withLock { state in
            if state.inbox == nil {
                state.inbox = inbox
                state.box = box
            }
            return state.inbox ?? inbox
        }
        // Another request may have been faster.
        if used !== inbox { box.stop() }
        return used
    }

    private func receive(_ message: BusMessage, _ inbox: ReplyInbox) {
        guard let subject = natsMsg_GetSubject(message.raw), let id = inbox.number(subject) else {
            return
        }
        if natsMsg_IsNoResponders(message.raw) {
            finish(id, .failure(BusError(NATS_NO_RESPONDERS, "request")))
        } else {
            finish(id, .success(message))
        }
    }
}

extension Connection {
    /// Sends a request and waits for the first answer.
    /// - Throws: `noResponders`, `timeout`, `cancelled`, and what `publish` throws.
    package func request(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)] = [],
        timeout: Duration
    ) async throws(BusError) -> BusMessage {
        try Subject.check(subject, .publish)
        do throws(BusError) {
            return try await requests.request(self, timeout: timeout) { reply throws(BusError) in
                try send(subject, payload, headers: headers, reply: reply)
            }
        } catch {
            throw BusError(error.code, "\(subject): \(error.message)", detail: error.detail)
        }
    }

    /// A subject nobody else uses, for answers to requests sent by hand.
    package func newInbox() throws(BusError) -> String {
        try Requests.newInbox(options.inboxPrefix)
    }
}
