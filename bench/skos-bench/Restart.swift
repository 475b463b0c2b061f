import CBench
import Foundation

extension Bench {
    /// A coordinator is killed over a long audit with many open incidents: how long until its successor
    /// acts on an alert, with the last snapshot and, as after its loss, without.
    func restart(incidents: Int, records: Int) throws {
        for hasSnapshot in [true, false] {
            let server = try server()
            defer { server.stop() }
            let first = try coordinator()
            defer { first.stop() }
            try fill(incidents: incidents, records: records)
            kill(first.process.processIdentifier, SIGKILL)
            first.process.waitUntilExit()
            guard hasSnapshot || cbench_forget(url, "KV_SKOS_STATE") == 0 else {
                throw Failure("the bucket of snapshots could not be removed")
            }
            let begun = ContinuousClock.now
            let second = try coordinator(isAwaited: false)
            defer { second.stop() }
            _ = try heal("skos", "after", count: 1, window: 1, answers: false)
            let taken = seconds(ContinuousClock.now - begun)
            let used = second.cpuSeconds
            add(
                Row(
                    name: "killed over \(records) records, \(incidents) open incidents"
                        + "\(hasSnapshot ? "" : ", no snapshot") → acts again",
                    floor: "–", skos: String(format: "%.1f s, CPU %.1f s", taken, used), ratio: "–",
                    line: "≤ 5 s", holds: taken <= 5))
        }
    }

    /// Opens the incidents, and has their symptoms reported again until the audit is long enough.
    private func fill(incidents: Int, records: Int) throws {
        _ = try heal("skos", "many", count: incidents, window: 256, answers: true)
        var length = try auditLength()
        while length < records {
            // Sooner repeats are not recorded.
            usleep(1_100_000)
            guard cbench_alerts(url, "many", Int32(min(incidents, records - length))) == 0 else {
                throw Failure("the alerts could not be published")
            }
            let goal = min(records, length + incidents)
            for _ in 0..<600 where length < goal {
                usleep(100_000)
                length = try auditLength()
            }
            guard length >= goal else {
                throw Failure("the audit ends at \(length), not at \(goal)")
            }
        }
    }

    private func auditLength() throws -> Int {
        guard let audit = try status()["audit"] as? [String: Any],
            let sequence = audit["sequence"] as? Int
        else { throw Failure("`skos status` names no end of the audit") }
        return sequence
    }
}
