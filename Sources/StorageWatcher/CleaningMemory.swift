import Platform
import Settings
import Synchronization

/// What cleaning remembers from one action to the next, for as long as the process lives: where the time
/// was over, so that a tree of very many files that stay is not looked at from its top again and again;
/// and which paths do not answer.
final class CleaningMemory: Sendable {
    /// Where the time was over: which root, and where in it.
    struct Place: Sendable {
        var root: String
        var cursor: WalkCursor
    }

    /// Kinds of cleaning that are remembered; settings are seldom edited more often.
    private static let limit = 16
    /// How long a path may take to answer.
    static let answerLimit: Duration = .seconds(2)

    private let places = Mutex<[String: Place]>([:])
    private let askers = Mutex<[String: TimedWorker]>([:])

    /// Where the next walk with these settings goes on.
    func place(_ cleanup: Config.Cleanup) -> Place? {
        places.withLock { $0[Self.key(cleanup)] }
    }

    func remember(_ place: Place?, _ cleanup: Config.Cleanup) {
        places.withLock { places in
            if places.count >= Self.limit { places = [:] }
            places[Self.key(cleanup)] = place
        }
    }

    private static func key(_ cleanup: Config.Cleanup) -> String {
        "\(cleanup.roots) \(cleanup.patterns) \(cleanup.minAge)"
    }

    /// Whether a path answers at all: a dead server behind it would keep us for ever. One thread at
    /// most is left behind for each path of the node's own file.
    func answers(_ path: String, _ ask: @escaping @Sendable () -> Void) -> Bool {
        let asker = askers.withLock { askers in
            let asker = askers[path] ?? TimedWorker(maxHung: 1)
            askers[path] = asker
            return asker
        }
        return asker.runBlocking(limit: Self.answerLimit) {
            ask()
            return true
        } ?? false
    }
}
