import Antibody
import Bus
import Protocol
import Runtime
import Synchronization

/// Shares breakers with the other agents of the fleet, through the bucket `SKOS_CHAINS`, and tells the
/// world of changes on `skos.chain.<id>`.
///
/// Without JetStream, or without the permission, every agent keeps its breakers in memory: they work the
/// same, but each agent for itself, and they are forgotten in a restart.
final class SharedBreaks: Sendable {
    /// How long an entry is kept that nobody takes out.
    private static let life: Duration = .seconds(7 * 86_400)
    private static let valueLimit = 16 * 1024

    private let gatekeeper: Gatekeeper
    private let meters: LoopMeters
    private let log: Logger
    private let link: BusLink
    private let node: String
    private let bucket = Mutex<KeyValue?>(nil)
    /// Ends the pause before the next try to reach the bucket.
    private let retry = Wakeup()

    init(_ gatekeeper: Gatekeeper, _ meters: LoopMeters, _ surroundings: Surroundings) {
        self.gatekeeper = gatekeeper
        self.meters = meters
        log = surroundings.log
        link = surroundings.link
        node = surroundings.node
        link.onUp(retry)
    }

    /// Shares until the task is cancelled.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.write() }
            group.addTask { await self.stayInTouch() }
        }
    }

    // MARK: What others say

    private func stayInTouch() async {
        var backoff = Backoff(base: .milliseconds(500), limit: .seconds(30), seed: 5)
        var isTold = false
        while !Task.isCancelled {
            guard let connection = link.connection else {
                _ = await retry.wait(atMost: .seconds(5))
                continue
            }
            do throws(BusError) {
                let bucket = try await open(connection)
                isTold = false
                backoff.reset()
                try await follow(bucket)
            } catch {
                if !isTold, error.code != .cancelled, error.code != .notConnected {
                    log.warning(
                        "broken chains are kept in memory only",
                        ["bucket": LoopSubjects.bucket, "reason": error])
                    isTold = true
                }
            }
            lose()
            _ = await retry.wait(atMost: backoff.next())
        }
    }

    private func open(_ connection: Connection) async throws(BusError) -> KeyValue {
        var config = KeyValue.Config(bucket: LoopSubjects.bucket)
        config.ttl = Self.life
        config.maxValueSize = Self.valueLimit
        return try await connection.jetStream.ensureBucket(config)
    }

    private func follow(_ bucket: KeyValue) async throws(BusError) {
        let watch = try bucket.watch()
        self.bucket.withLock { $0 = bucket }
        let open = gatekeeper.withJudge { judge, _ in
            judge.isShared = true
            return judge.breaks.values.filter { $0.owner == .ours && $0.revision == 0 }
        }
        // Broken while nobody could be told.
        for item in open { await share(BreakChange(kind: .commanded, after: item), quietly: true) }
        for try await entry in watch { take(entry) }
    }

    private func lose() {
        bucket.withLock { $0 = nil }
        gatekeeper.withJudge { judge, _ in
            judge.isShared = false
            for key in judge.breaks.keys { judge.alone(key) }
        }
    }

    private func take(_ entry: KeyValue.Entry) {
        guard entry.operation == .put else {
            gatekeeper.withJudge { judge, now in
                judge.removed(entry.key, revision: entry.revision, at: now)
            }
            return
        }
        do throws(MessageError) {
            let shared = try SharedBreak(decoding: entry.value)
            guard SharedBreak.key(chainID: shared.chainID, pair: shared.pair) == entry.key else {
                throw MessageError(field: "chain_id", reason: "is not what the key says")
            }
            let isOurs = shared.node == node
            gatekeeper.withJudge { judge, now in
                judge.apply(shared, revision: entry.revision, isOurs: isOurs, at: now)
            }
            gatekeeper.stirred.ring()
        } catch {
            log.warning(
                "an entry of the bucket is left alone",
                ["bucket": LoopSubjects.bucket, "key": entry.key, "reason": error])
        }
    }

    // MARK: What we say

    private func write() async {
        while !Task.isCancelled {
            let changes = gatekeeper.takeChanges()
            if changes.isEmpty { _ = await gatekeeper.changed.wait(atMost: .seconds(60)) }
            for change in changes { await share(change, quietly: false) }
            if !changes.isEmpty { gatekeeper.stirred.ring() }
        }
    }

    private func share(_ change: BreakChange, quietly: Bool) async {
        let item = change.after
        var isNews = true
        if let bucket = bucket.withLock({ $0 }) {
            do throws(BusError) {
                isNews = try await store(change, in: bucket)
            } catch  where error.isWrongSequence {
                gatekeeper.withJudge { judge, _ in judge.lost(item.key) }
                isNews = false
            } catch {
                meters.unshared.increment()
                log.warning(
                    "others do not hear of a broken chain",
                    ["chain": item.chainID, "reason": error])
                gatekeeper.withJudge { judge, _ in judge.alone(item.key) }
            }
        } else {
            gatekeeper.withJudge { judge, _ in judge.alone(item.key) }
        }
        if isNews, !quietly { announce(change) }
    }

    /// Writes a change to the bucket. Returns whether it is for us to tell of it.
    private func store(
        _ change: BreakChange, in bucket: KeyValue
    ) async throws(BusError) -> Bool {
        let item = change.after
        let key = SharedBreak.key(chainID: item.chainID, pair: item.pair)
        let value = JSON.object(SharedBreak(item, node: node).object).encoded
        let known = gatekeeper.withJudge { judge, _ in judge.breaks[item.key]?.revision ?? 0 }
        let revision: UInt64
        switch change.kind {
        case .closed:
            // Each closes by itself when the time is over; one takes the entry out.
            guard item.owner == .ours, item.revision > 0 else { return item.owner == .ours }
            try await bucket.delete(key, revision: item.revision)
            return true
        case .tripped:
            // Somebody else was faster, and has been heard of.
            guard known == 0 else { return false }
            revision = try await create(key, value, in: bucket)
        case .commanded: revision = try await bucket.put(key, value)
        case .trial, .reopened, .worsened:
            guard known > 0 else {
                revision = try await create(key, value, in: bucket)
                break
            }
            revision = try await bucket.update(key, value, revision: known)
        }
        gatekeeper.withJudge { judge, _ in judge.stored(item, revision: revision) }
        return true
    }

    /// Writes an entry that is new, or in place of one whose time is over.
    private func create(
        _ key: String, _ value: [UInt8], in bucket: KeyValue
    ) async throws(BusError) -> UInt64 {
        do throws(BusError) {
            return try await bucket.create(key, value)
        } catch  where error.isWrongSequence {
            guard let entry = try await bucket.get(key) else { throw error }
            let old = try? SharedBreak(decoding: entry.value)
            let isOver = old.map { $0.until <= gatekeeper.now } ?? true
            guard isOver else { throw error }
            return try await bucket.update(key, value, revision: entry.revision)
        }
    }

    private func announce(_ change: BreakChange) {
        let item = change.after
        log.info(
            "chain \(item.state.rawValue)",
            [
                "chain": Name.quoted(item.chainID), "pair": item.pair?.text ?? "",
                "reason": item.reason, "until": item.until.inMilliseconds,
            ])
        guard let connection = link.connection else { return }
        var object = SharedBreak(item, node: node).object
        object["contents"] = nil
        object["timestamp"] = .string(gatekeeper.now.inMilliseconds.description)
        do throws(BusError) {
            try connection.publish(
                LoopSubjects.chain(item.chainID), JSON.object(object).encoded)
        } catch {
            log.debug("a change was not told", ["reason": error])
        }
    }

    // MARK: Trials

    /// Finds out whether a trial may pass: of all agents of the fleet one may let one through.
    func settle(_ trial: Trial, isMessage: Bool) async -> Answer {
        var isGranted = true
        if let bucket = bucket.withLock({ $0 }) {
            for key in trial.keys where isGranted { isGranted = await claim(key, in: bucket) }
        }
        return gatekeeper.withJudge { judge, now in
            judge.settle(trial, granted: isGranted, isMessage: isMessage, at: now)
        }
    }

    private func claim(_ key: BreakKey, in bucket: KeyValue) async -> Bool {
        let claimed = gatekeeper.withJudge { judge, now -> Break? in
            guard var item = judge.breaks[key], item.state == .open else { return nil }
            item.beginTrial(at: now, until: now + judge.trialTime)
            return item
        }
        guard let claimed else { return false }
        let name = SharedBreak.key(chainID: claimed.chainID, pair: claimed.pair)
        let value = JSON.object(SharedBreak(claimed, node: node).object).encoded
        do throws(BusError) {
            let revision =
                claimed.revision > 0
                ? try await bucket.update(name, value, revision: claimed.revision)
                : try await create(name, value, in: bucket)
            gatekeeper.withJudge { judge, _ in judge.stored(claimed, revision: revision) }
            return true
        } catch  where error.isWrongSequence {
            return false
        } catch {
            log.warning(
                "a trial is not let through: it is not known whether another one is",
                ["chain": claimed.chainID, "reason": error])
            return false
        }
    }
}

extension ChainJudge {
    /// The bucket says that an entry is gone: all is well.
    mutating func removed(_ name: String, revision: UInt64, at now: Timestamp) {
        let key = breaks.values.first { item in
            item.revision > 0 && item.revision < revision
                && SharedBreak.key(chainID: item.chainID, pair: item.pair) == name
        }?.key
        guard let key else { return }
        close(key, at: now)
        // Whoever took it out has told of it.
        changes.removeAll { $0.kind == .closed && $0.after.key == key }
    }
}
