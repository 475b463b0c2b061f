/// What happens to a message for which the subscriber has no room.
package enum Overflow: Sendable {
    /// The thread of the subscription waits; what arrives meanwhile is kept by cnats up to
    /// `Connection.Pending`. For commands, alerts and anything else that must not be lost.
    case block
    /// The message is dropped and counted.
    case dropNewest
    /// The oldest waiting message is dropped and counted. For telemetry.
    case dropOldest
}

/// The messages of a subscription, for one consumer.
///
/// Ends when the connection closes, after `cancel()`, or for a consumer whose task is cancelled;
/// dropping it unsubscribes.
package final class Subscription: AsyncSequence, Sendable {
    package typealias Element = BusMessage
    package typealias Failure = Never

    private let inbox: Inbox<BusMessage>
    private let delivery: Delivery

    init(_ inbox: Inbox<BusMessage>, _ delivery: Delivery) {
        self.inbox = inbox
        self.delivery = delivery
    }

    deinit { cancel() }

    /// Unsubscribes and drops what waits.
    package func cancel() {
        inbox.cancel()
        delivery.cancel()
    }

    /// Messages dropped for want of room, here or in cnats.
    package var dropped: Int { inbox.dropped + delivery.dropped }

    /// Waits until the server knows of the subscription, so that nothing sent from then on is missed.
    /// - Throws: as `Connection.flush`.
    package func ready(timeout: Duration) async throws(BusError) {
        try await delivery.ready(timeout: timeout)
    }

    /// The next message; `nil` at the end, or when the task is cancelled.
    package func next() async -> BusMessage? { await inbox.next() }

    package func makeAsyncIterator() -> Iterator { Iterator(subscription: self) }

    package struct Iterator: AsyncIteratorProtocol {
        fileprivate let subscription: Subscription

        package mutating func next() async -> BusMessage? { await subscription.inbox.next() }

        package mutating func next(
            isolation: isolated (any Actor)?
        ) async throws(Never) -> BusMessage? {
            await subscription.inbox.next()
        }
    }
}

extension Connection {
    /// Subscribes, for reading the messages as a sequence. At most `capacity` of them wait;
    /// `overflow` says what happens to more.
    /// - Throws: `invalidArgument`, `closed`, `draining`.
    package func subscribe(
        _ subject: String, queue: String? = nil, capacity: Int, overflow: Overflow
    ) throws(BusError) -> Subscription {
        try Subject.check(subject, .subscribe)
        if let queue { try Subject.check(queue, .publish) }
        let inbox = Inbox<BusMessage>(capacity: capacity, overflow: overflow)
        let delivery = try Delivery(
            self, subject, queue: queue, handler: { inbox.deliver($0) }, ended: { inbox.finish() })
        return Subscription(inbox, delivery)
    }
}
