import Protocol

/// `local:`: what may be executed on this node, and what would hardly be survived.
extension Compiler {
    mutating func local(_ section: Values?) -> Config.Local {
        var local = Config.Local()
        guard let section else { return local }
        let actions = section.section("actions")
        local.allowedActions = actions?.texts("allow").map { Set($0) }
        local.deniedActions = Set(actions?.texts("deny") ?? [])
        local.dryRun = section.flag("dry_run") ?? false
        set(&local.cleanupTemp, cleanup(section.section("cleanup_temp"), local.cleanupTemp))
        set(&local.cleanupLogs, cleanup(section.section("cleanup_logs"), local.cleanupLogs))
        set(&local.journalMax, journalMax(section.section("cleanup_logs")))
        local.archive = archive(section)
        let human = section.section("alert_human")
        set(&local.alertHuman.url, human?.text("url"))
        set(&local.alertHuman.format, human?.text("format").flatMap(Config.WebhookFormat.init))
        local.mesh = meshRights(section.section("mesh"))
        local.nonEssential = nonEssential(section.list("shutdown_non_essential") ?? [])
        for setting in (actions?.list("allow") ?? []) + (actions?.list("deny") ?? []) {
            if case .text(let action) = setting.value { warnIfUnknown(action, setting) }
        }
        return local
    }

    // MARK: Files

    private mutating func cleanup(
        _ section: Values?, _ defaults: Config.Cleanup
    ) -> Config.Cleanup {
        var cleanup = defaults
        set(&cleanup.roots, section?.texts("roots"))
        set(&cleanup.patterns, section?.texts("patterns"))
        set(&cleanup.minAge, section?.duration("min_age"))
        checkUnique(section?.list("roots"), text)
        return cleanup
    }

    private mutating func journalMax(_ section: Values?) -> Int64? {
        guard let setting = section?["journal_max"], let size = section?.size("journal_max") else {
            return nil
        }
        if size > 0, size < Schema.leastJournal {
            issues.add(
                setting.origin, setting.path,
                "\(size) bytes are less than \(sizeText(Schema.leastJournal)); write a unit, such as "
                    + "\(size)M, or 0 to leave the journal alone")
        }
        return size
    }

    private mutating func archive(_ local: Values) -> Config.Archive {
        var archive = Config.Archive()
        guard let section = local.section("archive_old_data") else { return archive }
        set(&archive.roots, section.texts("roots"))
        set(&archive.patterns, section.texts("patterns"))
        set(&archive.minAge, section.duration("min_age"))
        set(&archive.destination, section.text("to"))
        checkUnique(section.list("roots"), text)
        guard let to = section["to"], !archive.destination.isEmpty else {
            // A destination that was refused has been reported.
            let isOpen = section["to"] != nil || !section.written.contains("to")
            if let roots = section["roots"], !archive.roots.isEmpty, isOpen {
                issues.warn(
                    roots.origin, roots.path,
                    "archive_old_data is not offered without to, a directory on another file system"
                )
            }
            return archive
        }
        if archive.roots.isEmpty {
            issues.warn(to.origin, to.path, "archive_old_data is not offered without roots")
        }
        let cleanups = ["cleanup_temp", "cleanup_logs"].flatMap { name in
            (local.section(name)?.list("roots") ?? []).map { (name, $0) }
        }
        for root in section.list("roots") ?? [] {
            checkArchive(to, outside: root, "which would archive the archives")
        }
        for (name, root) in cleanups {
            checkArchive(to, outside: root, "where \(name) would delete the archives")
        }
        return archive
    }

    private mutating func checkArchive(_ to: Setting, outside root: Setting, _ reason: String) {
        guard let path = text(to), let folder = text(root), isPath(path, inside: folder) else {
            return
        }
        issues.add(
            to.origin, to.path,
            "\(Name.quoted(path)) lies inside \(root.path) (\(Name.quoted(folder))\(source(root))), "
                + reason)
    }

    // MARK: Mesh

    private mutating func meshRights(_ section: Values?) -> Config.MeshRights {
        var rights = Config.MeshRights()
        set(&rights.restart, section?.texts("restart"))
        let entries = section?.list("routes") ?? []
        for entry in entries {
            guard case .section(let values) = entry.value else { continue }
            checkRoute(values, entry)
            guard let prefix = values.text("prefix"), let device = values.text("device") else {
                continue
            }
            var route = Config.FailoverRoute(prefix: prefix, device: device)
            set(&route.peer, values.text("peer"))
            set(&route.interface, values.text("interface"))
            set(&route.via, values.text("via"))
            set(&route.metric, values.integer("metric"))
            set(&route.table, values.integer("table"))
            rights.routes.append(route)
        }
        checkUnique(entries) { entry in
            guard case .section(let values) = entry.value,
                let network = values.text("prefix").flatMap({ Network($0) })
            else { return nil }
            return [
                network.text, values.text("peer") ?? "", values.text("interface") ?? "",
                String(values.integer("metric") ?? -1), String(values.integer("table") ?? -1),
            ].joined(separator: " ")
        }
        return rights
    }

    private mutating func checkRoute(_ values: Values, _ entry: Setting) {
        let isForSomebody = ["peer", "interface"].contains { name in
            // What was refused has been reported.
            values.text(name).map { !$0.isEmpty } ?? values.written.contains(name)
        }
        if !isForSomebody {
            issues.add(
                entry.origin, entry.path,
                "needs a peer or an interface whose loss the other way stands in for")
        }
        guard let via = values["via"], let hop = values.text("via").flatMap(addressBytes),
            let network = values.text("prefix").flatMap({ Network($0) }),
            hop.count != network.address.count
        else { return }
        let (family, other) = hop.count == 4 ? ("IPv4", "IPv6") : ("IPv6", "IPv4")
        issues.add(via.origin, via.path, "is \(family), but the prefix is \(other)")
    }

    // MARK: What a node can do without

    private mutating func nonEssential(_ entries: [Setting]) -> [Config.NonEssential] {
        var found: [Config.NonEssential] = []
        var names: [String: String] = [:]
        for entry in entries {
            guard case .section(let values) = entry.value, checkForm(values, entry) else {
                continue
            }
            checkPrograms(values)
            let thing: (name: String, value: Config.NonEssential)
            if let unit = values.text("unit") {
                thing = ("unit \(unit)", .unit(unit))
            } else if let container = values.text("container") {
                thing = ("container \(container)", .container(container))
            } else if let name = values.text("name"), let stop = values.texts("stop"),
                let start = values.texts("start")
            {
                let check = values.texts("check")
                thing = ("name \(name)", .hook(name: name, stop: stop, start: start, check: check))
            } else {
                continue
            }
            if let first = names[thing.name] {
                issues.add(entry.origin, entry.path, "is the same as \(first); keep one")
            } else {
                names[thing.name] = entry.path
            }
            found.append(thing.value)
        }
        return found
    }

    /// Whether an entry is in one of its three forms, so far as that can be said.
    private mutating func checkForm(_ values: Values, _ entry: Setting) -> Bool {
        let hook = ["name", "stop", "start", "check"]
        let forms = [["unit"], ["container"], hook].filter { !values.written.isDisjoint(with: $0) }
        guard forms.count == 1 else {
            issues.add(
                entry.origin, entry.path,
                "has \(forms.map { $0[0] }.joined(separator: " and ")); keep one")
            return false
        }
        for key in ["unit", "container"] {
            guard let setting = values[key], let name = text(setting), isOurs(name) else {
                continue
            }
            issues.add(
                setting.origin, setting.path,
                "\(Name.quoted(name)) is SKOS itself, which could not start anything again")
        }
        guard forms == [hook] else { return true }
        let missing = hook.dropLast().filter { !values.written.contains($0) }
        guard !missing.isEmpty else { return true }
        issues.add(
            entry.origin, entry.path,
            "needs \(missing.joined(separator: " and ")) as well: a name, stop and start")
        return false
    }

    private func isOurs(_ name: String) -> Bool {
        name == "skos" || ["skos-", "skos_", "skos.", "skos@"].contains(where: name.hasPrefix)
    }

    private mutating func checkPrograms(_ values: Values) {
        for key in ["stop", "start", "check"] {
            guard let program = values.list(key)?.first, let path = text(program),
                program.path.hasSuffix("[0]"), !isNormalized(path)
            else { continue }
            let name = path.split(separator: "/").last.map(String.init) ?? "true"
            issues.add(
                program.origin, program.path,
                "\(Name.quoted(path)) is not the absolute path of a program; write one such as "
                    + Name.quoted("/usr/bin/" + name))
        }
    }
}
