/// What became of a saved edit of the configuration; `ConfigWatcher` reports them.
package enum ConfigChange: Sendable, Equatable {
    /// The file is in force, again or anew.
    case applied(LoadedConfig)
    /// The file has mistakes (or is gone); what was in force stays so.
    case refused(ConfigError)
}
