import Bus
import Protocol
import Runtime

/// Waits for as long as another coordinator leads.
///
/// It is a courtesy and no lock: who may act is decided by the audit alone, which takes the records of one
/// coordinator only (ADR 3). Without it, two that are started again and again would depose each other for ever.
struct Standby {
    let connection: Connection
    let logger: Logger
    /// How long a leader may take to answer.
    let patience: Duration

    /// Time between two questions.
    private static let interval: Duration = .seconds(1)
    /// So many questions in a row must find nobody before a leader that was seen is given up; it may have
    /// lost NATS with everybody else and be about to come back.
    private static let misses = 2

    /// What a leader answers.
    static func answer(_ actor: String) -> JSON.Object { ["coordinator": .string(actor)] }

    private enum Finding: Equatable {
        case leader(String)
        case nobody
        /// Somebody listens and says nothing: a leader that hangs, or a client that listens to everything.
        case silence
    }

    /// Returns when nobody leads. `leads` is called once, when another coordinator is found to.
    /// - Throws: `cancelled`, `notConnected`, `closed`, and what `request` throws.
    func wait(leads: () -> Void) async throws(BusError) {
        var leader: String?
        var missed = 0
        while true {
            let found = try await ask()
            switch found {
            case .leader(let name):
                if leader == nil { leads() }
                if leader != name {
                    logger.info("another coordinator leads; standing by", ["leader": name])
                }
                leader = name
                missed = 0
            case .nobody where leader == nil: return
            case .nobody, .silence: missed += 1
            }
            if missed == Self.misses { break }
            if found != .silence { try await pause() }
        }
        if let leader {
            logger.warning("the leader does not answer any more; taking over", ["leader": leader])
        }
    }

    private func ask() async throws(BusError) -> Finding {
        do throws(BusError) {
            let answer = try await connection.request(Subjects.leader, [], timeout: patience)
            let object = try? JSON.parse(answer.payload).object
            return .leader(object?["coordinator"]?.string ?? "unknown")
        } catch {
            switch error.code {
            case .noResponders: return .nobody
            case .timeout where connection.isConnected: return .silence
            case .timeout: throw BusError(.notConnected, "the connection to NATS is lost")
            default: throw error
            }
        }
    }

    private func pause() async throws(BusError) {
        do { try await Task.sleep(for: Self.interval) } catch {
            throw BusError(.cancelled, "the coordinator is stopped")
        }
    }
}
