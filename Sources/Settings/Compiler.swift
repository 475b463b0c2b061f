import Protocol

/// Turns decoded settings into a `Config`, and checks what concerns more than one of them.
struct Compiler {
    var issues: IssueList

    mutating func compile(_ root: Values, hostName: String) -> Config {
        var config = Config()
        let name = validName(from: hostName)
        config.nodeName = root.section("node")?.text("name") ?? (name.isEmpty ? "localhost" : name)
        set(&config.heartbeatInterval, root.duration("heartbeat_interval"))
        set(&config.monitorInterval, root.duration("monitor_interval"))
        set(&config.repeatInterval, root.duration("repeat_interval"))
        set(&config.stateDirectory, root.text("state_dir").map(withoutTrailingSlashes))
        let hostRoot = root.text("host_root").map(withoutTrailingSlashes)
        config.hostRoot = hostRoot == "/" ? "" : hostRoot ?? ""
        config.nats = nats(root)
        let log = root.section("log")
        set(&config.log.level, log?.text("level").flatMap(Config.LogLevel.init))
        set(&config.log.format, log?.text("format").flatMap(Config.LogFormat.init))
        config.thermal = thermal(root.section("thermal"))
        config.storage = storage(root.section("storage"))
        config.mesh = mesh(root.section("mesh"))
        config.loop = loop(root.section("loop"))
        config.local = local(root.section("local"))
        config.nodes = nodes(root)
        config.policySet = policySet(root)
        config.policySet.nodes = config.nodes.map { Set($0.keys) }
        warn(about: config, root)
        return config
    }

    /// Keeps the default where a setting is missing because it was refused.
    func set<T>(_ target: inout T, _ value: T?) {
        if let value { target = value }
    }

    private func withoutTrailingSlashes(_ path: String) -> String {
        var path = path[...]
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return String(path)
    }

    // MARK: NATS, nodes

    private mutating func nats(_ root: Values) -> Config.NATS {
        var nats = Config.NATS()
        guard let section = root.section("nats") else { return nats }
        let single = section["url"]
        let several = section["urls"]
        if case .file? = several?.origin, case .file? = single?.origin, let several {
            issues.add(several.origin, several.path, "both url and urls are given; keep one")
        }
        if let urls = section.texts("urls") {
            nats.urls = urls
        } else if let url = section.text("url") {
            nats.urls = [url]
        }
        nats.credentialsFile = section.text("credentials")
        return nats
    }

    private func nodes(_ root: Values) -> [String: Config.Node]? {
        guard let entries = root.dictionary("nodes") else { return nil }
        var nodes: [String: Config.Node] = [:]
        for (name, setting) in entries {
            var node = Config.Node()
            if case .section(let values) = setting.value {
                node.role = values.text("role")
                for (label, setting) in values.dictionary("labels") ?? [] {
                    if case .text(let text) = setting.value { node.labels[label] = text }
                }
            }
            nodes[name] = node
        }
        return nodes
    }

    /// Says where the other side of a contradiction comes from, when it is not in sight.
    func source(_ setting: Setting) -> String {
        switch setting.origin {
        case .file: ""
        case .environment(let name): ", from \(name)"
        case .fallback: ", the default"
        }
    }

    /// Something that is given twice in a list where once is enough.
    mutating func checkUnique(_ settings: [Setting]?, _ name: (Setting) -> String?) {
        var first: [String: String] = [:]
        for setting in settings ?? [] {
            guard let name = name(setting) else { continue }
            if let path = first[name] {
                issues.add(setting.origin, setting.path, "is the same as \(path); keep one")
            } else {
                first[name] = setting.path
            }
        }
    }

    // MARK: Warnings

    /// An action nobody knows may belong to an agent of the operator's own, so it is no error.
    mutating func warnIfUnknown(_ action: String, _ setting: Setting) {
        guard ActionTable.kind(of: action) == nil else { return }
        issues.warn(
            setting.origin, setting.path,
            "no agent of this version knows the action \(Name.quoted(action))"
                + didYouMean(action, among: ActionTable.names))
    }

    /// What is allowed, because processes may differ in their environment, but hardly meant.
    private mutating func warn(about config: Config, _ root: Values) {
        if let timeout = root["heartbeat_timeout"],
            config.policySet.heartbeatTimeout < config.heartbeatInterval * 2
        {
            issues.warn(
                timeout.origin, timeout.path,
                "\(durationText(config.policySet.heartbeatTimeout)) is less than twice "
                    + "heartbeat_interval (\(durationText(config.heartbeatInterval))); "
                    + "agents will often look late")
        }
        if let expire = root.section("alerts")?["expire_after"],
            config.policySet.expireAfter <= config.repeatInterval
        {
            issues.warn(
                expire.origin, expire.path,
                "\(durationText(config.policySet.expireAfter)) is not above repeat_interval "
                    + "(\(durationText(config.repeatInterval))); lasting symptoms will expire")
        }
        if let nodes = root["nodes"], config.nodes?[config.nodeName] == nil {
            issues.warn(
                nodes.origin, nodes.path,
                "this node, \(Name.quoted(config.nodeName)), is not among them")
        }
    }
}
