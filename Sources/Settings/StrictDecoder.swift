import Protocol

/// A decoded value with the place it comes from.
struct Setting: Sendable {
    var value: Value
    var origin: Origin
    /// Such as `thermal.thresholds.critical`.
    var path: String

    enum Value: Sendable {
        case flag(Bool)
        case integer(Int)
        case number(Double)
        case duration(Duration)
        /// Bytes.
        case size(Int64)
        case text(String)
        case list([Setting])
        case section(Values)
        /// Entries in the order of the file.
        case dictionary([(name: String, setting: Setting)])
        case json(JSON.Object)
    }
}

/// The decoded settings of one section. A key that is missing or was refused has none.
struct Values: Sendable {
    fileprivate(set) var settings: [String: Setting] = [:]
    /// The keys that stand in the file, also those whose values were refused.
    fileprivate(set) var written: Set<String> = []

    subscript(name: String) -> Setting? { settings[name] }

    func flag(_ name: String) -> Bool? {
        if case .flag(let value)? = settings[name]?.value { value } else { nil }
    }

    func integer(_ name: String) -> Int? {
        if case .integer(let value)? = settings[name]?.value { value } else { nil }
    }

    func number(_ name: String) -> Double? {
        if case .number(let value)? = settings[name]?.value { value } else { nil }
    }

    func duration(_ name: String) -> Duration? {
        if case .duration(let value)? = settings[name]?.value { value } else { nil }
    }

    func size(_ name: String) -> Int64? {
        if case .size(let value)? = settings[name]?.value { value } else { nil }
    }

    func text(_ name: String) -> String? {
        if case .text(let value)? = settings[name]?.value { value } else { nil }
    }

    /// The elements of a list; a single value counts as a list of one.
    func list(_ name: String) -> [Setting]? {
        guard let setting = settings[name] else { return nil }
        if case .list(let elements) = setting.value { return elements }
        return [setting]
    }

    /// The texts of a list, or a single one.
    func texts(_ name: String) -> [String]? {
        list(name)?.compactMap { if case .text(let text) = $0.value { text } else { nil } }
    }

    func section(_ name: String) -> Values? {
        if case .section(let values)? = settings[name]?.value { values } else { nil }
    }

    func dictionary(_ name: String) -> [(name: String, setting: Setting)]? {
        if case .dictionary(let entries)? = settings[name]?.value { entries } else { nil }
    }

    func json(_ name: String) -> JSON.Object? {
        if case .json(let object)? = settings[name]?.value { object } else { nil }
    }
}

/// Turns a tree into settings by the schema, and collects everything that does not fit.
///
/// Where a key is missing, the environment's value or the default is decoded in its place, by the same
/// rules.
struct StrictDecoder {
    let environment: [String: String]
    var issues: IssueList

    /// Decodes the whole file; `nil`: there is none.
    mutating func decodeRoot(_ root: YAMLNode?) -> Values {
        guard let root else { return section(Schema.root, entries: [], .fallback, "") }
        guard case .mapping(let entries) = root.content else {
            if case .reported = root.content { return Values() }
            issues.add(
                root.origin, "", "sections such as `thermal:` are expected, not \(root.kind)")
            return Values()
        }
        return section(Schema.root, entries: entries, root.origin, "")
    }

    // MARK: Sections

    private mutating func section(
        _ section: Section, entries: [YAMLNode.Entry], _ origin: Origin, _ path: String
    ) -> Values {
        var values = Values()
        var written: [String: YAMLNode] = [:]
        for entry in entries {
            if section.key(entry.key) == nil {
                unknown(entry, in: section, path)
            } else {
                written[entry.key] = entry.placedAtKey
            }
        }
        values.written = Set(written.keys)
        for key in section.keys {
            let keyPath = path.isEmpty ? key.name : "\(path).\(key.name)"
            let node = written[key.name]
            if let node {
                values.settings[key.name] = decode(node, key.kind, keyPath)
            }
            if let override = override(of: key, keyPath) {
                values.settings[key.name] = override
            } else if node == nil {
                values.settings[key.name] = missing(key, origin, keyPath)
            }
        }
        return values
    }

    /// What holds for a key that was not written.
    private mutating func missing(_ key: Key, _ origin: Origin, _ path: String) -> Setting? {
        if let fallback = key.fallback {
            return decode(YAMLNode(fallback, origin: .fallback), key.kind, path)
        }
        if key.isRequired {
            issues.add(origin, path, "is missing; write \(key.kind.expectation)")
            return nil
        }
        // Keys further inside may have defaults or variables of their own.
        guard case .section(let inner) = key.kind, !inner.keys.contains(where: \.isRequired) else {
            return nil
        }
        let values = self.section(inner, entries: [], .fallback, path)
        return Setting(value: .section(values), origin: .fallback, path: path)
    }

    /// The value of a key's environment variable; an empty one counts as not set.
    private mutating func override(of key: Key, _ path: String) -> Setting? {
        guard let variable = key.variable, let text = environment[variable], !text.isEmpty else {
            return nil
        }
        let origin = Origin.environment(variable)
        func scalar(_ text: some StringProtocol) -> YAMLNode {
            YAMLNode(content: .scalar(trimmed(text), isPlain: true), origin: origin)
        }
        guard case .list = key.kind else { return decode(scalar(text), key.kind, path) }
        let elements = text.split(separator: ",").map { scalar($0) }
        return decode(YAMLNode(content: .sequence(elements), origin: origin), key.kind, path)
    }

    private func trimmed(_ text: some StringProtocol) -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r\n" }
        return String(text.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }

    private mutating func unknown(_ entry: YAMLNode.Entry, in section: Section, _ path: String) {
        let names = section.keys.map(\.name)
        var hint = didYouMean(entry.key, among: names)
        if let key = section.keys.first(where: { $0.alsoTried.contains(entry.key) }) {
            hint = "; did you mean \"\(key.name)\"?"
        }
        if hint.isEmpty {
            hint = "; known here: " + names.joined(separator: ", ")
        }
        issues.add(entry.keyOrigin, path, "unknown key \(Name.quoted(entry.key))\(hint)")
    }

    // MARK: Values

    mutating func decode(_ node: YAMLNode, _ kind: Kind, _ path: String) -> Setting? {
        if case .reported = node.content { return nil }
        if node.isNull, !mayBeNull(kind) {
            let message =
                kind.shape == .scalar
                ? "has no value; write \(kind.expectation)" : "is empty; fill it in"
            issues.add(node.origin, path, message + ", or remove the key")
            return nil
        }
        let value: Setting.Value? =
            switch kind {
            case .flag, .integer, .number, .duration, .size, .text, .choice:
                scalar(node, kind, path)
            case .list(let element, let most, _, let mayBeEmpty):
                list(node, kind, element, most, mayBeEmpty, path)
            case .section(let section): decodeSection(node, kind, section, path)
            case .dictionary(let rule, let kind, let most):
                dictionary(node, rule, kind, most, path)
            case .either(let kinds): either(node, kinds, path)
            case .json: parameters(node, path)
            }
        return value.map { Setting(value: $0, origin: node.origin, path: path) }
    }

    private func mayBeNull(_ kind: Kind) -> Bool {
        if case .section(let section) = kind { section.mayBeEmpty } else { false }
    }

    private mutating func wrongKind(_ node: YAMLNode, _ expectation: String, _ path: String) {
        issues.add(node.origin, path, "\(node.kind) is not \(expectation)")
    }

    private mutating func either(_ node: YAMLNode, _ kinds: [Kind], _ path: String)
        -> Setting.Value?
    {
        let shape: Kind.Shape =
            switch node.content {
            case .scalar, .reported: .scalar
            case .sequence: .list
            case .mapping: .mapping
            }
        guard let kind = kinds.first(where: { $0.shape == shape }) else {
            wrongKind(node, Kind.either(kinds).expectation, path)
            return nil
        }
        return decode(node, kind, path)?.value
    }

    private mutating func list(
        _ node: YAMLNode, _ kind: Kind, _ element: Kind, _ most: Int, _ mayBeEmpty: Bool,
        _ path: String
    ) -> Setting.Value? {
        guard case .sequence(let nodes) = node.content else {
            wrongKind(node, kind.expectation, path)
            return nil
        }
        guard !nodes.isEmpty || mayBeEmpty else {
            issues.add(node.origin, path, "is empty; fill it in, or remove the key")
            return nil
        }
        guard nodes.count <= most else {
            issues.add(
                node.origin, path, "has \(nodes.count) elements; at most \(most) are allowed")
            return nil
        }
        var elements: [Setting] = []
        for (index, node) in nodes.enumerated() {
            if let setting = decode(node, element, "\(path)[\(index)]") { elements.append(setting) }
        }
        return .list(elements)
    }

    private mutating func decodeSection(
        _ node: YAMLNode, _ kind: Kind, _ section: Section, _ path: String
    ) -> Setting.Value? {
        if node.isNull { return .section(self.section(section, entries: [], node.origin, path)) }
        guard case .mapping(let entries) = node.content else {
            wrongKind(node, kind.expectation, path)
            return nil
        }
        guard !entries.isEmpty || section.mayBeEmpty else {
            issues.add(node.origin, path, "is empty; fill it in, or remove the key")
            return nil
        }
        return .section(self.section(section, entries: entries, node.origin, path))
    }

    private mutating func dictionary(
        _ node: YAMLNode, _ rule: TextRule, _ kind: Kind, _ most: Int, _ path: String
    ) -> Setting.Value? {
        guard case .mapping(let entries) = node.content else {
            wrongKind(node, "a mapping whose keys are each \(rule.what)", path)
            return nil
        }
        guard !entries.isEmpty else {
            issues.add(node.origin, path, "is empty; fill it in, or remove the key")
            return nil
        }
        guard entries.count <= most else {
            issues.add(
                node.origin, path, "has \(entries.count) entries; at most \(most) are allowed")
            return nil
        }
        var decoded: [(name: String, setting: Setting)] = []
        for entry in entries {
            guard let name = text(entry.key, rule, entry.keyOrigin, path) else { continue }
            if let setting = decode(entry.placedAtKey, kind, "\(path).\(name)") {
                decoded.append((name, setting))
            }
        }
        return .dictionary(decoded)
    }

    private mutating func parameters(_ node: YAMLNode, _ path: String) -> Setting.Value? {
        guard case .mapping = node.content else {
            wrongKind(node, Kind.json.expectation, path)
            return nil
        }
        guard case .object(let object)? = node.json else {
            issues.add(node.origin, path, "holds a number that is not finite")
            return nil
        }
        return .json(object)
    }
}
