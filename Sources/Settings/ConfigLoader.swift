import Glibc
import Protocol

/// A configuration that was read and found valid.
package struct LoadedConfig: Sendable, Equatable {
    package var config: Config
    /// The file it comes from, as it was named; `nil`: there is none, the defaults hold.
    package var file: String?
    /// A hash (FNV-1a, 64 bits) of the file's bytes, for records; not made against forgery. 16
    /// hexadecimal digits.
    package var fingerprint: String
    /// What is allowed but hardly meant.
    package var warnings: [ConfigError.Issue]

    package init(
        config: Config, file: String? = nil, fingerprint: String = LoadedConfig.fingerprint(of: []),
        warnings: [ConfigError.Issue] = []
    ) {
        self.config = config
        self.file = file
        self.fingerprint = fingerprint
        self.warnings = warnings
    }

    /// FNV-1a over the bytes, with the constants of its authors.
    package static func fingerprint(of bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Reads configurations. Environment variables win over the file, the file over the defaults.
package enum ConfigLoader {
    /// Reads a file.
    ///
    /// - Parameters:
    ///   - file: `nil`: no file; the defaults and the environment hold.
    ///   - environment: the process's environment; an empty variable counts as not set.
    /// - Returns: the valid configuration, with what is odd about it as warnings.
    /// - Throws: everything that is wrong, at once.
    package static func load(
        file: String?, environment: [String: String]
    ) throws(ConfigError) -> LoadedConfig {
        guard let file else { return try load(nil, name: "defaults", environment) }
        return try load(try contents(of: file), name: file, environment)
    }

    /// Reads standard input to its end as if it were a file.
    ///
    /// - Throws: everything that is wrong, at once.
    package static func loadInput(environment: [String: String]) throws(ConfigError) -> LoadedConfig
    {
        let name = "standard input"
        return try load(try contents(of: STDIN_FILENO, name), name: name, environment)
    }

    /// Reads a text as if it stood in a file of this name.
    package static func parse(
        text: [UInt8], name: String, environment: [String: String]
    ) throws(ConfigError) -> LoadedConfig {
        try load(text, name: name, environment)
    }

    /// Reads as much of a file as can be used, for programs that only have to find NATS: they must work
    /// while an edit is half done, and above all say so.
    ///
    /// - Returns: the settings that are right, with defaults in the place of the others, and what is
    ///   wrong.
    /// - Throws: only when the file cannot be read at all.
    package static func salvage(
        file: String?, environment: [String: String]
    ) throws(ConfigError) -> (loaded: LoadedConfig, error: ConfigError?) {
        guard let file else { return evaluate(nil, name: "defaults", environment) }
        return evaluate(try contents(of: file), name: file, environment)
    }

    private static func load(
        _ text: [UInt8]?, name: String, _ environment: [String: String]
    ) throws(ConfigError) -> LoadedConfig {
        let (loaded, error) = evaluate(text, name: name, environment)
        if let error { throw error }
        return loaded
    }

    private static func evaluate(
        _ text: [UInt8]?, name: String, _ environment: [String: String]
    ) -> (loaded: LoadedConfig, error: ConfigError?) {
        var issues = IssueList(file: name)
        let root = text.flatMap { YAMLReader.read($0, issues: &issues) }
        // Without a tree there is nothing to check; a missing section is not the mistake then.
        let unreadable = text != nil && root == nil ? issues.error : nil
        var decoder = StrictDecoder(environment: environment, issues: issues)
        let values = decoder.decodeRoot(root)
        var compiler = Compiler(issues: decoder.issues)
        let config = compiler.compile(values, hostName: hostName())
        let loaded = LoadedConfig(
            config: config, file: text == nil ? nil : name,
            fingerprint: LoadedConfig.fingerprint(of: text ?? []),
            warnings: compiler.issues.sortedWarnings)
        let error = compiler.issues.isEmpty ? nil : compiler.issues.error
        return (loaded, unreadable ?? error)
    }

    /// The bytes of a regular file, up to a little more than is allowed.
    private static func contents(of file: String) throws(ConfigError) -> [UInt8] {
        func failure(_ message: String) -> ConfigError {
            ConfigError(issues: [.init(file: file, message: message)])
        }
        // Without O_NONBLOCK, opening a FIFO would wait for somebody to write.
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let code = errno
            throw failure(
                code == ENOENT
                    ? "does not exist" : "cannot be opened: \(String(cString: strerror(code)))")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw failure("cannot be read: \(String(cString: strerror(errno)))")
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: throw failure("is a directory, not a file")
        default: throw failure("is not a regular file")
        }
        return try contents(of: descriptor, file)
    }

    /// What an open file of a name holds, up to a little more than is allowed.
    private static func contents(
        of descriptor: CInt, _ name: String
    ) throws(ConfigError) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while bytes.count <= YAMLReader.sizeLimit {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                let reason = String(cString: strerror(errno))
                throw ConfigError(issues: [.init(file: name, message: "cannot be read: \(reason)")])
            }
            if count == 0 { break }
            bytes.append(contentsOf: buffer[..<count])
        }
        return bytes
    }

    private static func hostName() -> String {
        // POSIX allows 255 bytes and a terminator; Linux has at most 64.
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
        return buffer.withUnsafeBufferPointer { name in
            name.baseAddress.map { String(cString: $0) } ?? ""
        }
    }
}
