import Bus
import Protocol
import Runtime

/// Another coordinator has begun to lead since this one last heard who does.
struct Superseded: Error, CustomStringConvertible {
    var lead: Replay.Lead

    var description: String { "\(lead.actor) leads since record \(lead.sequence) of the audit" }
}

/// Waits for as long as another coordinator leads.
///
/// It is a courtesy and no lock: who may act is decided by the audit alone, which takes the records of one
/// coordinator only (ADR 11). Without it, two that are started again and again would depose each other for ever.
struct Standby {
    /// How long a leader may take to answer.
    let patience: Duration
    let logger: Logger
    /// The other coordinator that was last seen to lead.
    private var leader: String?
    /// The records that begin a lead are known up to this place in the audit.
    private(set) var known: UInt64?
    /// How often in a row another one has taken the lead from this one.
    private var duels = 0

    init(patience: Duration, logger: Logger) {
        self.patience = patience
        self.logger = logger
    }

    /// Least time from one question to the next.
    private static let interval: Duration = .seconds(1)
    /// So many questions in a row must go without an answer where nobody was seen to lead. It takes one if
    /// NATS itself says that nobody listens.
    private static let strangeMisses = 2
    /// So many must for a leader that was seen; more after each duel, lest those who do not hear each other's
    /// answers fight without end.
    private static let misses = 3
    private static let mostDuels = 5
    /// So many must when NATS was away: a leader may need longer to come back.
    private static let missesAfterLoss = 6
    /// A term this long was no duel.
    private static let peace: Duration = .seconds(600)

    /// What a leader answers.
    static func answer(_ actor: String) -> JSON.Object { ["coordinator": .string(actor)] }

    private enum Finding: Equatable {
        case leader(String)
        case nobody
        /// Somebody listens and says nothing of use: a leader that hangs, or a client that listens to everything.
        case silence
        /// NATS is away.
        case loss
    }

    /// So many questions in a row must go without an answer now.
    var needed: Int { leader == nil ? Self.strangeMisses : Self.misses << duels }

    /// Returns when nobody leads. `leads` is called once, when another coordinator is found to.
    /// - Throws: `cancelled`, `closed`, and what `request` throws.
    mutating func wait(on connection: Connection, leads: () -> Void) async throws(BusError) {
        if known == nil { known = await Self.lastRecord(connection) }
        var reconnections = connection.reconnections
        var missed = 0
        var needed = needed
        var isTold = false
        while missed < needed {
            let asked = ContinuousClock.now
            let finding = try await ask(connection)
            let wasLost = connection.reconnections != reconnections
            reconnections = connection.reconnections
            switch finding {
            case .leader(let name):
                if !isTold { leads() }
                if !isTold || leader != name {
                    logger.info("another coordinator leads; standing by", ["leader": name])
                }
                isTold = true
                leader = name
                known = await Self.lastRecord(connection) ?? known
                duels = 0
                missed = 0
                needed = Self.misses
            case .nobody where leader == nil: return
            case .nobody where !wasLost, .silence where !wasLost: missed += 1
            case .nobody, .silence, .loss:
                missed = 0
                if leader != nil { needed = max(needed, Self.missesAfterLoss) }
            }
            // Where nobody was seen to lead, nobody is to be waited for.
            if missed < needed, leader != nil || finding == .loss {
                try await pause(until: asked + Self.interval)
            }
        }
        if let leader {
            logger.warning("the leader does not answer any more; taking over", ["leader": leader])
        }
        leader = nil
    }

    /// Whether another coordinator says that it leads; asked once.
    func isLed(_ connection: Connection) async -> Bool {
        guard connection.isConnected, case .leader? = try? await ask(connection) else {
            return false
        }
        return true
    }

    /// Another one has taken over: it is given time to answer.
    mutating func isSuperseded(by lead: Replay.Lead) {
        leader = lead.actor
        known = lead.sequence
        duels = min(duels + 1, Self.mostDuels)
    }

    /// This one has led for so long.
    mutating func hasLed(from sequence: UInt64, for duration: Duration) {
        leader = nil
        known = sequence
        if duration > Self.peace { duels = 0 }
    }

    private func ask(_ connection: Connection) async throws(BusError) -> Finding {
        do throws(BusError) {
            let answer = try await connection.request(Subjects.leader, [], timeout: patience)
            let name = try? answer.withPayload { (payload) throws(MessageError) in
                try Fields(message: payload).identifier("coordinator")
            }
            return name.map { .leader($0) } ?? .silence
        } catch {
            switch error.code {
            case .noResponders: return .nobody
            case .timeout: return connection.isConnected ? .silence : .loss
            case .notConnected, .bufferFull: return .loss
            default: throw error
            }
        }
    }

    /// The last record of the audit; `nil` when it cannot be said.
    private static func lastRecord(_ connection: Connection) async -> UInt64? {
        do throws(BusError) {
            return try await connection.jetStream.streamInfo(Subjects.auditStream).lastSequence
        } catch {
            return error.jetStreamCode == JetStreamCode.streamNotFound ? 0 : nil
        }
    }

    private func pause(until time: ContinuousClock.Instant) async throws(BusError) {
        do { try await Task.sleep(until: time, clock: .continuous) } catch {
            throw BusError(.cancelled, "the coordinator is stopped")
        }
    }
}
