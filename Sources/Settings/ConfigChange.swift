/// What became of a saved edit of the configuration; `ConfigWatcher` reports them.
package enum ConfigChange: Sendable, Equatable {
    /// It is valid and in force from now on.
    case applied(LoadedConfig)
    /// It is not valid: the configuration before stays in force.
    case refused(ConfigError)
}
