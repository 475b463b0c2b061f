/// Runs services from the first start to the last stop.
///
/// They start in order, each one ready before the next begins, and run at the same time. A signal, or
/// the failure of one of them, stops them all in reverse order: each is asked to shut down and has
/// returned before the one below it is asked. When the deadline passes, those still running are
/// cancelled, and after a grace period they are left behind.
package struct ServiceGroup: Sendable {
    /// How long services that were cancelled may take to return.
    package static let cancellationGrace: Duration = .seconds(1)

    private let services: [any Service]
    private let deadline: Duration
    private let grace: Duration
    private let log: Logger

    /// A group that gives all services together until `deadline` to stop, and those that had to be
    /// cancelled then another `grace`.
    package init(
        _ services: [any Service], deadline: Duration = .seconds(10),
        grace: Duration = ServiceGroup.cancellationGrace, log: Logger = Logger("services")
    ) {
        precondition(!services.isEmpty, "a group without services would run for ever")
        self.services = services
        self.deadline = deadline
        self.grace = grace
        self.log = log
    }

    /// Runs the services until a stop is asked for, or one fails.
    ///
    /// - Parameter stops: each element asks for a stop, and says why; only the first counts. A program
    ///   passes `Signals.stops()`.
    /// - Returns: the exit code: 0 when all did what they were asked to, else 1.
    package func run(until stops: AsyncStream<String>) async -> Int32 {
        var run = Run(
            states: services.map { State(service: $0) }, deadline: deadline, grace: grace, log: log)
        return await run.run(stops)
    }

    private struct State {
        let service: any Service
        var task: Task<Void, Never>?
        var isFinished = false
        var isAsked = false
    }

    private enum Event: Sendable {
        case stop(String)
        case started(Int, (any Error)?)
        case finished(Int, (any Error)?)
        case deadline
        case graceOver
    }

    /// One run of a group. All that happens arrives as an event, so there is one thing at a time.
    private struct Run {
        var states: [State]
        let deadline: Duration
        let grace: Duration
        let log: Logger
        let events = AsyncStream.makeStream(of: Event.self)
        var exitCode: Int32 = 0
        var isStopping = false
        /// The start under way.
        var start: Task<Void, Never>?
        /// Timers, the wait for a stop, and calls of `shutdown`; to be cancelled at the end.
        var helpers: [Task<Void, Never>] = []

        init(states: [State], deadline: Duration, grace: Duration, log: Logger) {
            self.states = states
            self.deadline = deadline
            self.grace = grace
            self.log = log
        }

        mutating func run(_ stops: AsyncStream<String>) async -> Int32 {
            let send = events.continuation
            helpers.append(
                Task {
                    for await reason in stops { send.yield(.stop(reason)) }
                })
            startService(0)
            for await event in events.stream {
                if handle(event) { break }
            }
            start?.cancel()
            for helper in helpers { helper.cancel() }
            return exitCode
        }

        /// Returns whether all is over.
        private mutating func handle(_ event: Event) -> Bool {
            switch event {
            case .stop(let reason):
                if !isStopping { log.info("stopping", ["reason": reason]) }
                stop()
            case .started(let index, let error): started(index, error)
            case .finished(let index, let error): finished(index, error)
            case .deadline:
                exitCode = 1
                for state in states where !state.isFinished && state.task != nil {
                    log.error(
                        "did not stop in time, cancelling it",
                        ["service": state.service.name, "deadline": deadline])
                    state.task?.cancel()
                }
                after(grace, .graceOver)
            case .graceOver:
                let names = states.filter { !$0.isFinished && $0.task != nil }.map(\.service.name)
                log.error("left behind", ["services": names.joined(separator: ",")])
                return true
            }
            return continueStopping()
        }

        private mutating func startService(_ index: Int) {
            guard index < states.count else { return }
            let service = states[index].service
            let send = events.continuation
            start = Task {
                do {
                    try await service.start()
                    send.yield(.started(index, nil))
                } catch { send.yield(.started(index, error)) }
            }
        }

        private mutating func started(_ index: Int, _ error: (any Error)?) {
            let service = states[index].service
            start = nil
            if let error {
                guard !isStopping else { return }
                log.error("cannot start", ["service": service.name, "reason": "\(error)"])
                exitCode = 1
                stop()
                return
            }
            // Also when a stop came during the start: it is then told to stop, like all others.
            let send = events.continuation
            states[index].task = Task {
                do {
                    try await service.run()
                    send.yield(.finished(index, nil))
                } catch { send.yield(.finished(index, error)) }
            }
            log.debug("started", ["service": service.name])
            if !isStopping { startService(index + 1) }
        }

        private mutating func finished(_ index: Int, _ error: (any Error)?) {
            states[index].isFinished = true
            let service = states[index].service
            if let error, !(isStopping && error is CancellationError) {
                log.error("failed", ["service": service.name, "reason": "\(error)"])
                exitCode = 1
                stop()
            } else if !states[index].isAsked && !service.mayFinish {
                log.error("ended by itself", ["service": service.name])
                exitCode = 1
                stop()
            } else {
                log.debug("stopped", ["service": service.name])
            }
        }

        private mutating func stop() {
            guard !isStopping else { return }
            isStopping = true
            start?.cancel()
            after(deadline, .deadline)
        }

        /// Asks the last service that still runs; returns whether none is left.
        private mutating func continueStopping() -> Bool {
            guard let index = states.lastIndex(where: { $0.task != nil && !$0.isFinished }) else {
                return isStopping ? start == nil : states.allSatisfy(\.isFinished)
            }
            guard isStopping, !states[index].isAsked else { return false }
            states[index].isAsked = true
            let service = states[index].service
            // Its end is awaited as an event; that `shutdown` itself returns is not.
            helpers.append(Task { await service.shutdown() })
            return false
        }

        private mutating func after(_ time: Duration, _ event: Event) {
            let send = events.continuation
            helpers.append(
                Task {
                    do { try await Task.sleep(for: time) } catch { return }
                    send.yield(event)
                })
        }
    }
}
