import Bus
import Protocol
import Runtime
import Settings
import Synchronization

/// Passes messages on for programs that do not ask: what comes to `synthesis.in.X` goes to `synthesis.X`
/// while its chain may go on, and else nowhere.
///
/// It counts what it passes on, at once. The copy carries a mark, by which this agent's own watch knows
/// it again and leaves it out; other agents, who have not seen the original, count the copy. A mark that
/// somebody made up is none: each is good once, and only on the agent that gave it out.
final class Relay: Sendable {
    /// Marks that have not come back yet; the oldest are given up when there are more.
    private static let markLimit = 65_536

    private struct Marks {
        var last: UInt64 = 0
        var open: Set<UInt64> = []
        var oldest: UInt64 = 1
        /// Patterns that are watched, so that marks are kept only for what comes back.
        var watched: [String] = []
    }

    let route: RelayRoute
    private let gatekeeper: Gatekeeper
    private let shared: SharedBreaks
    private let meters: LoopMeters
    private let log: Logger
    private let prefix = String(UInt64.random(in: .min ... .max), radix: 36)
    private let marks = Mutex(Marks())
    private let complaints = Mutex(RateLimit(5, per: .seconds(10)))

    init(
        _ route: RelayRoute, _ gatekeeper: Gatekeeper, _ shared: SharedBreaks,
        _ meters: LoopMeters, log: Logger
    ) {
        self.route = route
        self.gatekeeper = gatekeeper
        self.shared = shared
        self.meters = meters
        self.log = log
    }

    /// Takes over what is watched from now on.
    func watch(_ patterns: [String]) { marks.withLock { $0.watched = patterns } }

    /// Whether a subject is one that the relay takes messages from.
    func takes(_ subject: String) -> Bool { route.target(of: subject) != nil }

    /// Whether a mark is one that was given out here and has not come back yet.
    func recognises(_ mark: String) -> Bool {
        let parts = mark.split(separator: "-")
        guard parts.count == 2, parts[0] == prefix, let number = UInt64(parts[1]) else {
            return false
        }
        return marks.withLock { $0.open.remove(number) != nil }
    }

    /// Takes one message. Called on the thread of the subscription; only a trial takes longer.
    func take(_ message: BusMessage) {
        let subject = message.subject
        guard let target = route.target(of: subject) else { return }
        let envelope: Envelope?
        do throws(MessageError) {
            let headers = try message.chainHeaders()
            envelope = try message.withPayload { bytes throws(MessageError) in
                try Envelope.read(headers: headers.value, payload: bytes)
            }
        } catch {
            meters.rejected.increment()
            return refuse(message, CheckAnswer.malformed(error), error.description)
        }
        guard let envelope else { return send(message, to: target) }
        switch gatekeeper.withJudge({ $0.pass(envelope, at: $1) }) {
        case .allow: send(message, to: target)
        case .deny(let reason, let until): deny(message, reason, until, target)
        case .trial(let trial):
            Task { [self] in
                switch await shared.settle(trial, isMessage: true) {
                case .deny(let reason, let until): deny(message, reason, until, target)
                case .allow, .trial: send(message, to: target)
                }
            }
        }
    }

    private func deny(
        _ message: BusMessage, _ reason: String, _ until: Timestamp, _ target: String
    ) {
        guard !gatekeeper.isDryRun else { return send(message, to: target) }
        refuse(message, CheckAnswer.denied(reason, until: until), reason)
    }

    /// Drops a message, and says so to its sender, when it listens.
    private func refuse(_ message: BusMessage, _ answer: [UInt8], _ reason: String) {
        meters.dropped.increment()
        complain(reason, message.subject)
        try? message.respond(answer)
    }

    private func complain(_ reason: String, _ subject: String) {
        guard let held = complaints.withLock({ $0.pass(at: SteadyClock.sinceBoot()) }) else {
            return
        }
        log.warning(
            "a message was not passed on",
            [
                "subject": subject, "reason": reason,
                "not_logged": held == 0 ? "" : "\(held)",
            ])
    }

    private func send(_ message: BusMessage, to target: String) {
        // Headers that this library could not send are left behind: an empty one hides all after it.
        var headers = message.headers.filter { header in
            header.name != LoopSubjects.relayHeader && Subject.isToken(header.name)
                && !header.value.isEmpty
                && header.value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        }.map { ($0.name, $0.value) }
        headers.append((LoopSubjects.relayHeader, mark(for: target)))
        do throws(BusError) {
            try message.pass(to: target, headers: headers)
            meters.passed.increment()
        } catch {
            let fault = MessageError(field: "", reason: "not passed on: \(error)")
            refuse(message, CheckAnswer.malformed(fault), error.description)
        }
    }

    private func mark(for target: String) -> String {
        let number = marks.withLock { marks in
            let isWatched = marks.watched.contains { LoopSubjects.matches($0, target) }
            marks.last += 1
            if isWatched { marks.open.insert(marks.last) }
            while marks.open.count > Self.markLimit {
                marks.open.remove(marks.oldest)
                marks.oldest += 1
            }
            return marks.last
        }
        return "\(prefix)-\(number)"
    }
}

/// From which subjects to which others the relay passes messages.
struct RelayRoute: Sendable, Equatable {
    private let source: String
    private let target: String

    /// - Throws: why this cannot be a relay.
    init(_ relay: Config.Relay) throws(MessageError) {
        guard relay.source.hasSuffix(".>"), relay.target.hasSuffix(".>") else {
            throw MessageError(field: "loop.relay", reason: "both subjects must end in .>")
        }
        source = String(relay.source.dropLast())
        target = String(relay.target.dropLast())
        guard !LoopSubjects.isOwn(source), !LoopSubjects.isOwn(target) else {
            throw MessageError(
                field: "loop.relay", reason: "SKOS's own subjects are not passed on")
        }
        guard !target.hasPrefix(source), !source.contains("*"), !target.contains("*") else {
            throw MessageError(
                field: "loop.relay",
                reason: "messages for \(relay.target) would come back to \(relay.source) for ever; "
                    + "take them from a subject that the target does not lie in")
        }
    }

    /// Where a message on a subject goes; `nil`: it is none of the relay's.
    func target(of subject: String) -> String? {
        guard subject.hasPrefix(source), subject.utf8.count > source.utf8.count else { return nil }
        return target + subject.dropFirst(source.count)
    }
}
