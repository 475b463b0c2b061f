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
