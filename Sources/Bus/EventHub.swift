internal import CNATS
internal import Synchronization

/// Spreads what cnats' callbacks tell about one connection to everyone who listens.
///
/// cnats gets the hub's number, not its address, so that a late callback finds nothing instead of
/// freed memory.
final class EventHub: Sendable {
    /// Events kept for a listener that does not keep up; then the oldest are lost.
    static let bufferedEvents = 256

    private struct State {
        var listeners: [UInt64: AsyncStream<ConnectionEvent>.Continuation] = [:]
        var next: UInt64 = 0
        var closed: ConnectionEvent?
        var closeActions: [@Sendable () -> Void] = []
        var everConnected = false
        var reasonOfDisconnect = ""
    }

    private struct Registry {
        var next: UInt = 0
        var hubs: [UInt: EventHub] = [:]
    }

    private static let registry = Mutex(Registry())

    let number: UInt
    private let state = Mutex(State())

    private init(_ number: UInt) { self.number = number }

    static func make() -> EventHub {
        registry.withLock { registry in
            registry.next += 1
            let hub = EventHub(registry.next)
            registry.hubs[hub.number] = hub
            return hub
        }
    }

    /// Forgets the hub: callbacks that come later do nothing.
    func retire() { Self.registry.withLock { _ = $0.hubs.removeValue(forKey: number) } }

    static func find(_ closure: UnsafeMutableRawPointer?) -> EventHub? {
        let number = UInt(bitPattern: closure)
        return registry.withLock { $0.hubs[number] }
    }

    var closure: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: number) }

    func stream(initial: ConnectionEvent?) -> AsyncStream<ConnectionEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: ConnectionEvent.self, bufferingPolicy: .bufferingNewest(Self.bufferedEvents))
        let (id, closed) = state.withLock { state in
            state.next += 1
            if state.closed == nil { state.listeners[state.next] = continuation }
            return (state.next, state.closed)
        }
        if let event = closed ?? initial { continuation.yield(event) }
        if closed != nil {
            continuation.finish()
        } else {
            continuation.onTermination = { [weak self] _ in
                self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
            }
        }
        return stream
    }

    func post(_ event: ConnectionEvent) {
        // Yielding under the lock could run a listener's termination handler, which takes it.
        let listeners = state.withLock { state in
            if case .disconnected(let reason) = event { state.reasonOfDisconnect = reason }
            return state.listeners.sorted { $0.key < $1.key }.map(\.value)
        }
        for listener in listeners { listener.yield(event) }
    }

    func postClosed(reason: String) {
        let event = ConnectionEvent.closed(reason: reason)
        let (listeners, actions) = state.withLock { state in
            guard state.closed == nil else {
                return ([AsyncStream<ConnectionEvent>.Continuation](), [@Sendable () -> Void]())
            }
            state.closed = event
            defer {
                state.listeners = [:]
                state.closeActions = []
            }
            return (
                state.listeners.sorted { $0.key < $1.key }.map(\.value), state.closeActions
            )
        }
        for listener in listeners {
            listener.yield(event)
            listener.finish()
        }
        for action in actions { action() }
        retire()
    }

    /// Runs `action` when the connection has closed; at once if it has already.
    func whenClosed(_ action: @escaping @Sendable () -> Void) {
        let now = state.withLock { state in
            if state.closed == nil { state.closeActions.append(action) }
            return state.closed != nil
        }
        if now { action() }
    }
}

extension EventHub {
    /// Makes cnats report to this hub.
    func attach(to options: OpaquePointer) {
        natsOptions_SetDisconnectedCB(
            options,
            { connection, closure in
                // An end of the stream is no error to cnats, which has no text for it.
                let error = lastError(of: connection)
                let reason = error.isEmpty ? "the server has closed it" : error
                EventHub.find(closure)?.post(.disconnected(reason: reason))
            }, closure)
        natsOptions_SetReconnectedCB(
            options,
            { connection, closure in
                EventHub.find(closure)?.post(.reconnected(url: connectedURL(of: connection) ?? ""))
            }, closure)
        natsOptions_SetClosedCB(
            options,
            { connection, closure in
                EventHub.find(closure)?.postClosed(reason: lastError(of: connection))
            }, closure)
        natsOptions_SetLameDuckModeCB(
            options, { _, closure in EventHub.find(closure)?.post(.lameDuck) }, closure)
        natsOptions_SetErrorHandler(
            options,
            { connection, subscription, status, closure in
                guard let hub = EventHub.find(closure) else { return }
                hub.post(event(for: status, connection, subscription))
            }, closure)
    }
}

/// The event for what cnats' error handler was told.
private func event(
    for status: natsStatus, _ connection: OpaquePointer?, _ subscription: OpaquePointer?
) -> ConnectionEvent {
    if status == NATS_SLOW_CONSUMER, let subscription {
        var dropped: Int64 = 0
        natsSubscription_GetDropped(subscription, &dropped)
        let subject = natsSubscription_GetSubject(subscription).map { String(cString: $0) } ?? ""
        return .slowConsumer(subject: subject, dropped: Int(dropped))
    }
    let text = lastError(of: connection)
    guard text.isEmpty else { return .error(text) }
    return .error(natsStatus_GetText(status).map { String(cString: $0) } ?? "\(status.rawValue)")
}

/// cnats' last error of a connection, empty when there was none.
func lastError(of connection: OpaquePointer?) -> String {
    guard let connection else { return "" }
    var text: UnsafePointer<CChar>?
    guard natsConnection_GetLastError(connection, &text) != NATS_OK, let text else { return "" }
    return BusError.withoutPlace(String(cString: text))
}

/// The address a connection is connected to at the moment.
func connectedURL(of connection: OpaquePointer?) -> String? {
    guard let connection else { return nil }
    let size = 512
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) { buffer in
        guard let base = buffer.baseAddress,
            natsConnection_GetConnectedUrl(connection, base, size) == NATS_OK, base[0] != 0
        else { return nil }
        return ServerAddress.redacted(String(cString: base))
    }
}
