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
    /// Whether the bucket has been read, or cannot be.
    private let isReady = Atomic<Bool>(false)
    private let ready = Wakeup()

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
                try await follow(bucket, connection)
            } catch {
                if error.code != .notConnected { becomeReady() }
                if !isTold, error.code != .cancelled, error.code != .notConnected {
                    log.warning(
                        "broken chains are kept in memory only",
                        ["bucket": Subjects.chainBucket, "reason": error])
                    isTold = true
                }
            }
            lose()
            _ = await retry.wait(atMost: backoff.next())
        }
    }

    private func open(_ connection: Connection) async throws(BusError) -> KeyValue {
        var config = KeyValue.Config(bucket: Subjects.chainBucket)
        config.ttl = Self.life
        config.maxValueSize = Self.valueLimit
        return try await connection.jetStream.ensureBucket(config)
    }

    private func follow(_ bucket: KeyValue, _ connection: Connection) async throws(BusError) {
        let watch = try bucket.watch()
        let size = try await connection.jetStream.streamInfo("KV_\(Subjects.chainBucket)").messages
        var present: Set<String> = []
        if size == 0 { await begin(bucket, present) }
        var isBehind = size > 0
        for try await entry in watch {
            take(entry)
            guard isBehind else { continue }
            present.insert(entry.key)
            guard entry.pending == 0 else { continue }
            isBehind = false
            await begin(bucket, present)
        }
    }

    /// The bucket has been read: from now on it counts. What it does not know, though it did once, was
    /// lost with an older bucket.
    private func begin(_ bucket: KeyValue, _ present: Set<String>) async {
        self.bucket.withLock { $0 = bucket }
        let open = gatekeeper.withJudge { judge, _ -> [Break] in
            judge.isShared = true
            for (key, item) in judge.breaks where item.revision > 0 {
                let name = SharedBreak.key(chainID: item.chainID, pair: item.pair)
                if !present.contains(name) { judge.breaks[key]?.revision = 0 }
            }
            return judge.breaks.values.filter { $0.owner == .ours && $0.revision == 0 }
        }
        // Broken while nobody could be told.
        for item in open { await share(BreakChange(kind: .commanded, after: item), quietly: true) }
        becomeReady()
    }

    private func becomeReady() {
        isReady.store(true, ordering: .releasing)
        ready.ring()
    }

    /// Waits until it is known what is broken, or that nobody can say.
    func waitUntilReady(atMost limit: Duration) async {
        let end = SteadyClock.sinceBoot() + limit
        while !isReady.load(ordering: .acquiring), !Task.isCancelled {
            let left = end - SteadyClock.sinceBoot()
            guard left > .zero else { return }
            _ = await ready.wait(atMost: left)
        }
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
            gatekeeper.withJudge { judge, now in
                judge.apply(shared, revision: entry.revision, on: node, at: now)
            }
            gatekeeper.stirred.ring()
        } catch {
            log.warning(
                "an entry of the bucket is left alone",
                ["bucket": Subjects.chainBucket, "key": entry.key, "reason": error])
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
            "chain \(item.state.rawValue)" + (change.kind == .commanded ? ", by an action" : ""),
            [
                "chain": item.chainID, "pair": item.pair?.text ?? "",
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
            for key in trial.keys where isGranted {
                isGranted = await claim(key, trial, isMessage: isMessage, in: bucket)
            }
        }
        return gatekeeper.withJudge { judge, now in
            judge.settle(trial, granted: isGranted, isMessage: isMessage, at: now)
        }
    }

    private func claim(
        _ key: BreakKey, _ trial: Trial, isMessage: Bool, in bucket: KeyValue
    ) async -> Bool {
        let claimed = gatekeeper.withJudge { judge, now -> Break? in
            guard var item = judge.breaks[key], item.state == .open else { return nil }
            item.beginTrial(of: trial.envelope.chainID, at: now, until: now + judge.trialTime)
            item.awaitsTrial = !isMessage
            return item
        }
        guard let claimed else { return false }
        let name = SharedBreak.key(chainID: claimed.chainID, pair: claimed.pair)
        let value = JSON.object(SharedBreak(claimed, node: node).object).encoded
        do throws(BusError) {
            let revision = try await write(name, value, over: claimed.revision, in: bucket)
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

    /// Writes over what is known, or over something else that is open and whose time is over: a bucket
    /// that was made anew counts its revisions anew.
    private func write(
        _ name: String, _ value: [UInt8], over revision: UInt64, in bucket: KeyValue
    ) async throws(BusError) -> UInt64 {
        guard revision > 0 else { return try await create(name, value, in: bucket) }
        do throws(BusError) {
            return try await bucket.update(name, value, revision: revision)
        } catch  where error.isWrongSequence {
            guard let entry = try await bucket.get(name) else {
                return try await create(name, value, in: bucket)
            }
            let other = try? SharedBreak(decoding: entry.value)
            guard other?.state != .halfOpen, (other?.until ?? gatekeeper.now) <= gatekeeper.now
            else { throw error }
            return try await bucket.update(name, value, revision: entry.revision)
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
