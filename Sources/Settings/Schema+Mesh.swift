import Protocol

/// `mesh:`.
extension Schema {
    static let mesh = Key(
        "mesh",
        .section(
            Section(
                keys: [
                    Key(
                        "interfaces", texts(.interfacePattern, example: #"["wg*"]"#),
                        default: .texts(config.mesh.interfaces),
                        "The WireGuard interfaces that are watched."),
                    Key(
                        "probe_interval", .duration(.milliseconds(100) ... .seconds(3600)),
                        default: .duration(config.mesh.probeInterval),
                        "Time between two echoes through a tunnel."),
                    actions(
                        for: meshTypes, meshActions,
                        "What to do about each type of alert, at every severity; a type that is left "
                            + "out gets no actions."),
                ] + knobs(of: meshPolicy, docs: meshDocs))), alsoTried: ["wireguard", "tunnels"],
        "Tunnels between nodes (WireGuard).")

    /// The types of the mesh healer's alerts.
    static let meshTypes = [
        "tunnel_down", "peer_unreachable", "peer_one_way", "peer_filtered", "endpoint_moved",
        "config_drift",
    ]

    /// The actions of the mesh healer where nothing else is said.
    static let meshActions: JSON.Object = [
        "tunnel_down": ["restart_wireguard", "regenerate_config"],
        "peer_unreachable": ["ping_peer", "failover_route"],
    ]

    /// The end of an incident moves a route back, so it must not come with the first echo of a peer that
    /// comes and goes.
    private static let meshPolicy = Policy(
        type: "mesh", severity: .ok, ladder: [], stayClear: .seconds(60))
    private static let meshDocs = [
        "stay_clear": "How long the symptom must stay away before the incident is resolved; longer "
            + "than elsewhere, so that a route does not move to and fro with a peer that comes and goes."
    ]
}
