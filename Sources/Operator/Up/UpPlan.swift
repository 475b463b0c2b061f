import Glibc
package import Runtime
package import Settings

/// What `skos up` is going to run on this node.
package struct UpPlan: Sendable {
    /// The configuration, with the state directory that can be used.
    package var config: Config
    /// The NATS server to start; `nil`: one that runs already is used.
    package var nats: EmbeddedNATS.Settings?
    /// Keeps a second `skos up` from using the same files.
    package var lock: FileLock

    /// Where NATS shows its monitoring pages unless somebody says otherwise.
    package static let monitoringPort: UInt16 = 8222

    /// Finds out what to run.
    ///
    /// - Throws: `UsageError` and `Failure` saying what is missing; `FileLockFailure`.
    package init(_ context: Context, _ loaded: Config, log: Logger) throws {
        config = loaded
        let (directory, isFallback) = try StateDirectory.prepare(
            loaded, environment: context.environment)
        if isFallback {
            log.warning(
                "\(loaded.stateDirectory) cannot be written, using a directory at home",
                ["state": directory, "hint": "SKOS_STATE_DIR names another"])
        }
        config.stateDirectory = directory
        lock = try FileLock(path: "\(directory)/up.lock")
        guard !context.invocation.has("external-nats") else { return }
        nats = try Self.server(context, config, log)
    }

    private static func server(
        _ context: Context, _ config: Config, _ log: Logger
    ) throws -> EmbeddedNATS.Settings {
        guard config.nats.urls.count == 1, let url = config.nats.urls.first else {
            throw Failure(
                .usage,
                "nats.urls names \(config.nats.urls.count) servers and `skos up` starts one; use "
                    + "--external-nats to join those, or name one")
        }
        if let file = config.nats.credentialsFile {
            throw Failure(
                .usage,
                "the NATS server of `skos up` does not know the credentials of \(file); use "
                    + "--external-nats, or take nats.credentials out")
        }
        let address = try NATSAddress(url)
        let program = try findServer(context)
        let directory = config.stateDirectory + "/nats"
        if let obstacle = StateDirectory.obstacle(directory) {
            throw Failure(.failed, "\(directory), for NATS' streams: \(obstacle)")
        }
        return EmbeddedNATS.Settings(
            program: program, address: address, directory: directory,
            monitoringPort: try monitoringPort(context, log), name: "skos-\(config.nodeName)")
    }

    /// The nats-server to run.
    ///
    /// - Throws: `Failure` when there is none.
    package static func findServer(_ context: Context) throws(Failure) -> String {
        let chosen =
            context.invocation.value("nats-server") ?? context.environment["SKOS_NATS_SERVER"] ?? ""
        if !chosen.isEmpty {
            guard isProgram(chosen), let path = realpath(chosen, nil) else {
                throw Failure(.usage, "\(Text.quoted(chosen)) is not a program that can be run")
            }
            defer { free(path) }
            return String(cString: path)
        }
        let path = context.environment["PATH"] ?? ""
        let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin"]
        let found = directories.map { $0 + "/nats-server" }.first {
            $0.hasPrefix("/") && isProgram($0)
        }
        guard let found else {
            throw Failure(
                .failed,
                "there is no nats-server on PATH or in /usr/sbin; install it (`apt install "
                    + "nats-server`), name it with --nats-server or SKOS_NATS_SERVER, or use "
                    + "--external-nats")
        }
        return found
    }

    private static func isProgram(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            && access(path, X_OK) == 0
    }

    private static func monitoringPort(_ context: Context, _ log: Logger) throws -> UInt16? {
        let asked =
            context.invocation.value("monitoring-port")
            ?? context.environment["SKOS_MONITORING_PORT"] ?? ""
        guard asked.isEmpty else {
            guard let port = UInt16(asked) else {
                throw UsageError(
                    "the monitoring port \(Text.quoted(asked)) is not a number from 0 to 65535",
                    verb: context.invocation.verb.path)
            }
            return port == 0 ? nil : port
        }
        // Nobody asked for it, so it must not keep NATS from starting.
        guard NATSPort.holder(host: "127.0.0.1", port: monitoringPort) == .nobody else {
            log.warning(
                "port \(monitoringPort) is taken, so NATS shows no monitoring pages",
                ["hint": "--monitoring-port names another"])
            return nil
        }
        return monitoringPort
    }
}
