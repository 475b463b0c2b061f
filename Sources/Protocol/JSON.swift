/// A JSON value (RFC 8259). Members keep their order, so that a message can be passed on as it came.
package enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number without fraction and exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number; always finite.
    case number(Double)
    case string(String)
    case array([JSON])
    case object(Object)

    /// The members of a JSON object, in order; names are unique.
    package struct Object: Sendable, Equatable, ExpressibleByDictionaryLiteral {
        /// Name and value of each member, in the order they were written.
        package private(set) var members: [(name: String, value: JSON)]

        package init() { members = [] }

        /// Takes members whose names are known to be unique.
        package init(uniqueMembers: [(name: String, value: JSON)]) { members = uniqueMembers }

        /// Members whose names are unique.
        package init(dictionaryLiteral elements: (String, JSON)...) {
            members = elements.map { (name: $0.0, value: $0.1) }
            assert(Set(members.map(\.name)).count == members.count, "a name stands twice")
        }

        package var isEmpty: Bool { members.isEmpty }

        /// Appends the members whose names are not among `names`, which the object may have already.
        package mutating func append(_ other: Object, except names: [String]) {
            for member in other.members where !names.contains(member.name) {
                members.append(member)
            }
        }

        /// The value of a member; setting `nil` removes it, a new name goes to the end.
        package subscript(name: String) -> JSON? {
            get { members.first { $0.name == name }?.value }
            set {
                let index = members.firstIndex { $0.name == name }
                switch (index, newValue) {
                case (let index?, let value?): members[index].value = value
                case (let index?, nil): members.remove(at: index)
                case (nil, let value?): members.append((name, value))
                case (nil, nil): break
                }
            }
        }

        package static func == (left: Object, right: Object) -> Bool {
            left.members.count == right.members.count
                && left.members.allSatisfy { right[$0.name] == $0.value }
        }
    }
}

extension JSON {
    /// The string, when it is one.
    package var string: String? { if case .string(let value) = self { value } else { nil } }

    /// The boolean, when it is one.
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The integer, when it is one.
    package var integer: Int64? { if case .integer(let value) = self { value } else { nil } }

    /// The number as floating point, when it is a number of any kind.
    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// The members, when it is an object.
    package var object: Object? { if case .object(let value) = self { value } else { nil } }

    /// The elements, when it is an array.
    package var array: [JSON]? { if case .array(let value) = self { value } else { nil } }

    /// What kind of value it is, as error messages name it.
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(Object(uniqueMembers: elements.map { (name: $0.0, value: $0.1) }))
    }
}
