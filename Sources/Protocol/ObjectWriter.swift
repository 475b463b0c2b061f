/// What messages and records carry as a JSON object.
package protocol ObjectEncodable {
    /// Writes its members, in their order.
    func write(to object: inout ObjectWriter)
}

extension ObjectEncodable {
    /// The object as compact JSON text in UTF-8.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(ObjectWriter.usualBytes)
        encode(into: &bytes)
        return bytes
    }

    /// Makes `bytes` the object as compact JSON text in UTF-8, in the memory that they have already.
    package func encode(into bytes: inout [UInt8]) {
        bytes.removeAll(keepingCapacity: true)
        var writer = ObjectWriter(text: exchange(&bytes, with: []))
        writer.write(self)
        bytes = writer.text()
    }

    /// The object as a value.
    package var object: JSON.Object {
        var writer = ObjectWriter(members: [])
        write(to: &writer)
        return writer.value()
    }
}

/// Takes the members of a JSON object and makes text or a value of them.
///
/// Text is written as the members come, with no values in between: every alert that is healed is written
/// several times. A member without a value is left out.
package struct ObjectWriter {
    private var bytes: [UInt8]
    /// The value; `nil` when text is made.
    private var members: [(name: String, value: JSON)]?

    /// Most messages are shorter.
    fileprivate static let usualBytes = 512

    fileprivate init(text bytes: consuming [UInt8]) { self.bytes = bytes }

    fileprivate init(members: [(name: String, value: JSON)]) {
        bytes = []
        self.members = members
    }

    fileprivate consuming func text() -> [UInt8] { bytes }

    fileprivate consuming func value() -> JSON.Object {
        JSON.Object(uniqueMembers: members ?? [])
    }

    // MARK: Members

    package mutating func put(_ name: StaticString, _ text: String?) {
        guard let text else { return }
        if members != nil { return add(name, .string(text)) }
        begin(name)
        JSON.writeString(text, to: &bytes)
    }

    package mutating func put(_ name: StaticString, _ time: Timestamp?) {
        guard let time else { return }
        if members != nil { return add(name, .string(time.description)) }
        begin(name)
        bytes.append(UInt8(ascii: "\""))
        time.write(to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    package mutating func put(_ name: StaticString, _ number: Double?) {
        put(name, number.map(JSON.number))
    }

    package mutating func put(_ name: StaticString, _ number: Int64?) {
        put(name, number.map(JSON.integer))
    }

    package mutating func put(_ name: StaticString, _ value: Bool?) {
        put(name, value.map(JSON.bool))
    }

    package mutating func put(_ name: StaticString, _ object: JSON.Object?) {
        put(name, object.map(JSON.object))
    }

    package mutating func put(_ name: StaticString, _ value: JSON?) {
        guard let value else { return }
        if members != nil { return add(name, value) }
        begin(name)
        value.write(to: &bytes)
    }

    package mutating func put(_ name: StaticString, _ part: (some ObjectEncodable)?) {
        guard let part else { return }
        if members != nil { return add(name, .object(part.object)) }
        begin(name)
        write(part)
    }

    package mutating func put(_ name: StaticString, _ parts: [some ObjectEncodable]) {
        if members != nil { return add(name, .array(parts.map { .object($0.object) })) }
        begin(name)
        bytes.append(UInt8(ascii: "["))
        for part in parts {
            if bytes.last != UInt8(ascii: "[") { bytes.append(UInt8(ascii: ",")) }
            write(part)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    /// Members whose names are not among `names`, which the object may have already.
    package mutating func put(_ others: JSON.Object, except names: [String]) {
        for member in others.members where !names.contains(member.name) {
            guard members == nil else {
                members?.append(member)
                continue
            }
            separate()
            JSON.writeString(member.name, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            member.value.write(to: &bytes)
        }
    }

    private mutating func add(_ name: StaticString, _ value: JSON) {
        members?.append((name.description, value))
    }

    fileprivate mutating func write(_ part: some ObjectEncodable) {
        bytes.append(UInt8(ascii: "{"))
        part.write(to: &self)
        bytes.append(UInt8(ascii: "}"))
    }

    /// The names of SKOS' own members need no escapes.
    private mutating func begin(_ name: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func separate() {
        if bytes.last != UInt8(ascii: "{") { bytes.append(UInt8(ascii: ",")) }
    }
}
