import Bus
import Protocol
import Runtime
import Synchronization

/// The chains of messages that the loop breaker holds back, as the agents of a fleet tell each other.
enum BrokenChains {
    /// What the bucket has. Where there is none, nothing was ever broken, or each agent keeps it to itself.
    ///
    /// - Throws: `Failure` when it cannot be read.
    static func read(_ link: Link) async throws -> [JSON.Object] {
        let found = Mutex<[JSON.Object]>([])
        do {
            let store = try await link.connection.jetStream.bucket(Subjects.chainBucket)
            let size = try await link.connection.jetStream.streamInfo("KV_\(Subjects.chainBucket)")
                .messages
            guard size > 0 else { return [] }
            let watch = try store.watch()
            try await withTimeLimit(link.timeout) {
                for try await entry in watch {
                    if entry.operation == .put, let chain = try? JSON.parse(entry.value).object {
                        found.withLock { $0.append(chain) }
                    }
                    if entry.pending == 0 { break }
                }
            }
        } catch let error as BusError {
            guard error.jetStreamCode != JetStreamCode.streamNotFound else { return [] }
            throw link.failure(error, "the broken chains of \(Subjects.chainBucket)")
        } catch is TimeLimitExceeded {
            throw Failure(
                .unreachable,
                "the broken chains of \(Subjects.chainBucket) were not read within "
                    + "\(Text.short(link.timeout)); --timeout waits longer")
        }
        return found.withLock { $0 }.sorted { name($0) < name($1) }
    }

    private static func name(_ chain: JSON.Object) -> String {
        ([chain.text("chain_id")] + chain.strings("pair")).joined(separator: " ")
    }

    static func text(_ chains: [JSON.Object], _ style: Style) -> String {
        var table = Table(["CHAIN", "PAIR", "STATE", "UNTIL", "REASON"])
        for chain in chains {
            table.add([
                .init(chain.text("chain_id")),
                .init(chain.strings("pair").joined(separator: ", ")),
                Mood.cell(chain.text("state")), .init(chain.timeText("until")),
                .init(chain.text("reason")),
            ])
        }
        return table.text(style)
    }
}
