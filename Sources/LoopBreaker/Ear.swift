import Antibody
import Bus
import Protocol
import Runtime
import Settings
import Synchronization

/// The subscriptions of one connection.
///
/// cnats keeps what waits, up to `Connection.Pending`; what is lost for want of room is reported by the
/// host. Every message is judged on the thread of its subscription, in a few microseconds. New settings
/// only change what differs: programs that ask are answered all the time.
final class Ear: Sendable {
    /// What is listened to at the moment.
    private struct Route {
        /// The patterns that are watched; what several stand for counts for the first of them.
        var watched: [String] = []
        var relay: Relay?
        var source: String?
        /// What the relay does, for people.
        var relayed: String?
    }

    /// How long the server may take to know of new subscriptions before the old ones end.
    private static let readyLimit: Duration = .seconds(5)

    private let surroundings: Surroundings
    private let gatekeeper: Gatekeeper
    private let shared: SharedBreaks
    private let meters: LoopMeters
    private let desk: CheckDesk
    private let route = Mutex(Route())
    private let deliveries = Mutex<[String: Delivery]>([:])
    private let takeOwn: @Sendable (BusMessage) -> Void
    private let complaints = Mutex(RateLimit(5, per: .seconds(10)))

    init(
        _ surroundings: Surroundings, _ gatekeeper: Gatekeeper, _ shared: SharedBreaks,
        _ meters: LoopMeters, takeOwn: @escaping @Sendable (BusMessage) -> Void
    ) {
        self.surroundings = surroundings
        self.gatekeeper = gatekeeper
        self.shared = shared
        self.meters = meters
        self.takeOwn = takeOwn
        desk = CheckDesk(gatekeeper, shared, meters, log: surroundings.log)
    }

    /// The patterns that are watched, and what the relay does, for people.
    var state: (watched: [String], relayed: String?) {
        route.withLock { ($0.watched, $0.relayed) }
    }

    /// Subscribes to what does not depend on settings.
    ///
    /// - Throws: as `Connection.subscribe`; what is open by then is closed by `close`.
    func open(_ connection: Connection) throws(BusError) {
        keep(
            "check",
            try connection.subscribe(LoopSubjects.check, queue: LoopSubjects.checkers) {
                [desk] in desk.take($0)
            })
        for subject in [Subjects.command(surroundings.node), Subjects.alert(surroundings.node)] {
            keep(subject, try connection.subscribe(subject, handler: takeOwn))
        }
    }

    /// Listens to what the settings say now. What is new begins before what is left out ends, so that
    /// nothing is missed, and nothing counts twice: which of them counts changes at once.
    ///
    /// - Throws: as `Connection.subscribe`.
    func listen(_ connection: Connection, _ loop: Config.Loop) async throws(BusError) {
        let old = route.withLock { $0 }
        let new = follow(loop, old)
        var wanted: Set<String> = []
        for pattern in new.watched {
            let name = "watch \(pattern)"
            guard wanted.insert(name).inserted, !isOpen(name) else { continue }
            keep(name, try connection.subscribe(pattern) { [self] in observe($0, pattern) })
        }
        if let relay = new.relay, let source = new.source {
            let name = "relay \(source)"
            wanted.insert(name)
            if relay !== old.relay || !isOpen(name) {
                let delivery = try connection.subscribe(source, queue: LoopSubjects.relays) {
                    relay.take($0)
                }
                try await delivery.ready(timeout: Self.readyLimit)
                keep(name, delivery)
            }
        }
        try await connection.flush(timeout: Self.readyLimit)
        new.relay?.watch(new.watched)
        route.withLock { $0 = new }
        let ended = deliveries.withLock { deliveries in
            let names = deliveries.keys.filter { name in
                (name.hasPrefix("watch ") || name.hasPrefix("relay ")) && !wanted.contains(name)
            }
            return names.compactMap { deliveries.removeValue(forKey: $0) }
        }
        for delivery in ended { delivery.cancel() }
    }

    /// What the settings come to; the same relay keeps its marks.
    private func follow(_ loop: Config.Loop, _ old: Route) -> Route {
        var new = Route(watched: loop.watch)
        guard let relay = loop.relay else { return new }
        do throws(MessageError) {
            let way = try RelayRoute(relay)
            new.relay =
                old.relay?.route == way
                ? old.relay
                : Relay(way, gatekeeper, shared, meters, log: surroundings.log)
            new.source = relay.source
            new.relayed = "\(relay.source) → \(relay.target)"
        } catch {
            surroundings.log.error("there is no relay", ["reason": error])
        }
        return new
    }

    private func isOpen(_ name: String) -> Bool { deliveries.withLock { $0[name] != nil } }

    private func keep(_ name: String, _ delivery: Delivery) {
        let old = deliveries.withLock { $0.updateValue(delivery, forKey: name) }
        old?.cancel()
    }

    /// Ends all subscriptions.
    func close() {
        let all = deliveries.withLock { deliveries in
            defer { deliveries = [:] }
            return deliveries.values
        }
        for delivery in all { delivery.cancel() }
    }

    /// A watched message, as the subscription of one pattern has got it.
    private func observe(_ message: BusMessage, _ pattern: String) {
        let subject = message.subject
        let route = route.withLock { $0 }
        guard !LoopSubjects.isOwn(subject), route.relay?.takes(subject) != true,
            pattern == route.watched.first(where: { LoopSubjects.matches($0, subject) })
        else { return }
        if let relay = route.relay, let mark = message.header(LoopSubjects.relayHeader),
            relay.recognises(mark)
        {
            return
        }
        let headers = ChainHeaders(message.headers)
        var heard = message.withPayload { bytes in
            Envelope.hear(headers: headers.value, payload: bytes)
        }
        if message.hasLostHeaders || headers.areCut, heard.flaw == nil {
            heard.flaw = MessageError(
                field: "",
                reason: "a header has an empty value, and what follows it cannot be read")
        }
        if let flaw = heard.flaw {
            meters.rejected.increment()
            reject(subject, flaw, isJudged: !heard.envelopes.isEmpty)
        } else if heard.envelopes.isEmpty {
            meters.unchained.increment()
        }
        for envelope in heard.envelopes {
            meters.observed.increment()
            gatekeeper.withJudge { $0.observe(envelope, at: $1) }
        }
    }

    /// Tells of an envelope that makes no sense; of few of them when there are many.
    private func reject(_ subject: String, _ error: MessageError, isJudged: Bool) {
        guard let held = complaints.withLock({ $0.pass(at: SteadyClock.sinceBoot()) }) else {
            return
        }
        let rest = held == 0 ? "" : "\(held)"
        surroundings.log.warning(
            isJudged
                ? "a message's chain makes no sense in part; the rest counts"
                : "a message's chain makes no sense; it is not judged",
            ["subject": subject, "reason": error, "not_logged": rest])
        var object: JSON.Object = [
            "node": .string(surroundings.node), "subject": .string(subject),
        ]
        if !error.field.isEmpty { object["field"] = .string(error.field) }
        object["reason"] = .string(error.reason)
        try? surroundings.link.connection?.publish(
            Subjects.rejected(surroundings.node), JSON.object(object).encoded)
    }
}
