import Platform
import Protocol

/// Whether an interface that is there is what it will be. Pure.
///
/// `wg-quick`, run by anybody, makes an interface, gives it its peers and addresses, switches it on, runs
/// what its file says, and takes it away again when one of that fails. Who switches it on amid that makes
/// `wg-quick` fail; and one that is there for a moment is not back.
struct Presence: Sendable, Equatable {
    /// How long one that appears may take to be switched on: names of endpoints have to be resolved.
    static let newTime: Duration = .seconds(120)
    /// The same of one that was there when the agent was started.
    static let firstTime: Duration = .seconds(15)
    /// How long one that was lost has to be on before it is back.
    static let backTime: Duration = .seconds(10)

    let index: Int32
    /// It was there when the agent was started.
    private let isFirst: Bool
    private var since: Timestamp
    private var wasUp = false
    private var upSince: Timestamp?
    /// It has been on for long enough once.
    private var isComplete = false

    init(_ link: NetworkLink, isFirst: Bool, at now: Timestamp) {
        index = link.index
        self.isFirst = isFirst
        since = now
    }

    /// Takes one look at it.
    mutating func take(_ link: NetworkLink, at now: Timestamp) {
        // A clock that is set back begins anew.
        since = min(since, now)
        wasUp = wasUp || link.isUp
        upSince = link.isUp ? min(upSince ?? now, now) : nil
        isComplete = isComplete || isBack(at: now)
    }

    /// Whether somebody may be about to switch it on.
    func isNew(at now: Timestamp) -> Bool {
        !wasUp && now - since < (isFirst ? Self.firstTime : Self.newTime)
    }

    /// Whether somebody may still be making it: to be switched on is not the end of that, routes follow.
    func isUnderWay(at now: Timestamp) -> Bool {
        guard upSince != nil else { return isNew(at: now) }
        return !isFirst && !isComplete && !isBack(at: now) && now - since < Self.newTime
    }

    /// Whether one that was lost is back.
    func isBack(at now: Timestamp) -> Bool { upSince.map { now - $0 >= Self.backTime } ?? false }
}
