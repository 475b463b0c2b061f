package import Protocol
import Runtime

/// Composes heartbeats from what is known. Pure.
package struct HeartbeatWriter: Sendable {
    /// A sample older than this many of its intervals is not shown any more.
    package static let staleAfter = 3
    /// Active actions that are listed.
    package static let activeLimit = 16
    /// The system's clock differs from the agent's by at least this before it is mentioned.
    package static let driftLimit: Duration = .seconds(1)

    /// What is known when a heartbeat is due.
    package struct Facts: Sendable {
        package var now: Timestamp
        package var sample: Sample?
        package var sampleAge: Duration?
        package var isHung = false
        /// Time between two samples.
        package var interval: Duration
        package var active: [ActiveAction] = []
        /// Verbs that are not offered for now.
        package var withheld: Set<String> = []
        package var obstacle: String?
        package var dropped: UInt64 = 0
        package var drift: Duration = .zero
        package var isDryRun = false
        package var isStopping = false

        package init(now: Timestamp, interval: Duration) {
            self.now = now
            self.interval = interval
        }
    }

    private let identity: AgentIdentity
    private let verbs: [String]
    private var sequence: Int64 = 0

    package init(identity: AgentIdentity, verbs: [String]) {
        self.identity = identity
        self.verbs = verbs
    }

    /// The next heartbeat, as JSON text. What the module says goes beside the agent's own members and
    /// never in their place.
    package mutating func next(_ facts: Facts) -> [UInt8] {
        sequence += 1
        let isFresh = facts.sampleAge.map { $0 <= facts.interval * Self.staleAfter } ?? false
        let sample = isFresh ? facts.sample : nil
        let message = compose(facts, sample)
        let bytes = JSON.object(message).encoded
        guard bytes.count > Limits.messageBytes else { return bytes }
        // More sensors than fit: the agent's own members always do.
        var short = Sample()
        short.metadata = ["truncated": true]
        return JSON.object(compose(facts, short)).encoded
    }

    private func compose(_ facts: Facts, _ sample: Sample?) -> JSON.Object {
        var metadata = metadata(facts)
        for (name, value) in sample?.metadata.members ?? [] where metadata[name] == nil {
            metadata[name] = value
        }
        let heartbeat = Heartbeat(
            agentID: identity.agentID, agentType: identity.agentType, node: identity.node,
            timestamp: facts.now.inMilliseconds)
        var object = heartbeat.object
        object["metadata"] = nil
        for (name, value) in sample?.heartbeat.members ?? [] where object[name] == nil {
            if name != "metadata" { object[name] = value }
        }
        object["metadata"] = .object(metadata)
        return object
    }

    private func metadata(_ facts: Facts) -> JSON.Object {
        var probe: JSON.Object = [
            "state": facts.isHung ? "hung" : facts.sampleAge == nil ? "starting" : "ok"
        ]
        probe["age_ms"] = facts.sampleAge.map { .integer($0.wholeNanoseconds / 1_000_000) }
        var metadata: JSON.Object = [
            "version": .string(BuildInfo.version), "sequence": .integer(sequence),
            "started": .string(identity.started.inMilliseconds.description),
            "boot_id": .string(identity.bootID), "start_id": .string(identity.startID),
            "verbs": .array(verbs.filter { !facts.withheld.contains($0) }.map(JSON.string)),
            "probe": .object(probe),
            "dropped": .integer(Int64(clamping: facts.dropped)),
        ]
        if !facts.active.isEmpty {
            metadata["active"] = .array(facts.active.prefix(Self.activeLimit).map(Self.json))
        }
        metadata["obstacle"] = facts.obstacle.map(JSON.string)
        if abs(facts.drift.inSeconds) >= Self.driftLimit.inSeconds {
            metadata["clock_drift_s"] = .number((facts.drift.inSeconds * 1000).rounded() / 1000)
        }
        metadata["dry_run"] = facts.isDryRun ? true : nil
        metadata["stopping"] = facts.isStopping ? true : nil
        return metadata
    }

    private static func json(_ action: ActiveAction) -> JSON {
        var object: JSON.Object = [
            "action_id": .string(action.id), "action_type": .string(action.verb),
        ]
        object["lease_s"] = action.remaining.map { .integer($0.components.seconds) }
        object["undo"] = action.undoReason.map(JSON.string)
        object["undo_failure"] = action.undoFailure.map(JSON.string)
        return .object(object)
    }
}
