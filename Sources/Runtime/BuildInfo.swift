/// What this program is.
package enum BuildInfo {
    /// The release, as Semantic Versioning 2.0 has it; `skos version` and every heartbeat show it.
    package static let version = "0.1.0"
}
