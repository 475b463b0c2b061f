import Antibody
import Bus
import Protocol
import Runtime
import Settings
import Synchronization

/// The subscriptions of one connection, with the settings of one moment.
///
/// cnats keeps what waits, up to `Connection.Pending`; what is lost for want of room is reported by the
/// host. Every message is judged on the thread of its subscription, in a few microseconds.
final class Ear: Sendable {
    private let surroundings: Surroundings
    private let gatekeeper: Gatekeeper
    private let meters: LoopMeters
    private let desk: CheckDesk
    private let relay: Relay?
    private let deliveries = Mutex<[Delivery]>([])
    private let takeOwn: @Sendable (BusMessage) -> Void
    private let complaints = Mutex(RateLimit(5, per: .seconds(10)))
    /// The patterns that are watched.
    let watched: [String]
    /// What the relay does, for people.
    let relayed: String?

    init(
        _ surroundings: Surroundings, _ gatekeeper: Gatekeeper, _ shared: SharedBreaks,
        _ meters: LoopMeters, _ loop: Config.Loop,
        takeOwn: @escaping @Sendable (BusMessage) -> Void
    ) {
        self.surroundings = surroundings
        self.gatekeeper = gatekeeper
        self.meters = meters
        self.takeOwn = takeOwn
        let log = surroundings.log
        watched = loop.watch
        desk = CheckDesk(gatekeeper, shared, meters, log: log)
        var route: RelayRoute?
        if let relay = loop.relay {
            do throws(MessageError) { route = try RelayRoute(relay) } catch {
                log.error("there is no relay", ["reason": error])
            }
        }
        relayed = route == nil ? nil : loop.relay.map { "\($0.source) → \($0.target)" }
        relay = route.map { route in
            Relay(route, watched: loop.watch, gatekeeper, shared, meters, log: log)
        }
        source = route == nil ? nil : loop.relay?.source
    }

    private let source: String?

    /// Subscribes to everything.
    ///
    /// - Throws: as `Connection.subscribe`; what is open by then is closed by `close`.
    func open(_ connection: Connection) throws(BusError) {
        for (index, pattern) in watched.enumerated() {
            keep(try connection.subscribe(pattern) { [self] in observe($0, index) })
        }
        keep(
            try connection.subscribe(LoopSubjects.check, queue: LoopSubjects.checkers) {
                [desk] in desk.take($0)
            })
        if let source, let relay {
            keep(
                try connection.subscribe(source, queue: LoopSubjects.relays) { relay.take($0) })
        }
        for subject in [Subjects.command(surroundings.node), Subjects.alert(surroundings.node)] {
            keep(try connection.subscribe(subject, handler: takeOwn))
        }
    }

    private func keep(_ delivery: Delivery) { deliveries.withLock { $0.append(delivery) } }

    /// Ends all subscriptions.
    func close() {
        let all = deliveries.withLock { deliveries in
            defer { deliveries = [] }
            return deliveries
        }
        for delivery in all { delivery.cancel() }
    }

    /// A watched message. What several patterns stand for counts for the first of them.
    private func observe(_ message: BusMessage, _ index: Int) {
        let subject = message.subject
        guard !LoopSubjects.isOwn(subject), relay?.takes(subject) != true,
            !watched[..<index].contains(where: { LoopSubjects.matches($0, subject) })
        else { return }
        if let relay, let mark = message.header(LoopSubjects.relayHeader), relay.recognises(mark) {
            return
        }
        do throws(MessageError) {
            let envelope = try message.withPayload { bytes throws(MessageError) in
                try Envelope.read(headers: message.header, payload: bytes)
            }
            guard let envelope else { return meters.unchained.increment() }
            meters.observed.increment()
            gatekeeper.withJudge { $0.observe(envelope, at: $1) }
        } catch {
            meters.rejected.increment()
            reject(subject, error)
        }
    }

    /// Tells of an envelope that makes no sense; of few of them when there are many.
    private func reject(_ subject: String, _ error: MessageError) {
        guard let held = complaints.withLock({ $0.pass(at: SteadyClock.sinceBoot()) }) else {
            return
        }
        let rest = held == 0 ? "" : "\(held)"
        surroundings.log.warning(
            "a message's chain makes no sense; it is not judged",
            ["subject": Name.quoted(subject), "reason": error, "not_logged": rest])
        var object: JSON.Object = [
            "node": .string(surroundings.node), "subject": .string(subject),
        ]
        if !error.field.isEmpty { object["field"] = .string(error.field) }
        object["reason"] = .string(error.reason)
        try? surroundings.link.connection?.publish(
            Subjects.rejected(surroundings.node), JSON.object(object).encoded)
    }
}
