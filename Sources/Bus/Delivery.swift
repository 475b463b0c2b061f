internal import CNATS
internal import Synchronization

/// A running subscription with a handler. Ends with `cancel()`, with the last reference to it,
/// or with the connection.
package final class Delivery: Sendable {
    private let box: DeliveryBox
    private let connection: Connection

    /// Subscribes. `rested` is called when `handler` was called for all that had arrived; `idle` when nothing
    /// came for `idleAfter`; `ended` once, when `handler` will not be called again. With `isPolled`, on a
    /// connection with `.batched` writes, all of them are called by the connection's reading thread, else by
    /// one of the subscription's own.
    init(
        _ connection: Connection, _ subject: String, queue: String? = nil, isPolled: Bool = false,
        handler: @escaping @Sendable (BusMessage) -> Void,
        rested: @escaping @Sendable () -> Void = {},
        unanswered: (@Sendable () -> Void)? = nil, idleAfter: Duration? = nil,
        idle: (@Sendable () -> Void)? = nil, ended: @escaping @Sendable () -> Void = {}
    ) throws(BusError) {
        box = DeliveryBox(
            connection, handler: handler, rested: rested, unanswered: unanswered, idle: idle,
            ended: ended)
        self.connection = connection
        if isPolled, let loop = connection.loop {
            try box.start(connection, subject, queue: queue, polledBy: loop, idleAfter: idleAfter)
        } else {
            try box.start(connection, subject, queue: queue, idleAfter: idleAfter)
        }
    }

    deinit { box.stop() }

    /// Ends the subscription. The handler may still be running, and be called for what has
    /// arrived, until `cancel` has taken effect on the thread of the subscription. Idempotent.
    package func cancel() { box.stop() }

    /// Messages that waited in cnats longer than its limits allow and were lost.
    package var dropped: Int { box.dropped }

    /// Waits until the server knows of the subscription, so that nothing sent from then on is missed.
    /// - Throws: as `Connection.flush`.
    package func ready(timeout: Duration) async throws(BusError) {
        try await connection.flush(timeout: timeout)
    }
}

/// What cnats holds for a subscription, from subscribing until its completion callback.
///
/// It knows the connection weakly: a subscription that the connection itself owns must not keep it
/// alive. `Delivery` holds it for everybody else.
final class DeliveryBox: Sendable {
    weak let connection: Connection?
    let handler: @Sendable (BusMessage) -> Void
    /// Called when the handler was called for all that had arrived, on the same thread.
    let rested: @Sendable () -> Void
    /// Called instead of the handler when the message only says that nobody answers to a subject.
    /// Polled subscriptions alone: there cnats keeps such messages to itself.
    let unanswered: (@Sendable () -> Void)?
    let idle: (@Sendable () -> Void)?
    let ended: @Sendable () -> Void
    /// The loop whose thread asks cnats for the messages, when it does.
    private let loop = Mutex<WriteLoop?>(nil)
    /// cnats' object until the subscription has ended. The pointer is only used under the lock.
    let subscription = Mutex<UInt?>(nil)
    private let droppedAtEnd = Atomic<Int>(0)
    /// Calls of the handler since the last flush; only with `.batched` writes, on its one thread.
    private let collected = Atomic<Int>(0)

    init(
        _ connection: Connection, handler: @escaping @Sendable (BusMessage) -> Void,
        rested: @escaping @Sendable () -> Void = {},
        unanswered: (@Sendable () -> Void)? = nil, idle: (@Sendable () -> Void)? = nil,
        ended: @escaping @Sendable () -> Void = {}
    ) {
        self.connection = connection
        self.handler = handler
        self.rested = rested
        self.unanswered = unanswered
        self.idle = idle
        self.ended = ended
        Live.deliveryCount.add(1, ordering: .relaxed)
    }

    deinit { Live.deliveryCount.subtract(1, ordering: .relaxed) }

    /// Subscribes. From here to the completion callback cnats keeps the box alive.
    func start(
        _ connection: Connection, _ subject: String, queue: String? = nil,
        idleAfter: Duration? = nil
    ) throws(BusError) {
        let retained = Unmanaged.passRetained(self)
        let closure = retained.toOpaque()
        var created: OpaquePointer?
        let handle = connection.handle
        let status =
            switch (queue, idleAfter) {
            case (nil, nil):
                natsConnection_Subscribe(&created, handle, subject, Self.deliver, closure)
            case (let queue?, nil):
                natsConnection_QueueSubscribe(
                    &created, handle, subject, queue, Self.deliver, closure)
            case (_, let time?):
                natsConnection_SubscribeTimeout(
                    &created, handle, subject, time.milliseconds, Self.deliver, closure)
            }
        guard status == NATS_OK, let created else {
            retained.release()
            throw connection.failure(status, "subscribe to \(subject)")
        }
        subscription.withLock { $0 = UInt(bitPattern: created) }
        natsSubscription_SetPendingLimits(
            created, Connection.Pending.messages, Connection.Pending.bytes)
        // Refused when the connection closed meanwhile: then cnats has ended the subscription
        // without telling, and keeping the box is a small leak where freeing it could be fatal.
        guard natsSubscription_SetOnCompleteCB(created, Self.complete, closure) == NATS_OK else {
            throw BusError(.closed, "subscribe to \(subject): the connection closed meanwhile")
        }
    }

    /// Subscribes without a thread: the loop's thread asks for the messages, right after it has read
    /// them, and keeps the box until it has seen the end of the subscription.
    func start(
        _ connection: Connection, _ subject: String, queue: String?, polledBy loop: WriteLoop,
        idleAfter: Duration?
    ) throws(BusError) {
        var created: OpaquePointer?
        let status =
            if let queue {
                natsConnection_QueueSubscribeSync(&created, connection.handle, subject, queue)
            } else {
                natsConnection_SubscribeSync(&created, connection.handle, subject)
            }
        guard status == NATS_OK, let created else {
            throw connection.failure(status, "subscribe to \(subject)")
        }
        natsSubscription_SetPendingLimits(
            created, Connection.Pending.messages, Connection.Pending.bytes)
        subscription.withLock { $0 = UInt(bitPattern: created) }
        self.loop.withLock { $0 = loop }
        guard loop.poll(Polled.Order(box: self, idleAfter: idleAfter)) else {
            finish()
            throw BusError(.closed, "subscribe to \(subject): the connection closed meanwhile")
        }
    }

    /// Unsubscribes; the rest happens in `complete`, or on the loop's thread.
    func stop() {
        subscription.withLock { subscription in
            guard let pointer = subscription.flatMap({ OpaquePointer(bitPattern: $0) }) else {
                return
            }
            natsSubscription_Unsubscribe(pointer)
        }
        loop.withLock { $0 }?.wake()
    }

    /// Messages lost because they waited in cnats too long; stays when the subscription has ended.
    var dropped: Int {
        subscription.withLock { subscription in
            subscription.map { Self.dropped($0) } ?? droppedAtEnd.load(ordering: .relaxed)
        }
    }

    private static func dropped(_ subscription: UInt) -> Int {
        var count: Int64 = 0
        natsSubscription_GetDropped(OpaquePointer(bitPattern: subscription), &count)
        return Int(count)
    }

    /// So many messages may be handled before what their handler published is sent.
    private static let collectLimit = 64

    private static let deliver: natsMsgHandler = { _, subscription, message, closure in
        guard let closure else { return natsMsg_Destroy(message) }
        let box = Unmanaged<DeliveryBox>.fromOpaque(closure).takeUnretainedValue()
        guard let message else {
            box.idle?()
            return
        }
        guard let connection = box.connection else { return natsMsg_Destroy(message) }
        guard let loop = connection.loop else {
            box.handler(BusMessage(adopting: message, connection))
            return box.rested()
        }
        loop.collect { box.handler(BusMessage(adopting: message, connection)) }
        // While more messages wait, the next call is certain, and so is its flush.
        var waiting: UInt64 = 0
        let collected = box.collected.load(ordering: .relaxed)
        if collected < DeliveryBox.collectLimit,
            natsSubscription_QueuedMsgs(subscription, &waiting) == NATS_OK, waiting > 0
        {
            box.collected.store(collected + 1, ordering: .relaxed)
        } else {
            box.collected.store(0, ordering: .relaxed)
            loop.collect { box.rested() }
            loop.flush(connection.handle)
        }
    }

    /// How long an ended subscription is kept. The reading thread of 3.4.1 looks a subscription up
    /// and then uses it without holding on to it; freed in between, it crashes the process (seen
    /// with AddressSanitizer; fixed in 3.6.1). After this long the thread is past that point.
    private static let grace: Duration = .seconds(5)

    private static func bury(_ subscription: UInt?) {
        guard let subscription else { return }
        _ = Deadlines.shared.schedule(after: grace) {
            natsSubscription_Destroy(OpaquePointer(bitPattern: subscription))
        }
    }

    private static let complete: natsOnCompleteCB = { closure in
        guard let closure else { return }
        let box = Unmanaged<DeliveryBox>.fromOpaque(closure).takeRetainedValue()
        // The calls that were certain did not come.
        if let connection = box.connection { connection.loop?.flush(connection.handle) }
        box.finish()
    }

    /// Lets go of cnats' object; nothing will be called after `ended`.
    func finish() {
        let pointer = subscription.withLock { subscription in
            if let subscription {
                droppedAtEnd.store(Self.dropped(subscription), ordering: .relaxed)
            }
            defer { subscription = nil }
            return subscription
        }
        Self.bury(pointer)
        ended()
    }
}

extension Connection {
    /// Calls `handler` for every message, on a thread cnats keeps for this subscription, one at a
    /// time and in order. The handler must not wait for long: what arrives meanwhile is kept up
    /// to `Pending`, then dropped, counted, and reported as `slowConsumer`.
    ///
    /// With `.batched` writes it is the connection's reading thread, which saves a change of threads
    /// for each message: there the handler must not wait at all, since nothing is read meanwhile.
    ///
    /// `rested` is called on the same thread when the handler was called for all that had arrived, at most
    /// 64 messages in some cases: for work that is done once for many messages.
    /// - Throws: `invalidArgument`, `closed`, `draining`.
    package func subscribe(
        _ subject: String, queue: String? = nil,
        handler: @escaping @Sendable (BusMessage) -> Void,
        rested: @escaping @Sendable () -> Void = {}
    ) throws(BusError) -> Delivery {
        try Subject.check(subject, .subscribe)
        if let queue { try Subject.check(queue, .publish) }
        return try Delivery(
            self, subject, queue: queue, isPolled: true, handler: handler, rested: rested)
    }
}
