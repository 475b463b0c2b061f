internal import CNATS
internal import Protocol
internal import Synchronization
internal import Threads

/// A subscription without a thread of its own: the reading thread of its connection asks for what it
/// has just read. Used on that thread only.
final class Polled {
    private let box: DeliveryBox
    private let idleAfter: UInt64?
    private var idleAt: UInt64?
    /// Nothing arrives any more on a connection that is being drained, and cnats tells nobody when the
    /// subscription's turn has come: it must be asked again.
    private var isDraining = false

    /// What another thread asks for.
    struct Order: Sendable {
        var box: DeliveryBox
        var idleAfter: Duration?
    }

    init(_ order: Order) {
        box = order.box
        idleAfter = order.idleAfter.map { UInt64(max(0, $0.wholeNanoseconds)) }
        idleAt = order.idleAfter.map { MonotonicClock.deadline(after: $0) }
    }

    /// So many messages may be handled before what their handler published is sent.
    private static let collectLimit = 64

    /// Calls the handler for all that waits. Says whether the subscription goes on.
    func drain(_ loop: WriteLoop) -> Bool {
        guard let pointer = box.subscription.withLock({ $0 }),
            let subscription = OpaquePointer(bitPattern: pointer),
            natsSubscription_IsValid(subscription)
        else { return false }
        // Alive while its loop runs, but for the moment in which it ends.
        guard let connection = box.connection else { return false }
        var waiting: UInt64 = 0
        natsSubscription_QueuedMsgs(subscription, &waiting)
        isDraining = natsConnection_IsDraining(connection.handle)
        guard waiting > 0 || isDraining else { return true }
        var count: UInt64 = 0
        while count < waiting || isDraining {
            count += 1
            var message: OpaquePointer?
            // Only when an empty subscription is asked, and not with 0, does cnats see that it is drained.
            let status = natsSubscription_NextMsg(&message, subscription, isDraining ? 1 : 0)
            // A slow consumer is told of once; its messages are still there.
            if status == NATS_SLOW_CONSUMER { continue }
            if status == NATS_NO_RESPONDERS {
                loop.collect { box.unanswered?() }
                continue
            }
            guard status == NATS_OK, let message else { break }
            loop.collect { box.handler(BusMessage(adopting: message, connection)) }
            if count % UInt64(Self.collectLimit) == 0 { loop.flush(connection.handle) }
        }
        loop.collect { box.rested() }
        loop.flush(connection.handle)
        if let idleAfter { idleAt = MonotonicClock.now + idleAfter }
        return true
    }

    /// Calls `idle` when it is time and nothing is left to read; says when to look again.
    func idle(isQuiet: Bool) -> UInt64? {
        if isDraining { return MonotonicClock.now }
        guard let idleAfter, let at = idleAt else { return nil }
        let now = MonotonicClock.now
        guard at <= now, isQuiet else { return at }
        box.idle?()
        idleAt = now + idleAfter
        return idleAt
    }

    /// Ends it, when it has not ended by itself.
    func finish() {
        box.stop()
        box.finish()
    }
}
