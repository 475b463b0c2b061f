/// A part of the program that runs until it is asked to stop.
package protocol Service: Sendable {
    /// For log lines.
    var name: String { get }
    /// Whether `run` may return by itself; for all others that is a failure of the program.
    var mayFinish: Bool { get }
    /// Gets ready; the next service is started only after this. Throws when that is not possible.
    func start() async throws
    /// Does the work, until `shutdown` or the task's cancellation ends it.
    func run() async throws
    /// Asks `run` to return soon: stop taking on work, finish what is under way, let go. Returns at
    /// once or when that is done; may be called once only, and also before `run`.
    func shutdown() async
}

extension Service {
    package var mayFinish: Bool { false }

    package func start() async throws {}
}

/// A service without which the others are still worth running: its failure is told, and ends nobody else.
package struct ExpendableService: Service {
    package var name: String { service.name }
    package let mayFinish = true
    private let service: any Service
    private let consequence: String
    private let log: Logger

    /// - `consequence`: what its end means and what to do, for the log.
    package init(
        _ service: any Service, consequence: String, log: Logger = Logger("services")
    ) {
        self.service = service
        self.consequence = consequence
        self.log = log
    }

    package func start() async throws { try await service.start() }

    package func run() async throws {
        do { try await service.run() } catch {
            // So that whoever asked for the end is told as before.
            try Task.checkCancellation()
            log.error(
                "failed",
                ["service": name, "reason": "\(error)", "consequence": consequence])
        }
    }

    package func shutdown() async { await service.shutdown() }
}
