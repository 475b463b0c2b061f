package import Protocol

/// `config.schema.json`: the schema as JSON Schema 2020-12, for editors and other tools.
///
/// It says all that JSON Schema can say; contradictions between settings, such as a critical threshold
/// below the warning, only SKOS itself finds (`skos policy validate FILE`).
package func configSchema() -> JSON {
    var schema: JSON.Object = [
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "config.yaml of SKOS",
        "description": "Strict: any key that is not named here is an error.",
    ]
    var definitions: JSON.Object = [
        "duration": [
            "description": "Units from the largest to the smallest, or a plain number of seconds.",
            "type": "string",
            "pattern": .string(
                "^(?=.)([0-9]+(\\.[0-9]{1,9})?"
                    + "|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"),
        ],
        "size": [
            "description": "K, M, G or T after a whole number (powers of 1024), or plain bytes.",
            "type": "string", "pattern": "^[0-9]+[KMGT]?$",
        ],
    ]
    for (name, kind) in repeated {
        definitions[name] = shortened(.object(jsonSchema(kind)), by: definitions)
    }
    let root = shortened(.object(jsonSchema(.section(Schema.root))), by: definitions)
    for (name, value) in root.object?.members ?? [] { schema[name] = value }
    schema["$defs"] = .object(definitions)
    return .object(schema)
}

/// What stands in many places, and is written once; later ones may contain earlier ones.
private let repeated: [(name: String, kind: Kind)] = [
    ("ladder", Schema.actions),
    ("ladder_with_settings", .section(Schema.ownLadder)),
    ("loop_ladder_with_settings", .section(Schema.loopLadder)),
]

/// The same with references where a definition is repeated.
private func shortened(_ schema: JSON, by definitions: JSON.Object) -> JSON {
    switch schema {
    case .array(let elements): return .array(elements.map { shortened($0, by: definitions) })
    case .object(let object):
        let short = JSON.object(
            JSON.Object(
                uniqueMembers: object.members.map {
                    ($0.name, shortened($0.value, by: definitions))
                }))
        let same = definitions.members.first { $0.value == short }
        return same.map { ["$ref": .string("#/$defs/\($0.name)")] } ?? short
    default: return schema
    }
}

/// The schema of one key, with its documentation and default.
private func jsonSchema(_ key: Key) -> JSON {
    var schema = jsonSchema(key.kind)
    var text = key.doc
    if !key.otherwise.isEmpty { text += " Default: \(key.otherwise)." }
    if let variable = key.variable { text += " Overridden by \(variable)." }
    schema["description"] = .string(text)
    schema["default"] = key.fallback
    return .object(schema)
}

private func jsonSchema(_ kind: Kind) -> JSON.Object {
    switch kind {
    case .flag: return ["type": "boolean"]
    case .integer(let range):
        return [
            "type": "integer", "minimum": .integer(Int64(range.lowerBound)),
            "maximum": .integer(Int64(range.upperBound)),
        ]
    case .number(let range, _):
        return [
            "type": "number", "minimum": .plainNumber(range.lowerBound),
            "maximum": .plainNumber(range.upperBound),
        ]
    case .duration(let range):
        let number: JSON = [
            "type": "number", "minimum": .plainNumber(range.lowerBound.inSeconds),
            "maximum": .plainNumber(range.upperBound.inSeconds),
        ]
        return ["anyOf": [["$ref": "#/$defs/duration"], number]]
    case .size(let range):
        let number: JSON = [
            "type": "integer", "minimum": .integer(range.lowerBound),
            "maximum": .integer(range.upperBound),
        ]
        return ["anyOf": [["$ref": "#/$defs/size"], number]]
    case .text(let rule): return jsonSchema(rule)
    case .choice(let choice): return ["enum": .array(choice.values.map(JSON.string))]
    case .list(let element, let most, _, let mayBeEmpty):
        return [
            "type": "array", "minItems": mayBeEmpty ? 0 : 1, "maxItems": .integer(Int64(most)),
            "items": .object(jsonSchema(element)),
        ]
    case .section(let section): return jsonSchema(section)
    case .dictionary(let rule, let kind, let most):
        return [
            "type": "object", "minProperties": 1, "maxProperties": .integer(Int64(most)),
            "propertyNames": .object(jsonSchema(rule)),
            "additionalProperties": .object(jsonSchema(kind)),
        ]
    case .either(let kinds): return ["anyOf": .array(kinds.map { .object(jsonSchema($0)) })]
    case .json: return ["type": "object"]
    }
}

private func jsonSchema(_ rule: TextRule) -> JSON.Object {
    ["type": "string", "pattern": .string(rule.pattern)]
}

private func jsonSchema(_ section: Section) -> JSON.Object {
    var properties = JSON.Object()
    for key in section.keys { properties[key.name] = jsonSchema(key) }
    var schema: JSON.Object = [
        "type": section.mayBeEmpty ? ["object", "null"] : "object",
        "additionalProperties": false, "properties": .object(properties),
    ]
    if !section.mayBeEmpty { schema["minProperties"] = 1 }
    let required = section.keys.filter(\.isRequired).map { JSON.string($0.name) }
    if !required.isEmpty { schema["required"] = .array(required) }
    return schema
}
