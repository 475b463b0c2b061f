import Protocol

/// `storage:`.
extension Schema {
    static let storage = Key(
        "storage",
        .section(
            Section(
                keys: [
                    Key(
                        "thresholds", thresholds(percent, config.storage.thresholds),
                        "An alert of a severity is raised at or above its threshold."),
                    Key(
                        "clear", clears(percent, otherwise: percentClear),
                        "A severity is left only below its clear threshold."),
                    Key(
                        "inode_thresholds", thresholds(percent, nil, otherwise: "as for space"),
                        alsoTried: ["inodes"], "The same for inodes."),
                    Key(
                        "inode_clear",
                        clears(percent, otherwise: "as for space, or 5 below its own threshold"),
                        "The same for inodes."),
                    Key(
                        "for", .duration(span), default: .duration(config.storage.holdFor),
                        "How long a threshold must be exceeded before an alert is raised."),
                    mounts,
                    Key(
                        "forecast", .duration(span), default: .duration(config.storage.forecast),
                        "Warn when a file system would be full within this time, were it to go on "
                            + "filling as it does; 0 for never."),
                    actions(
                        for: severities.values, storageActions,
                        "What to do; a severity that is left out gets no actions."),
                ] + knobs(of: storagePolicy, docs: storageDocs))), alsoTried: ["disk", "disks"],
        "How full file systems are, in percent of what ordinary users can use.")

    /// The actions of the storage watcher where nothing else is said.
    static let storageActions: JSON.Object = [
        "warning": ["cleanup_temp"],
        "critical": ["cleanup_logs", "archive_old_data"],
        "emergency": ["emergency_cleanup", "alert_human"],
    ]

    /// The coordinator waits for a result until the deadline, and a cleanup of millions of files takes
    /// minutes: with a short one it would be taken for lost and the next action sent on top of it.
    ///
    /// `verify` counts from the end of an action, so however long that takes, it need only cover what a
    /// file system takes to show what was freed; half a minute for btrfs, whose commits are the slowest.
    private static let storagePolicy = Policy(
        type: "storage", severity: .ok, ladder: [], deadline: .seconds(300))
    private static let storageDocs = [
        "deadline": "How long after it was issued a command may be executed and its result is "
            + "waited for; longer than elsewhere, as a cleanup can take minutes.",
        "verify": "How long the symptom may last after the end of an action before the next one is "
            + "tried; btrfs takes half a minute to show what was freed.",
    ]

    private static let mounts = Key(
        "mounts",
        .section(
            Section(
                keys: [
                    Key(
                        "include", texts(.mountPattern, example: #"["/**"]"#),
                        default: .texts(config.storage.include),
                        "The mount points that are watched; * stops at a slash, ** does not."),
                    Key(
                        "exclude",
                        texts(.mountPattern, example: #"["/mnt/**"]"#, mayBeEmpty: true),
                        default: .texts(config.storage.exclude),
                        "Those that are not, whatever include says."),
                ])),
        "Which file systems are watched, by their mount points.")

    private static let percent = Kind.number(1...100, unit: "%")
    private static let percentClear = "5 below its threshold, or half of it where that is more"
}
