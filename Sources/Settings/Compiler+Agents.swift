import Protocol

/// `storage:`, `mesh:` and `loop:`, except their actions.
extension Compiler {
    mutating func storage(_ section: Values?) -> Config.Storage {
        var storage = Config.Storage()
        guard let section else { return storage }
        set(&storage.holdFor, section.duration("for"))
        set(&storage.forecast, section.duration("forecast"))
        // Five below a very low threshold would never be reached.
        let clear: (Double) -> Double = { max($0 - Schema.clearMargin, $0 / 2) }
        let space = levels(section, ("thresholds", "clear"), clearFor: clear)
        let inodes = levels(
            section, ("inode_thresholds", "inode_clear"), like: space, clearFor: clear)
        apply(space.thresholds, to: &storage.thresholds)
        apply(space.clears, to: &storage.clear)
        apply(inodes.thresholds, to: &storage.inodeThresholds)
        apply(inodes.clears, to: &storage.inodeClear)
        set(&storage.include, section.section("mounts")?.texts("include"))
        set(&storage.exclude, section.section("mounts")?.texts("exclude"))
        return storage
    }

    mutating func mesh(_ section: Values?) -> Config.Mesh {
        var mesh = Config.Mesh()
        set(&mesh.interfaces, section?.texts("interfaces"))
        set(&mesh.probeInterval, section?.duration("probe_interval"))
        return mesh
    }

    // MARK: Loop

    mutating func loop(_ section: Values?) -> Config.Loop {
        var loop = Config.Loop()
        guard let section else { return loop }
        set(&loop.watch, section.texts("watch"))
        for subject in section.list("watch") ?? [] { checkNotOurs(subject) }
        checkUnique(section.list("watch"), text)
        set(&loop.cooldown, section.duration("cooldown"))
        let limits = section.section("limits")
        set(&loop.limits.depth, limits?.integer("depth"))
        set(&loop.limits.iterations, limits?.integer("iterations"))
        set(&loop.limits.tokens, limits?.integer("tokens"))
        set(&loop.limits.fanOut, limits?.integer("fan_out"))
        set(&loop.limits.rate, limits?.integer("rate"))
        set(&loop.limits.repeats, limits?.integer("repeats"))
        loop.relay = relay(section.section("relay"))
        return loop
    }

    private mutating func relay(_ section: Values?) -> Config.Relay? {
        for side in ["from", "to"] { section?[side].map { checkNotOurs($0) } }
        guard let section, let source = section.text("from"), let to = section["to"],
            let target = section.text("to")
        else { return nil }
        // Whatever is passed on would be taken in again, for ever.
        if target.hasPrefix(source.dropLast()) {
            issues.add(
                to.origin, to.path,
                "\(Name.quoted(target)) lies inside from (\(Name.quoted(source))), so that messages "
                    + "would go round")
        }
        return Config.Relay(source: source, target: target)
    }

    /// Subjects that nobody may watch or relay, and why.
    private static let reserved: [(subject: String, reason: String)] = [
        ("skos.>", "SKOS's own messages: a healer must not watch itself"),
        ("SKOS_AUDIT.>", "SKOS's own records: a healer must not watch itself"),
        ("_INBOX.>", "answers to anybody's requests"),
        ("$JS.>", "NATS's own"), ("$KV.>", "NATS's own"), ("$O.>", "NATS's own"),
        ("$SYS.>", "NATS's own"),
    ]

    private mutating func checkNotOurs(_ setting: Setting) {
        guard let subject = text(setting),
            let other = Self.reserved.first(where: { subjectsOverlap(subject, $0.subject) })
        else { return }
        issues.add(
            setting.origin, setting.path,
            "\(Name.quoted(subject)) overlaps \(other.subject), \(other.reason)")
    }

    func text(_ setting: Setting) -> String? {
        if case .text(let text) = setting.value { text } else { nil }
    }
}
