import Glibc
import Runtime
package import Settings

/// Where a node keeps what must survive a restart.
package enum StateDirectory {
    /// The directory to use, made when it is not there.
    ///
    /// The default belongs to root; when nobody asked for it by name, someone else gets one at home.
    /// - `isFallback`: whether it is not the one of the configuration.
    /// - Throws: `Failure` when there is none that can be written.
    package static func prepare(
        _ config: Config, environment: [String: String]
    ) throws(Failure) -> (path: String, isFallback: Bool) {
        let wanted = config.stateDirectory
        let obstacle = obstacle(wanted)
        guard let obstacle else { return (wanted, false) }
        let hint = "set SKOS_STATE_DIR or state_dir to a directory that can be written"
        guard let home = fallback(config, environment: environment) else {
            throw Failure(.failed, "the state directory \(wanted): \(obstacle); \(hint)")
        }
        if let other = Self.obstacle(home) {
            throw Failure(
                .failed,
                "the state directory \(wanted): \(obstacle); and \(home): \(other); \(hint)")
        }
        return (home, true)
    }

    /// The directory at home that `prepare` goes to; `nil` when the configured one was asked for.
    static func fallback(_ config: Config, environment: [String: String]) -> String? {
        let isDefault = config.stateDirectory == Config().stateDirectory
        let isAsked = !(environment["SKOS_STATE_DIR"] ?? "").isEmpty
        return isDefault && !isAsked ? homeDirectory(environment) : nil
    }

    /// Says why the directory could not be used, and changes nothing.
    static func forecast(_ path: String) -> String? {
        var existing = path
        while access(existing, F_OK) != 0, existing.count > 1 {
            guard errno == ENOENT else { return "it cannot be reached: \(errorText(errno))" }
            let parent = existing.lastIndex(of: "/").map { String(existing[..<$0]) } ?? ""
            existing = parent.isEmpty ? "/" : parent
        }
        var status = stat()
        guard stat(existing, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            return "\(existing) is not a directory"
        }
        guard access(existing, W_OK | X_OK) == 0 else {
            let what =
                existing == path ? "it cannot be written" : "it cannot be made in \(existing)"
            return "\(what): \(errorText(errno))"
        }
        return nil
    }

    /// `$XDG_STATE_HOME/skos`, else `~/.local/state/skos`.
    private static func homeDirectory(_ environment: [String: String]) -> String? {
        if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") {
            return state + "/skos"
        }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        return (home == "/" ? "" : home) + "/.local/state/skos"
    }

    /// Makes the directory when it is not there; says why it cannot be used.
    package static func obstacle(_ path: String) -> String? {
        var made = ""
        for part in path.split(separator: "/") {
            made += "/" + part
            // The last one is private: it says what was done to this node, and undoing trusts it.
            let mode: mode_t = made == path ? 0o700 : 0o755
            guard mkdir(made, mode) != 0, errno != EEXIST else { continue }
            let code = errno
            // Above it there may be directories that we cannot even look into.
            if access(made, F_OK) != 0 { return "\(made) cannot be made: \(errorText(code))" }
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            return "it is not a directory"
        }
        // access(2) does not see quotas and read-only file systems of every kind; a file does.
        let probe = "\(path)/.probe-\(getpid())"
        let descriptor = open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return "it cannot be written: \(errorText(errno))" }
        close(descriptor)
        unlink(probe)
        return nil
    }
}
