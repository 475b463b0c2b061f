internal import CNATS
internal import Protocol
internal import Synchronization
internal import Threads

extension Connection {
    /// Connects, on a thread of its own.
    ///
    /// With `retryOnFailedConnect`, goes on until a server can be reached, `deadline` has passed
    /// or the task is cancelled. Wrong credentials, bad URLs and peers that are no NATS end it
    /// at once, because waiting does not cure them.
    /// - Throws: `refused`, `timeout`, `notNATS`, `authorization`, `tls`, `invalidArgument`, `cancelled`.
    package static func connect(_ options: Options) async throws(BusError) -> Connection {
        let dial = try Dial(options)
        let result: Result<Connection, BusError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in dial.start(Once(continuation)) }
        } onCancel: {
            dial.cancel()
        }
        return try result.get()
    }
}

/// One `connect`, with all its attempts.
private final class Dial: Sendable {
    private struct State {
        var cancelled = false
        /// Nobody waits any more: what comes of the attempt is closed.
        var finished = false
    }

    /// A server that stalls in the handshake makes cnats 3.4.1 forget its own timeout.
    private static let handshakeMargin: Duration = .seconds(1)

    private let options: Connection.Options
    private let addresses: [ServerAddress]
    private let monitor = Monitor(State())

    init(_ options: Connection.Options) throws(BusError) {
        self.options = options
        guard !options.urls.isEmpty else {
            throw BusError(.invalidArgument, "no NATS URL given; write nats://host:4222")
        }
        var addresses: [ServerAddress] = []
        for url in options.urls { addresses.append(try ServerAddress(url)) }
        self.addresses = addresses
    }

    func cancel() {
        monitor.withLock { $0.cancelled = true }
        monitor.wake()
    }

    func start(_ waiting: Once<Result<Connection, BusError>>) {
        let started = BusThread.start("nats-connect") { [self] in
            let result = run { error in waiting.resume(returning: .failure(error)) }
            waiting.resume(returning: result)
        }
        if !started {
            waiting.resume(
                returning: .failure(
                    BusError(.library(0), "connect: the system has no thread to spare")))
        }
    }

    private func run(
        abandon: @escaping @Sendable (BusError) -> Void
    ) -> Result<Connection, BusError> {
        let end = options.deadline.map { MonotonicClock.deadline(after: $0) }
        while true {
            if monitor.withLock({ $0.cancelled }) { return .failure(Self.cancelled) }
            do throws(BusError) {
                return .success(try attempt(abandon))
            } catch {
                guard options.retryOnFailedConnect, Self.mayHeal(error.code) else {
                    return .failure(error)
                }
                if let end, MonotonicClock.now >= end { return .failure(error) }
                options.onFailedAttempt?(error)
            }
            pause(until: end)
        }
    }

    private static let cancelled = BusError(.cancelled, "connect: the task was cancelled")

    private static func mayHeal(_ code: BusError.Code) -> Bool {
        switch code {
        case .refused, .timeout, .notConnected, .protocolError, .library, .closed: true
        default: false
        }
    }

    private func pause(until end: UInt64?) {
        let jitter = options.reconnectJitter.wholeNanoseconds
        let wait =
            options.reconnectWait + .nanoseconds(jitter > 0 ? Int64.random(in: 0...jitter) : 0)
        var until = MonotonicClock.deadline(after: wait)
        if let end { until = min(until, end) }
        monitor.waitUntil { state in
            state.cancelled || MonotonicClock.now >= until ? .done(()) : .sleep(until: until)
        }
    }

    private func attempt(
        _ abandon: @escaping @Sendable (BusError) -> Void
    ) throws(BusError) -> Connection {
        let (reachable, info) = try probe()
        let hub = EventHub.make()
        let dialed: OpaquePointer
        let loop: WriteLoop?
        do throws(BusError) {
            let cOptions = try CNATSOptions(options, first: reachable, addresses)
            hub.attach(to: cOptions.raw)
            loop = options.writes == .batched ? try WriteLoop() : nil
            if let loop { try cOptions.set("event loop", loop.attach(to: cOptions.raw)) }
            dialed = try handshake(cOptions, reachable, abandon)
        } catch {
            hub.retire()
            throw error
        }
        let connection = Connection(
            handle: dialed, hub: hub, loop: loop, options: options, server: info)
        if monitor.withLock({ $0.cancelled }) {
            connection.close()
            throw Self.cancelled
        }
        return connection
    }

    private func handshake(
        _ cOptions: CNATSOptions, _ address: ServerAddress,
        _ abandon: @escaping @Sendable (BusError) -> Void
    ) throws(BusError) -> OpaquePointer {
        let place = "\(address.host):\(address.port)"
        let limit = options.connectTimeout * addresses.count + Self.handshakeMargin
        let breaker = HandshakeBreaker(ports: Set(addresses.map(\.port)))
        let stalled = BusError(.timeout, "connect to \(place): the server stalls in the handshake")
        let broken = Atomic<Bool>(false)
        let breaking = Deadlines.shared.schedule(after: limit) {
            broken.store(true, ordering: .relaxed)
            breaker.shutDown()
        }
        // Whatever happens, nobody waits for ever.
        let leaving = Deadlines.shared.schedule(after: limit * 2) { abandon(stalled) }
        defer {
            Deadlines.shared.cancel(breaking)
            Deadlines.shared.cancel(leaving)
        }
        var handle: OpaquePointer?
        let status = natsConnection_Connect(&handle, cOptions.raw)
        guard status == NATS_OK, let handle else {
            if broken.load(ordering: .relaxed) { throw stalled }
            var last = NATS_OK
            let text = nats_GetLastError(&last).map { String(cString: $0) }
            throw BusError(status, "connect to \(place)", detail: text)
        }
        return handle
    }

    /// Finds a server that answers as NATS, in random order.
    private func probe() throws(BusError) -> (ServerAddress, ServerInfo) {
        var failures: [BusError] = []
        for address in addresses.shuffled() {
            do throws(BusError) {
                return (address, try ServerProbe.ask(address, timeout: options.connectTimeout))
            } catch {
                failures.append(error)
            }
        }
        let worst = failures.first { Self.mayHeal($0.code) } ?? failures[0]
        guard failures.count > 1 else { throw worst }
        throw BusError(worst.code, failures.map(\.message).joined(separator: "; "))
    }
}
