import Runtime
package import Settings

/// Follows edits of the configuration while services run.
package final class ConfigService: Service {
    package let name = "config"
    private let watcher: ConfigWatcher
    private let changes: AsyncStream<ConfigWatcher.Change>
    private let isAlone: Bool
    private let apply: @Sendable (Config) -> Void
    private let log = Logger("config")

    /// - Parameters:
    ///   - watcher: started and stopped with this service.
    ///   - isAlone: whether nobody else in this process says what became of an edit.
    ///   - apply: is given each configuration that comes into force.
    package init(
        _ watcher: ConfigWatcher, isAlone: Bool, apply: @escaping @Sendable (Config) -> Void
    ) {
        self.watcher = watcher
        self.isAlone = isAlone
        self.apply = apply
        changes = watcher.changes()
    }

    package func start() async throws { watcher.start() }

    package func run() async throws {
        for await change in changes {
            switch change {
            case .applied(let loaded):
                Self.applyLog(loaded.config)
                apply(loaded.config)
                for warning in loaded.warnings { log.warning(warning.description) }
                if isAlone { log.info("configuration applied", ["config": loaded.fingerprint]) }
            case .refused(let error):
                for issue in error.issues { log.error("edit refused", ["reason": issue]) }
            }
        }
    }

    package func shutdown() async { watcher.stop() }

    /// Makes the log of this process as the configuration wants it.
    package static func applyLog(_ config: Config) {
        LogSink.standardError.level =
            switch config.log.level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        LogSink.standardError.format = config.log.format == .json ? .json : .text
    }
}
