internal import CNATS
internal import Synchronization

/// One connection to NATS.
///
/// It comes back by itself after a disconnection, with all subscriptions, for as long as it
/// lives; only `close`, `drain`, dropping it, or a server that refuses the credentials ends it.
package final class Connection: Sendable {
    /// Limits cnats keeps for messages that wait for a subscription's own thread.
    package enum Pending {
        /// cnats 3.4.1 multiplies by 1024 into a 32-bit integer: more than 1 << 20 becomes 0.
        package static let messages: CInt = 1 << 19
        package static let bytes: CInt = 64 << 20
    }

    /// cnats' object. Sendable because cnats locks it itself; alive until `deinit`.
    nonisolated(unsafe) let handle: OpaquePointer
    let hub: EventHub
    /// Only when writes are `.batched`.
    let loop: WriteLoop?
    let options: Options
    private let server: Mutex<ServerInfo>
    let requests: Requests

    init(
        handle: OpaquePointer, hub: EventHub, loop: WriteLoop?, options: Options,
        server: ServerInfo
    ) {
        self.handle = handle
        self.hub = hub
        self.loop = loop
        self.options = options
        self.server = Mutex(server)
        let requests = Requests(prefix: options.inboxPrefix)
        self.requests = requests
        hub.whenClosed { [weak requests] in requests?.closeAll() }
        Live.connectionCount.add(1, ordering: .relaxed)
    }

    deinit {
        // Closes it first when nobody has. Safe on a delivery thread, which cnats does not join.
        natsConnection_Destroy(handle)
        Live.connectionCount.subtract(1, ordering: .relaxed)
    }

    /// What happens to the connection from now on; begins with `connected` when it is.
    /// Ends after `closed`. A listener that does not read loses the oldest events.
    package func events() -> AsyncStream<ConnectionEvent> {
        hub.stream(initial: connectedURL.map { .connected(url: $0) })
    }

    /// Whether the connection is up at this moment.
    package var isConnected: Bool { natsConnection_Status(handle) == NATS_CONN_STATUS_CONNECTED }

    /// How often it was lost and came back.
    package var reconnections: Int {
        var statistics: OpaquePointer?
        guard natsStatistics_Create(&statistics) == NATS_OK else { return 0 }
        defer { natsStatistics_Destroy(statistics) }
        var count: UInt64 = 0
        guard natsConnection_GetStats(handle, statistics) == NATS_OK,
            natsStatistics_GetCounts(statistics, nil, nil, nil, nil, &count) == NATS_OK
        else { return 0 }
        return Int(clamping: count)
    }

    /// Whether the connection has ended for good.
    package var isClosed: Bool { natsConnection_IsClosed(handle) }

    /// The server's address, without credentials; `nil` while disconnected.
    package var connectedURL: String? { Bus.connectedURL(of: handle) }

    /// The version of the server that was connected to first, e.g. `2.9.10`.
    package var serverVersion: String? { server.withLock { $0.version } }

    /// Whether the server that was connected to first has this version or a later one.
    package func serverIsAtLeast(_ major: Int, _ minor: Int) -> Bool {
        let numbers = (serverVersion ?? "").split(separator: ".").prefix(2).compactMap { Int($0) }
        guard numbers.count == 2 else { return false }
        return (numbers[0], numbers[1]) >= (major, minor)
    }

    /// The most bytes (headers and payload) the server takes in one message.
    package var maxPayload: Int { Int(natsConnection_GetMaxPayload(handle)) }

    /// Sends a message.
    ///
    /// Returning means that it was handed to the connection, no more. While disconnected it is
    /// kept, up to `Options.bufferWhileDisconnected`, and sent on reconnection.
    /// - Throws: `invalidArgument`, `payloadTooLarge`, `bufferFull`, `closed`, `draining`.
    package func publish(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)] = [],
        reply: String? = nil
    ) throws(BusError) {
        try Subject.check(subject, .publish)
        if let reply { try Subject.check(reply, .publish) }
        try send(subject, payload, headers: headers, reply: reply)
    }

    /// Sends to a subject that was checked already; `reply` is a C string.
    func send(
        _ subject: String, _ payload: [UInt8], headers: [(String, String)],
        reply: UnsafePointer<CChar>?
    ) throws(BusError) {
        let status: natsStatus
        if headers.isEmpty {
            status = payload.withUnsafeBytes { bytes in
                write {
                    let count = CInt(clamping: bytes.count)
                    return reply == nil
                        ? natsConnection_Publish(handle, subject, bytes.baseAddress, count)
                        : natsConnection_PublishRequest(
                            handle, subject, reply, bytes.baseAddress, count)
                }
            }
        } else {
            let message = try OutgoingMessage(
                self, subject, reply: reply, payload, headers: headers)
            status = write { natsConnection_PublishMsg(handle, message.raw) }
        }
        guard status == NATS_OK else { throw failure(status, "publish to \(subject)") }
    }

    /// Lets go of one of its messages, received or sent.
    func letGo(_ message: OpaquePointer) {
        if let loop { loop.bin.take(message) } else { natsMsg_Destroy(message) }
    }

    /// Runs a call that publishes, and sees to it that it is sent.
    func write(_ publish: () -> natsStatus) -> natsStatus {
        guard let loop else { return publish() }
        return loop.send(handle, publish)
    }

    /// On a connection with `.batched` writes, what `body` publishes on this thread leaves in one
    /// write when it returns. Keep it short: others' messages may wait with it.
    package func withBatchedWrites<E: Error>(_ body: () throws(E) -> Void) throws(E) {
        guard let loop else { return try body() }
        try loop.batch(handle, body)
    }

    /// Closes the connection: what was published before is sent, subscriptions end. Waits for a
    /// server that does not read for half a second at most. May be called more than once.
    package func close() { natsConnection_Close(handle) }

    /// Waits until the server has taken everything published so far.
    /// - Throws: `timeout`, `notConnected`, `closed`.
    package func flush(timeout: Duration) async throws(BusError) {
        let status = await BusThread.offload("nats-flush") { [self] in
            natsConnection_FlushTimeout(handle, timeout.milliseconds)
        }
        try check(status, "flush")
    }

    /// Stops receiving, lets handlers finish what has arrived, sends what they publish, closes.
    /// - Throws: `timeout` when that took longer; the connection is closed nevertheless.
    package func drain(timeout: Duration) async throws(BusError) {
        let status = await BusThread.offload("nats-drain") { [self] in
            natsConnection_DrainTimeout(handle, timeout.milliseconds)
        }
        if status != NATS_OK { close() }
        try check(status, "drain")
        let finished = await withCheckedContinuation { (done: CheckedContinuation<Bool, Never>) in
            let once = Once(done)
            let id = Deadlines.shared.schedule(after: timeout) { once.resume(returning: false) }
            hub.whenClosed {
                Deadlines.shared.cancel(id)
                once.resume(returning: true)
            }
        }
        guard !finished else { return }
        close()
        throw BusError(.timeout, "drain: handlers did not finish in \(timeout); closed anyway")
    }

    func check(_ status: natsStatus?, _ what: String) throws(BusError) {
        guard status != NATS_OK else { return }
        guard let status else {
            throw BusError(.library(0), "\(what): the system has no thread to spare")
        }
        throw failure(status, what)
    }

    /// The error for a failed call on this connection. Off the fast path: asks cnats for details.
    func failure(_ status: natsStatus, _ what: String) -> BusError {
        var error = BusError(status, what)
        if error.code == .payloadTooLarge { error.message += ": at most \(maxPayload) bytes" }
        return error
    }
}

/// Objects that exist at the moment, so that tests can see that everything is let go.
package struct Live: Sendable, Equatable {
    package var connections: Int
    /// Subscriptions whose handler cnats may still call.
    package var deliveries: Int
    /// Received messages; counted in debug builds only.
    package var messages: Int

    package var isEmpty: Bool { connections == 0 && deliveries == 0 && messages == 0 }

    package static var now: Live {
        Live(
            connections: connectionCount.load(ordering: .relaxed),
            deliveries: deliveryCount.load(ordering: .relaxed),
            messages: messageCount.load(ordering: .relaxed))
    }

    static let connectionCount = Atomic<Int>(0)
    static let deliveryCount = Atomic<Int>(0)
    static let messageCount = Atomic<Int>(0)
}

/// Resumes a continuation the first time only.
final class Once<Value: Sendable>: Sendable {
    private let continuation: Mutex<CheckedContinuation<Value, Never>?>

    init(_ continuation: CheckedContinuation<Value, Never>) {
        self.continuation = Mutex(continuation)
    }

    func resume(returning value: Value) {
        let continuation = continuation.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }
        continuation?.resume(returning: value)
    }
}
