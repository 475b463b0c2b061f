import Protocol

/// `local:`.
extension Schema {
    static let local = Key(
        "local",
        .section(
            Section(
                keys: [
                    allowed,
                    Key(
                        "dry_run", .flag, default: .bool(config.local.dryRun),
                        "Let this node's agents only report what they would do."),
                    Key(
                        "cleanup_temp", .section(Section(keys: cleanup(config.local.cleanupTemp))),
                        "What cleanup_temp may delete."),
                    Key(
                        "cleanup_logs",
                        .section(Section(keys: cleanup(config.local.cleanupLogs) + [journal])),
                        "What cleanup_logs may delete."),
                    archive, alertHuman, meshRights, nonEssential,
                ])),
        "What may be executed here; only ever taken from this node's own file.")

    private static let allowed = Key(
        "actions",
        .section(
            Section(
                keys: [
                    Key(
                        "allow", texts(.action, example: "[throttle_50]"),
                        otherwise: "all that its agents know",
                        "The actions this node executes, and no others."),
                    Key(
                        "deny", texts(.action, example: "[throttle_50]"), otherwise: "none",
                        "Actions this node never executes; stronger than allow."),
                ])),
        "What this node executes.")

    // MARK: Files

    private static func cleanup(_ defaults: Config.Cleanup) -> [Key] {
        [
            Key(
                "roots", texts(.root, example: "[/var/tmp]", mayBeEmpty: true),
                default: .texts(defaults.roots),
                "Directories; nothing outside them is ever touched, and with none nothing at all."),
            patterns(defaults.patterns),
            minAge(defaults.minAge),
        ]
    }

    private static func patterns(_ defaults: [String]) -> Key {
        Key(
            "patterns", texts(.filePattern, example: #"["*.gz"]"#), default: .texts(defaults),
            "Names of files, without their directories, as shell patterns.")
    }

    private static func minAge(_ fallback: Duration) -> Key {
        Key(
            "min_age", .duration(ages), default: .duration(fallback),
            "Least time since a file was last changed.")
    }

    private static let journal = Key(
        "journal_max", .size(0...(16 << 40)), default: .size(config.local.journalMax),
        "To what size systemd's journal is cut; 0 to leave it alone, and at least 1M.")

    /// Less than this for `journal_max` is a forgotten unit.
    static let leastJournal: Int64 = 1 << 20

    private static let archive = Key(
        "archive_old_data",
        .section(
            Section(
                keys: [
                    Key(
                        "roots", texts(.root, example: "[/srv/data]", mayBeEmpty: true),
                        default: .texts(config.local.archive.roots),
                        "Directories whose files may be archived; with none the action is not "
                            + "offered."),
                    patterns(config.local.archive.patterns),
                    minAge(config.local.archive.minAge),
                    Key(
                        "to", .text(.archiveFolder), otherwise: "none: the action is not offered",
                        alsoTried: ["destination", "target"],
                        "A directory on another file system."),
                ])), alsoTried: ["archive"],
        "What archive_old_data may move into archives, and where to.")

    // MARK: Humans

    private static let alertHuman = Key(
        "alert_human",
        .section(
            Section(
                keys: [
                    Key(
                        "url", .text(.webhook), otherwise: "none: only the event on NATS",
                        alsoTried: ["webhook"], "The webhook that is called."),
                    Key(
                        "format",
                        .choice(Choice(values: Config.WebhookFormat.allCases.map(\.rawValue))),
                        default: .string(config.local.alertHuman.format.rawValue),
                        "What it understands."),
                ])),
        "Whom alert_human tells.")

    // MARK: Mesh

    private static let meshRights = Key(
        "mesh",
        .section(
            Section(
                keys: [
                    Key(
                        "restart", texts(.interfacePattern, example: #"["wg*"]"#, mayBeEmpty: true),
                        default: .texts(config.local.mesh.restart),
                        "Interfaces that may be restarted or configured anew."),
                    Key(
                        "routes",
                        .list(
                            .section(Section(keys: routeKeys)), most: listLimit,
                            example: "[{prefix: 10.88.0.0/24, interface: wg0, device: eth1}]",
                            mayBeEmpty: true),
                        default: [], "Routes that failover_route may replace."),
                ])),
        "What the mesh healer may touch.")

    private static let routeKeys: [Key] = [
        Key(
            "prefix", .text(.prefix), isRequired: true, alsoTried: ["destination"],
            "The route's destination, such as 10.88.0.0/24."),
        Key(
            "peer", .text(.publicKey), otherwise: "any peer of interface",
            "The public key of the peer whose loss it stands in for."),
        Key(
            "interface", .text(.interface("an interface's name")), otherwise: "any with that peer",
            "The interface whose peer it stands in for."),
        Key(
            "via", .text(.ipAddress), otherwise: "directly on device", alsoTried: ["gateway"],
            "The next hop of the other way."),
        Key(
            "device", .text(.interface("a device's name")), isRequired: true, alsoTried: ["dev"],
            "The device of the other way."),
        Key(
            "metric", .integer(0...4_294_967_295), default: 0,
            "The metric of the route that is replaced, exactly."),
        Key(
            "table", .integer(1...4_294_967_295), default: 254,
            "The table of the route that is replaced; 254 is the main one."),
    ]

    // MARK: What a node can do without

    private static let nonEssential = Key(
        "shutdown_non_essential",
        .list(
            .section(Section(keys: nonEssentialKeys)), most: listLimit,
            example: "[{unit: renderer.service}, {container: indexer}]", mayBeEmpty: true),
        otherwise: "nothing: the action is not offered",
        "What shutdown_non_essential stops, in this order, and starts again.")

    private static let nonEssentialKeys: [Key] = [
        Key(
            "unit", .text(.unit), otherwise: "none", alsoTried: ["service"],
            "A systemd unit; an entry has this, or container, or name with stop and start."),
        Key("container", .text(.container), otherwise: "none", "A container, by its name."),
        Key(
            "name", .text(.name("a name")), otherwise: "none",
            "What is stopped and started by programs, for records."),
        Key(
            "stop", program("stop"), otherwise: "none",
            "The program that stops it, with an absolute path, and its arguments; no shell is used."
        ),
        Key("start", program("start"), otherwise: "none", "The program that starts it again."),
        Key(
            "check", program("status"), otherwise: "none: it counts as running",
            "The program that ends with 0 while it runs."),
    ]

    private static func program(_ argument: String) -> Kind {
        .list(.text(.argument), most: 64, example: "[/usr/local/bin/indexer, \(argument)]")
    }
}
