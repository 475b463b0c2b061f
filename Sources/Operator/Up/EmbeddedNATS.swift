import Bus
import Glibc
import Platform
package import Runtime
import Synchronization

/// A nats-server of our own, with JetStream: started first, ended last, started again when it dies, and
/// killed by the kernel when we die.
package final class EmbeddedNATS: Service {
    package struct Settings: Sendable {
        /// The path of the nats-server to run.
        package var program: String
        package var address: NATSAddress
        /// Where it keeps its streams.
        package var directory: String
        /// Where it shows its monitoring pages, on 127.0.0.1; `nil`: nowhere.
        package var monitoringPort: UInt16?
        /// Its name in the cluster, and in what clients show.
        package var name: String
    }

    /// How long it may take until it answers. It replays its streams first.
    package static let startLimit: Duration = .seconds(30)
    /// How long a port may stay taken by a server that has just been killed.
    private static let portLimit: Duration = .milliseconds(500)
    /// How long it may take to end before it is killed.
    package static let stopLimit: Duration = .seconds(3)
    /// Lines of its log that an error shows.
    private static let shownLines = 5

    private struct State {
        var companion: Companion?
        var isStopping = false
        var lines: [String] = []
    }

    package let name = "nats-server"
    private let settings: Settings
    private let log: Logger
    private let state = Mutex(State())
    private let wakeup = Wakeup()

    package init(_ settings: Settings, log: Logger = Logger("nats-server")) {
        self.settings = settings
        self.log = log
    }

    // MARK: Service

    package func start() async throws {
        try await waitForPort()
        try await launch()
        log.info(
            "NATS runs",
            [
                "url": "nats://\(settings.address.text)", "store": settings.directory,
                "monitoring": settings.monitoringPort.map { "http://127.0.0.1:\($0)" } ?? "off",
                "program": settings.program,
            ])
    }

    package func run() async throws {
        var backoff = Backoff(
            base: .milliseconds(250), limit: .seconds(10), seed: UInt64(getpid()))
        while !isStopping {
            if let companion = state.withLock({ $0.companion }), companion.ending == nil {
                _ = await wakeup.wait()
                if Task.isCancelled { return companion.signal(SIGKILL) }
                continue
            }
            log.error(
                "NATS has ended, starting it again",
                ["reason": state.withLock { $0.companion?.ending?.description } ?? "not started"])
            _ = await wakeup.wait(atMost: backoff.next())
            guard !isStopping else { break }
            do {
                try await launch()
                log.info("NATS runs again")
                backoff.reset()
            } catch { log.error("NATS does not start", ["reason": "\(error)"]) }
        }
        await end()
    }

    package func shutdown() async {
        state.withLock { $0.isStopping = true }
        wakeup.ring()
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Asks it to end, and insists.
    private func end() async {
        guard let companion = state.withLock({ $0.companion }) else { return }
        companion.signal(SIGTERM)
        let deadline = SteadyClock.sinceBoot() + Self.stopLimit
        while companion.ending == nil, SteadyClock.sinceBoot() < deadline, !Task.isCancelled {
            _ = await wakeup.wait(atMost: .milliseconds(100))
        }
        guard companion.ending == nil else { return }
        log.warning("NATS does not end, killing it", ["limit": Self.stopLimit])
        companion.signal(SIGKILL)
    }

    // MARK: Starting

    /// - Throws: `Failure` when somebody else has the port.
    private func waitForPort() async throws {
        let address = settings.address
        let deadline = SteadyClock.sinceBoot() + Self.portLimit
        var isNATS = false
        while true {
            let holder = NATSPort.holder(host: address.host, port: address.port)
            if holder == .nobody { return }
            // On a busy machine one of its greetings may come too late.
            if case .nats = holder { isNATS = true }
            guard SteadyClock.sinceBoot() >= deadline else {
                try await Task.sleep(for: .milliseconds(50))
                continue
            }
            if isNATS {
                throw Failure(
                    .failed,
                    "another NATS listens on \(address.text) already; use it with --external-nats, "
                        + "or name another port in nats.urls or NATS_URL")
            }
            throw Failure(
                .failed,
                "port \(address.port) of \(address.host) is taken by something that is not NATS; "
                    + "name another one in nats.urls or NATS_URL")
        }
    }

    /// Starts the program and waits until it takes clients.
    private func launch() async throws {
        let file = "\(settings.directory)/nats.conf"
        try write(configuration, to: file)
        state.withLock { $0.lines = [] }
        let companion: Companion
        do {
            companion = try await Companion.start(
                settings.program, ["-c", file],
                environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"],
                line: { [self] in take(line: $0) }, ended: { [wakeup] _ in wakeup.ring() })
        } catch { throw Failure(.failed, error.description) }
        state.withLock { $0.companion = companion }
        do { try await waitUntilReady(companion) } catch {
            companion.signal(SIGKILL)
            // Whoever starts again at once finds port and store free. A cancelled task would not sleep.
            await Task {
                let deadline = SteadyClock.sinceBoot() + Self.stopLimit
                while companion.ending == nil, SteadyClock.sinceBoot() < deadline {
                    try? await Task.sleep(for: .milliseconds(2))
                }
            }.value
            throw error
        }
    }

    private func waitUntilReady(_ companion: Companion) async throws {
        var options = Connection.Options(urls: [url], name: "skos-up")
        options.connectTimeout = .seconds(1)
        let deadline = SteadyClock.sinceBoot() + Self.startLimit
        while companion.ending == nil, SteadyClock.sinceBoot() < deadline {
            // An answer at the port could be anybody's; ours says so once the client is let in.
            if let connection = try? await Connection.connect(options) {
                return connection.close()
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        let reason =
            companion.ending?.description
            ?? "it does not answer within \(Text.short(Self.startLimit))"
        let last = state.withLock { $0.lines }.map { "; \($0)" }.joined()
        throw Failure(.failed, "\(settings.program) does not start: \(reason)\(last)")
    }

    private var url: String {
        let user = settings.address.user.map { user in
            user + (settings.address.password.map { ":\($0)" } ?? "") + "@"
        }
        return "nats://\(user ?? "")\(settings.address.text)"
    }

    private var configuration: String {
        var text = """
            # Written by `skos up` at each start; changes are lost.
            server_name: \(Self.quoted(settings.name))
            listen: \(Self.quoted(settings.address.text))
            logtime: false
            jetstream { store_dir: \(Self.quoted(settings.directory)) }

            """
        if let port = settings.monitoringPort { text += "http: \"127.0.0.1:\(port)\"\n" }
        if let user = settings.address.user, let password = settings.address.password {
            text += Self.authorization(user, password)
        } else if let token = settings.address.user {
            // NATS has no permissions for whoever shows a token.
            text += "authorization { token: \(Self.quoted(token)) }\n"
        } else {
            // Not a secret: whoever gives no name is this user.
            text += "no_auth_user: anyone\n" + Self.authorization("anyone", "anyone")
        }
        return text
    }

    /// Requests that would shrink, replace or remove the audit as a whole, against which the flags of its
    /// stream do not protect it. docker/nats.conf denies the same.
    private static let deniedSubjects = [
        "STREAM.UPDATE.SKOS_AUDIT", "STREAM.DELETE.SKOS_AUDIT", "STREAM.PURGE.SKOS_AUDIT",
        "STREAM.RESTORE.SKOS_AUDIT", "STREAM.MSG.DELETE.SKOS_AUDIT", "ACCOUNT.PURGE.>",
        "SERVER.REMOVE",
    ].map { "$JS.API.\($0)" }

    private static func authorization(_ user: String, _ password: String) -> String {
        let denied = deniedSubjects.map(quoted).joined(separator: ", ")
        return """
            authorization { users: [ { user: \(quoted(user)), password: \(quoted(password)), \
            permissions: { publish: { deny: [ \(denied) ] } } } ] }

            """
    }

    /// A string of NATS' configuration language.
    private static func quoted(_ text: String) -> String {
        "\""
            + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }

    /// - Throws: `Failure` when the file cannot be written.
    private func write(_ text: String, to path: String) throws(Failure) {
        // It may hold a password.
        let descriptor = open(
            path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw Failure(.failed, "\(path) cannot be written: \(errorText(errno))")
        }
        defer { close(descriptor) }
        let output = Output(descriptor: descriptor)
        output.write(text)
        try output.flush()
    }

    // MARK: Its log

    /// Whether NATS warns of what is no secret: the password of whoever gives none. (It must be in plain
    /// text, for NATS compares it with itself.)
    private static func isMoot(_ message: String, _ address: NATSAddress) -> Bool {
        address.user == nil && message.hasPrefix("Plaintext passwords detected")
    }

    /// Passes on a line of its log, such as `[1234] [INF] Server is ready`.
    private func take(line: String) {
        let text = line.drop { $0 == "[" || $0.isNumber }.drop { $0 == "]" || $0 == " " }
        let levels: [(String, Logger.Level)] = [
            ("[INF] ", .debug), ("[DBG] ", .debug), ("[TRC] ", .debug), ("[WRN] ", .warning),
            ("[ERR] ", .error), ("[FTL] ", .error),
        ]
        let known = levels.first { text.hasPrefix($0.0) }
        let message = known.map { String(text.dropFirst($0.0.count)) } ?? line
        let level = Self.isMoot(message, settings.address) ? .debug : known?.1 ?? .error
        switch level {
        case .debug: log.debug(message)
        case .info: log.info(message)
        case .warning: log.warning(message)
        case .error: log.error(message)
        }
        guard level != .debug else { return }
        state.withLock { state in
            state.lines.append(message)
            if state.lines.count > Self.shownLines { state.lines.removeFirst() }
        }
    }
}
