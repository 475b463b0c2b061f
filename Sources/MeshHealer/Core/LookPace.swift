/// How long to rest after a look that the kernel's word about links has caused: a link that goes down is
/// looked at at once, a node whose links come and go all the time once a second. Pure.
struct LookPace: Sendable {
    static let shortRest: Duration = .milliseconds(50)
    static let longRest: Duration = .seconds(1)
    /// Looks in quick succession, after a while of quiet.
    static let burst = 60.0

    private var credit = Self.burst
    private var last: Duration?

    /// - `now`: since boot.
    mutating func rest(at now: Duration) -> Duration {
        if let last {
            let quiet =
                Double((now - last).components.seconds)
                + Double((now - last).components.attoseconds) / 1e18
            credit = min(credit + max(quiet, 0), Self.burst)
        }
        last = now
        // Each look costs as much as a second brings.
        defer { credit -= 1 }
        return credit >= 1 ? Self.shortRest : Self.longRest
    }
}
