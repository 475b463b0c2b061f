import Bus
import Protocol
import Runtime
import Synchronization

/// Answers programs that ask whether they may send: `skos.chain.check`.
final class CheckDesk: Sendable {
    private let gatekeeper: Gatekeeper
    private let shared: SharedBreaks
    private let meters: LoopMeters
    private let log: Logger

    init(_ gatekeeper: Gatekeeper, _ shared: SharedBreaks, _ meters: LoopMeters, log: Logger) {
        self.gatekeeper = gatekeeper
        self.shared = shared
        self.meters = meters
        self.log = log
    }

    /// Answers one question. Called on the thread of the subscription; only a trial takes longer.
    func take(_ message: BusMessage) {
        let envelope: Envelope
        do throws(MessageError) {
            let headers = try message.chainHeaders()
            envelope = try message.withPayload { bytes throws(MessageError) in
                try Envelope(question: bytes, headers: headers)
            }
        } catch {
            meters.malformed.increment()
            return send(CheckAnswer.malformed(error), to: message)
        }
        switch gatekeeper.withJudge({ $0.ask(envelope, at: $1) }) {
        case .allow:
            meters.allowed.increment()
            send(CheckAnswer.allowed, to: message)
        case .deny(let reason, let until): deny(reason, until, message)
        case .trial(let trial):
            Task { [self] in
                switch await shared.settle(trial, isMessage: false) {
                case .deny(let reason, let until): deny(reason, until, message)
                case .allow, .trial:
                    meters.allowed.increment()
                    send(CheckAnswer.trial, to: message)
                }
            }
        }
    }

    private func deny(_ reason: String, _ until: Timestamp, _ message: BusMessage) {
        meters.denied.increment()
        let isDryRun = gatekeeper.isDryRun
        send(
            isDryRun
                ? CheckAnswer.wouldBeDenied(reason) : CheckAnswer.denied(reason, until: until),
            to: message)
    }

    private func send(_ answer: [UInt8], to message: BusMessage) {
        do throws(BusError) { try message.respond(answer) } catch {
            log.debug("a check could not be answered", ["reason": error])
        }
    }
}

extension BusMessage {
    /// The headers about a chain, for whoever may refuse the message.
    ///
    /// - Throws: `MessageError` when some cannot be read.
    func chainHeaders() throws(MessageError) -> ChainHeaders {
        let headers = ChainHeaders(headers)
        guard !hasLostHeaders, !headers.areCut else {
            throw MessageError(
                field: "",
                reason: "a header has an empty value, and what follows it cannot be read; "
                    + "leave that header out")
        }
        return headers
    }
}
