import Platform
import Protocol
import Synchronization

/// How the mesh healer tells that somebody is making an interface.
extension MeshModule {
    /// What is known of an interface that is there; one that was made anew is another one.
    func presence(
        of link: NetworkLink, _ seen: Seen?, isFirst: Bool, at now: Timestamp
    ) -> Presence {
        if let presence = seen?.presence, presence.index == link.index { return presence }
        return Presence(link, isFirst: isFirst, at: now)
    }

    /// The interfaces on which somebody's `wg-quick` is at work. Asked only where it matters: all processes
    /// have to be looked at for it.
    func quickRuns(
        _ named: [NetworkLink], _ found: [NetworkLink], at now: Timestamp
    ) -> Set<String> {
        let isQuiet = state.withLock { state in
            let isKnown = found.allSatisfy { state.seen[$0.name] != nil }
            return isKnown
                && state.seen.allSatisfy { name, seen in
                    guard let link = named.first(where: { $0.name == name }), link.isUp,
                        let presence = seen.presence, presence.index == link.index
                    else { return false }
                    return !presence.isUnderWay(at: now)
                }
        }
        return isQuiet ? [] : network.quickRuns()
    }
}
