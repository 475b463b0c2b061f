import Protocol

/// One node of the configuration's tree, with the place it comes from.
struct YAMLNode: Sendable {
    var content: Content
    var origin: Origin

    enum Content: Sendable {
        /// Text; `isPlain` when it was written without quotes and not as a block, so that `5` may be
        /// a number and `true` a boolean.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        /// The entries in their order; keys are unique.
        case mapping([Entry])
        /// Something that has been reported already; nobody should complain about it again.
        case reported
    }

    struct Entry: Sendable {
        var key: String
        var keyOrigin: Origin
        var value: YAMLNode

        /// The value, placed where its key is: people look for the key, and a value may be missing.
        var placedAtKey: YAMLNode { YAMLNode(content: value.content, origin: keyOrigin) }
    }
}

extension YAMLNode {
    /// Whether it is a mapping key without a value, or `null`.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// What it is, as error messages name it.
    var kind: String {
        switch content {
        case .scalar where isNull: "nothing"
        case .scalar(let text, _): Name.quoted(text)
        case .sequence: "a list"
        case .mapping: "a mapping"
        case .reported: "something else"
        }
    }

    /// The node that a person would have written for a value of the schema.
    init(_ json: JSON, origin: Origin) {
        self.origin = origin
        switch json {
        case .null: content = .scalar("", isPlain: true)
        case .bool(let value): content = .scalar(value ? "true" : "false", isPlain: true)
        case .integer(let value): content = .scalar(String(value), isPlain: true)
        case .number(let value): content = .scalar(numberText(value), isPlain: true)
        case .string(let value): content = .scalar(value, isPlain: false)
        case .array(let elements):
            content = .sequence(elements.map { YAMLNode($0, origin: origin) })
        case .object(let object):
            content = .mapping(
                object.members.map { member in
                    Entry(
                        key: member.name, keyOrigin: origin,
                        value: YAMLNode(member.value, origin: origin))
                })
        }
    }

    /// The JSON value it stands for in the core schema of YAML 1.2, or `nil` when it holds a number
    /// that JSON cannot (`.nan`, `.inf`, one beyond the range of a double).
    var json: JSON? {
        switch content {
        case .reported: return .null
        case .scalar(let text, isPlain: false): return .string(text)
        case .scalar(let text, isPlain: true):
            if isNull { return .null }
            if let flag = parseFlag(text) { return .bool(flag) }
            if let integer = parseInteger(text) { return .integer(Int64(integer)) }
            if isNumberSyntax(text) { return parseNumber(text).map(JSON.number) }
            let bare = text.drop { $0 == "+" || $0 == "-" }.lowercased()
            return bare == ".nan" || bare == ".inf" ? nil : .string(text)
        case .sequence(let elements):
            var values: [JSON] = []
            for element in elements {
                guard let value = element.json else { return nil }
                values.append(value)
            }
            return .array(values)
        case .mapping(let entries):
            var members: [(name: String, value: JSON)] = []
            for entry in entries {
                guard let value = entry.value.json else { return nil }
                members.append((entry.key, value))
            }
            return .object(JSON.Object(uniqueMembers: members))
        }
    }
}
