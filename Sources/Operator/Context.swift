import Bus
import Glibc
package import Protocol
package import Settings

/// What a verb works with: its command line, its environment, where it writes, and the way to NATS.
package struct Context: Sendable {
    package var invocation: Invocation
    package var environment: [String: String]
    /// Results.
    package var out: Output
    /// What went wrong, and how it goes on.
    package var err: Output

    package init(
        invocation: Invocation, environment: [String: String], out: Output, err: Output
    ) {
        self.invocation = invocation
        self.environment = environment
        self.out = out
        self.err = err
        if let url = invocation.value("nats") { self.environment["NATS_URL"] = url }
    }

    /// Whether programs are to read the output.
    package var isJSON: Bool { invocation.value("output") == "json" }

    /// How long an answer may take; 5 seconds unless `--timeout` says otherwise.
    package func timeout() throws(UsageError) -> Duration {
        try invocation.duration("timeout", default: .seconds(5))
    }

    /// Writes a result for programs.
    package func print(_ json: JSON) { out.line(Text.safeJSON(json.pretty)) }

    /// Writes a result on one line, for programs that read one after the other.
    package func printLine(_ json: JSON) { out.line(Text.safeJSON(json.text)) }

    /// Writes a remark that is not part of the result.
    package func note(_ text: String) { err.line("skos: " + Text.safe(text)) }

    /// This machine's name.
    static var hostName: String {
        // POSIX allows 255 bytes and a terminator; Linux has at most 64.
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        return buffer.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    // MARK: Configuration

    /// Why there is no file with the configuration.
    static let noFile = "there is no ./config.yaml and no /etc/skos/config.yaml"

    /// The file with the configuration, or `nil` when there is none: then the defaults hold.
    package var configFile: String? {
        if let file = invocation.value("config") { return file }
        if let file = environment["SKOS_CONFIG"], !file.isEmpty { return file }
        return ["config.yaml", "/etc/skos/config.yaml"].first { access($0, F_OK) == 0 }
    }

    /// The configuration, for what must not run with half of one.
    ///
    /// - Throws: `ConfigError` with everything that is wrong.
    package func strictConfig() throws(ConfigError) -> LoadedConfig {
        let loaded = try ConfigLoader.load(file: configFile, environment: environment)
        for warning in loaded.warnings { note("warning: \(warning)") }
        return loaded
    }

    /// The configuration, for verbs that only need to find NATS: what is wrong with it is remarked, and
    /// the rest of it used.
    ///
    /// - Throws: `ConfigError` when the file cannot be read at all, or an address of NATS is wrong.
    package func config() throws(ConfigError) -> Config {
        let (loaded, error) = try ConfigLoader.salvage(
            file: missingFile == nil ? configFile : nil, environment: environment)
        if let missingFile {
            note(
                "SKOS_CONFIG names \(missingFile), which is not there; going on with the address of "
                    + "NATS that was given")
        }
        guard let error else { return loaded.config }
        let aboutNATS = error.issues.filter { $0.path.hasPrefix("nats") }
        guard aboutNATS.isEmpty else { throw ConfigError(issues: aboutNATS) }
        let more = error.issues.count - 1
        note(
            "\(error.issues[0])" + (more > 0 ? " (and \(more) more)" : "")
                + "; going on with the rest of the configuration")
        return loaded.config
    }

    /// The file of `SKOS_CONFIG` when it is not there and nothing is needed from it, as the address of NATS
    /// was given. Without an address the default would be a guess at which fleet is meant; and who names a
    /// file with `--config` means that file.
    private var missingFile: String? {
        guard invocation.value("config") == nil, let file = environment["SKOS_CONFIG"],
            !file.isEmpty, environment["NATS_URL"]?.isEmpty == false, access(file, F_OK) != 0,
            errno == ENOENT
        else { return nil }
        return file
    }

    // MARK: NATS

    /// Connects to NATS, once.
    ///
    /// - Throws: `Failure` with `unreachable`, and what `config` throws.
    package func connect() async throws -> Link { try await connect(try config()) }

    /// Connects to the NATS of a configuration.
    ///
    /// - Throws: `Failure` with `unreachable`.
    package func connect(_ config: Config) async throws -> Link {
        let timeout = try timeout()
        var options = Connection.Options(
            urls: config.nats.urls, name: "skos-\(invocation.verb.path[0])")
        options.credentialsFile = config.nats.credentialsFile
        options.connectTimeout = timeout
        let tried = config.nats.urls.map(withoutSecrets).joined(separator: ", ")
        do {
            let connection = try await Connection.connect(options)
            return Link(connection: connection, timeout: timeout, tried: tried)
        } catch {
            throw Failure(.unreachable, Self.text(error, tried: tried))
        }
    }

    private static func text(_ error: BusError, tried: String) -> String {
        switch error.code {
        case .refused, .timeout, .notConnected, .notNATS:
            "\(error.message) (tried \(tried)); `skos up` starts one, --nats URL or NATS_URL "
                + "names another"
        default: "\(error.description) (tried \(tried))"
        }
    }
}
