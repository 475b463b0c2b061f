/// A message that does not satisfy the wire format: which field, and what is wrong with it.
package struct MessageError: Error, Equatable, CustomStringConvertible {
    /// The path of the field, such as `details.temperature`; empty for the message as a whole.
    package var field: String
    package var reason: String

    package init(field: String, reason: String) {
        self.field = field
        self.reason = reason
    }

    package var description: String { field.isEmpty ? reason : "\(field): \(reason)" }
}

/// Reads the typed fields of one JSON object. Unknown members are left alone; a member of a wrong type
/// is an error with its path; `null` counts as absent.
package struct Fields {
    package let object: JSON.Object
    private let path: String

    package init(_ object: JSON.Object, path: String = "") {
        self.object = object
        self.path = path
    }

    /// The fields of a whole message.
    package init(message: UnsafeRawBufferPointer) throws(MessageError) {
        guard message.count <= Limits.messageBytes else {
            throw MessageError(
                field: "",
                reason: "\(message.count) bytes is more than the \(Limits.messageBytes) allowed")
        }
        let json: JSON
        do throws(JSONError) {
            json = try JSON.parse(message, depthLimit: Limits.messageDepth)
        } catch {
            throw MessageError(field: "", reason: error.description)
        }
        guard case .object(let object) = json else {
            throw MessageError(field: "", reason: "a JSON object is expected, not \(json.kind)")
        }
        self.init(object)
    }

    /// An error about one of the fields.
    package func error(_ name: String, _ reason: String) -> MessageError {
        MessageError(field: path.isEmpty ? name : "\(path).\(name)", reason: reason)
    }

    /// The members that are not among `names`: a newer or foreign sender's, to be passed on.
    package func others(than names: [String]) -> JSON.Object {
        var others = JSON.Object()
        others.append(object, except: names)
        return others
    }

    private func value(_ name: String) -> JSON? {
        guard let value = object[name], value != .null else { return nil }
        return value
    }

    private func wrong(_ name: String, _ value: JSON, _ expected: String) -> MessageError {
        error(name, "\(expected) is expected, not \(value.kind)")
    }

    /// The value if it is there; an error if it is not.
    package func required<T>(_ name: String, _ value: T?) throws(MessageError) -> T {
        guard let value else { throw error(name, "is missing") }
        return value
    }

    package func string(
        _ name: String, limit: Int = Limits.textBytes
    ) throws(MessageError) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.string else { throw wrong(name, value, "a string") }
        guard text.utf8.count <= limit else {
            throw error(name, "is longer than \(limit) bytes")
        }
        return text
    }

    /// A text that names something, in one line of any log: no control characters.
    package func identifier(
        _ name: String, limit: Int = Limits.identifierBytes
    ) throws(MessageError) -> String? {
        guard let text = try string(name, limit: limit) else { return nil }
        let isPrintable = text.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
        }
        guard isPrintable else {
            throw error(name, "\(Name.quoted(text)) contains control characters")
        }
        return text
    }

    /// A name such as a node's; see `Name.isValid`.
    package func name(
        _ field: String, limit: Int = Name.limit
    ) throws(MessageError) -> String? {
        guard let text = try string(field) else { return nil }
        guard Name.isValid(text, limit: limit) else {
            throw error(
                field, "\(Name.quoted(text)) is not a name ([a-z0-9_-], 1 to \(limit) of them)")
        }
        return text
    }

    /// Who speaks, where a message says so.
    package func agentID() throws(MessageError) -> String? {
        try name("agent_id", limit: Name.agentLimit)
    }

    package func bool(_ name: String) throws(MessageError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard let bool = value.bool else { throw wrong(name, value, "true or false") }
        return bool
    }

    package func double(
        _ name: String, in range: ClosedRange<Double>? = nil, unit: String = ""
    ) throws(MessageError) -> Double? {
        guard let value = value(name) else { return nil }
        guard let double = value.double else { throw wrong(name, value, "a number") }
        if let range, !range.contains(double) {
            throw error(
                name, "\(double) is outside \(range.lowerBound)…\(range.upperBound)\(unit)")
        }
        return double
    }

    package func integer(_ name: String) throws(MessageError) -> Int64? {
        guard let value = value(name) else { return nil }
        guard let integer = value.integer else { throw wrong(name, value, "a whole number") }
        return integer
    }

    package func object(_ name: String) throws(MessageError) -> JSON.Object? {
        guard let value = value(name) else { return nil }
        guard let object = value.object else { throw wrong(name, value, "an object") }
        return object
    }

    package func strings(_ name: String) throws(MessageError) -> [String]? {
        guard let value = value(name) else { return nil }
        guard let elements = value.array else { throw wrong(name, value, "an array of strings") }
        var strings: [String] = []
        for (index, element) in elements.enumerated() {
            guard let string = element.string else {
                throw wrong("\(name)[\(index)]", element, "a string")
            }
            strings.append(string)
        }
        return strings
    }

    package func timestamp(_ name: String) throws(MessageError) -> Timestamp? {
        guard let text = try string(name) else { return nil }
        guard let timestamp = Timestamp(text) else {
            throw error(
                name,
                "\(Name.quoted(text)) is not an RFC 3339 time such as 2024-01-01T00:00:00Z, of the "
                    + "years 1678 to 2261")
        }
        return timestamp
    }

    /// A duration in seconds, not negative and at most 366 days.
    package func seconds(_ name: String) throws(MessageError) -> Duration? {
        guard let seconds = try double(name, in: 0...Limits.durationSeconds, unit: " s") else {
            return nil
        }
        return .nanoseconds(Int64((seconds * 1e9).rounded()))
    }

    /// One of the values of an enumeration.
    package func choice<T: RawRepresentable & CaseIterable>(
        _ name: String, _ type: T.Type
    ) throws(MessageError) -> T? where T.RawValue == String {
        guard let text = try string(name) else { return nil }
        guard let value = T(rawValue: text) else {
            let known = T.allCases.map(\.rawValue).joined(separator: ", ")
            throw error(name, "\(Name.quoted(text)) is not one of \(known)")
        }
        return value
    }
}

/// Names of nodes, agents and types.
package enum Name {
    /// Bytes of a name.
    package static let limit = 63
    /// Bytes of an agent's id, which is the name of a kind of agent and that of a node.
    package static let agentLimit = 2 * limit + 1

    /// `[a-z0-9_-]{1,63}`: one token of a NATS subject, a file name, and safe in any log.
    package static func isValid(_ name: String, limit: Int = Name.limit) -> Bool {
        (1...limit).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F
                    || $0 == 0x2D
            }
    }

    /// A piece of foreign text for an error message: short, and without control characters.
    package static func quoted(_ text: String) -> String {
        let head = text.unicodeScalars.prefix(64).map { scalar -> String in
            scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
        let rest = text.unicodeScalars.count > 64 ? "…" : ""
        return "\"\(head.joined())\(rest)\""
    }
}

/// Bounds of everything that comes from outside.
package enum Limits {
    /// Bytes of one message.
    package static let messageBytes = 64 * 1024
    /// Nesting of one message.
    package static let messageDepth = 32
    /// Bytes of one text field.
    package static let textBytes = 4096
    /// Bytes of an identifier; enough for an incident's, which is made of two names, a resource and a
    /// number.
    package static let identifierBytes = 512
    /// Bytes of what an alert is about.
    package static let resourceBytes = 255
    /// Seconds that a duration in a message may have: 366 days.
    package static let durationSeconds = 31_622_400.0
    /// Degrees Celsius that a temperature in a message may have; anything else is a broken sensor.
    package static let temperatures = -100.0...1000.0
    /// How far ahead of the receiver's clock a timestamp may be.
    package static let clockSkew: Duration = .seconds(300)
}
