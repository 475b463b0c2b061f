import Protocol
import Runtime
import Settings
import Synchronization

/// Looks at the node again and again, for one agent, and keeps what it saw last for the heartbeats.
///
/// The module runs on a thread of its own. When it hangs, nothing else does: what is known gets old,
/// heartbeats say so, and the next look waits until the thread is free.
final class Monitor: Sendable {
    /// What is known of the last look.
    struct Last: Sendable {
        var sample: Sample?
        /// When the sample was complete, since boot.
        var sampledAt: Duration?
        /// Whether the module has not come back from a look.
        var isHung = false
        /// How often it did not.
        var hangs: UInt64 = 0
        /// Symptoms that could not be reported for want of room.
        var dropped: UInt64 = 0
    }

    private let module: any AntibodyModule
    /// How long one look may take.
    private let limit: Duration
    private let clock: SteadyClock
    private let log: Logger
    private let thread: WorkerThread
    private let last = Mutex(Last())
    private let wakeup = Wakeup()
    private let intervals: Mutex<(sample: Duration, alert: Duration)>
    private let duration: Histogram
    private let hangs: Counter

    init(
        module: any AntibodyModule, config: Config, limit: Duration, clock: SteadyClock,
        log: Logger, metrics: Metrics
    ) {
        self.module = module
        self.limit = limit
        self.clock = clock
        self.log = log
        thread = WorkerThread(name: "\(module.name)-look")
        intervals = Mutex((config.monitorInterval, config.repeatInterval))
        let labels = ["agent": module.name]
        duration = metrics.histogram(
            "skos_agent_sample_seconds", "Time of one look at the node.", labels: labels)
        hangs = metrics.counter(
            "skos_agent_sample_hangs_total", "Looks that did not come back in time.",
            labels: labels)
    }

    var latest: Last { last.withLock { $0 } }

    /// The actions the module offers; none when it does not say within the limit.
    func verbs() async -> [any Verb] {
        let module = module
        do {
            return try await withTimeLimit(limit, on: thread) { module.verbs() }
        } catch {
            log.error("the module does not say what it can do", ["reason": "\(error)"])
            return []
        }
    }

    /// Uses new settings at once.
    func apply(_ config: Config) {
        intervals.withLock { $0 = (config.monitorInterval, config.repeatInterval) }
        module.apply(config)
        wakeup.ring()
    }

    /// Ends the wait for the next look.
    func lookAgain() { wakeup.ring() }

    /// Looks until the task is cancelled, and hands on what is to be reported.
    func run(
        _ keeper: AlertKeeper, report: @Sendable (AlertKeeper.Report) -> Void
    ) async {
        var keeper = keeper
        defer { thread.stop() }
        while !Task.isCancelled {
            let started = SteadyClock.sinceBoot()
            let (interval, repeatInterval) = intervals.withLock { $0 }
            if let sample = await look() {
                let reports = keeper.handle(
                    sample.symptoms, watched: sample.watched, repeatInterval: repeatInterval,
                    at: clock.now())
                last.withLock { $0.dropped = keeper.dropped }
                for item in reports { report(item) }
            }
            let rest = started + interval - SteadyClock.sinceBoot()
            // Also when a look takes longer than the interval: the others need the processor, too.
            _ = await wakeup.wait(atMost: max(rest, .milliseconds(10)))
        }
    }

    /// One look; `nil` when it hangs, now or still.
    private func look() async -> Sample? {
        guard !thread.isHanging else {
            last.withLock { $0.isHung = true }
            return nil
        }
        let (module, clock) = (module, clock)
        let started = SteadyClock.sinceBoot()
        do {
            let sample = try await withTimeLimit(limit, on: thread) {
                await module.sample(at: clock.now())
            }
            let now = SteadyClock.sinceBoot()
            duration.observe(now - started)
            let wasHung = last.withLock { last in
                defer {
                    last.sample = sample
                    last.sampledAt = now
                    last.isHung = false
                }
                return last.isHung
            }
            if wasHung { log.info("the module has come back") }
            return sample
        } catch is TimeLimitExceeded {
            hangs.increment()
            last.withLock { last in
                last.isHung = true
                last.hangs += 1
            }
            log.error(
                "looking at the node hangs; what is known gets old",
                ["limit": limit])
        } catch {
            // Cancelled: the agent stops.
        }
        return nil
    }
}
