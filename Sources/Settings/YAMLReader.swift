import CYAML
import Protocol

/// Reads the text of a configuration into a tree, through libyaml.
///
/// What YAML allows and a configuration does not need is refused with a clear error: anchors and
/// aliases (they can expand without bound), tags, keys that are not plain text, duplicate keys, more
/// than one document.
struct YAMLReader {
    /// Bytes of a file. A fleet of 2,000 nodes with labels takes about a quarter of it.
    static let sizeLimit = 1 << 20
    /// Scalars, lists and mappings of a file, keys included.
    static let nodeLimit = 100_000
    /// Nesting of lists and mappings; the schema needs eight.
    static let depthLimit = 32

    /// Stops the reading; what is wrong has been added to the issues.
    private struct Stop: Error {}

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private var issues: IssueList
    private var nodes = 0

    private init(parser: UnsafeMutablePointer<yaml_parser_t>, issues: IssueList) {
        self.parser = parser
        self.issues = issues
    }

    /// The tree of a text, or `nil` when there is none that could be looked at any further.
    static func read(_ text: [UInt8], issues: inout IssueList) -> YAMLNode? {
        guard isReadableText(text, issues: &issues) else { return nil }
        // Editors do not count the mark that some of them write, so neither do the columns.
        let text = text.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(text.dropFirst(3)) : text
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else {
            issues.add(.fallback, "", "there is not enough memory to read it")
            return nil
        }
        defer { yaml_parser_delete(parser) }
        return text.withUnsafeBufferPointer { bytes in
            yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            var reader = YAMLReader(parser: parser, issues: issues)
            let root = try? reader.document()
            issues = reader.issues
            return root
        }
    }

    // MARK: The grammar of events

    private mutating func document() throws(Stop) -> YAMLNode {
        _ = try next()  // The start of the stream.
        let first = try next()
        guard first.type == YAML_DOCUMENT_START_EVENT else {
            throw stop(.file(line: 1, column: 1), emptyMessage)
        }
        let root = try node(try next(), depth: 0)
        _ = try next()  // The end of the document.
        let last = try next()
        guard last.type == YAML_STREAM_END_EVENT else {
            throw stop(last.start, "a second document starts here; keep one")
        }
        guard !root.isNull else { throw stop(root.origin, emptyMessage) }
        return root
    }

    private var emptyMessage: String {
        "holds no settings; write at least `version: 1` to use the defaults"
    }

    private mutating func node(_ event: Event, depth: Int) throws(Stop) -> YAMLNode {
        nodes += 1
        guard nodes <= Self.nodeLimit else {
            throw stop(event.start, "has more than \(Self.nodeLimit) values")
        }
        guard depth <= Self.depthLimit else {
            throw stop(event.start, "is nested more than \(Self.depthLimit) levels deep")
        }
        var node = YAMLNode(content: .reported, origin: event.start)
        switch event.type {
        case YAML_ALIAS_EVENT:
            complain(event.start, "aliases (*\(event.text)) are not supported; write the value out")
            return node
        case YAML_SCALAR_EVENT: node.content = .scalar(event.text, isPlain: event.isPlain)
        case YAML_SEQUENCE_START_EVENT: node.content = .sequence(try elements(depth: depth))
        default: node.content = .mapping(try entries(depth: depth))
        }
        if let anchor = event.anchor {
            complain(
                event.start,
                "anchors (&\(anchor)) are not supported; write the value out where it is needed")
        }
        if let tag = event.tag {
            let core = "tag:yaml.org,2002:"
            let short = tag.hasPrefix(core) ? "!!" + tag.dropFirst(core.count) : tag
            complain(event.start, "tags (\(short)) are not supported; remove it")
            node.content = .reported
        }
        return node
    }

    private mutating func elements(depth: Int) throws(Stop) -> [YAMLNode] {
        var elements: [YAMLNode] = []
        while true {
            let event = try next()
            if event.type == YAML_SEQUENCE_END_EVENT { return elements }
            elements.append(try node(event, depth: depth + 1))
        }
    }

    private mutating func entries(depth: Int) throws(Stop) -> [YAMLNode.Entry] {
        var entries: [YAMLNode.Entry] = []
        var lines: [String: Int] = [:]
        while true {
            let event = try next()
            if event.type == YAML_MAPPING_END_EVENT { return entries }
            let key = try node(event, depth: depth + 1)
            let value = try node(try next(), depth: depth + 1)
            guard case .scalar(let name, _) = key.content else {
                if case .reported = key.content { continue }
                complain(key.origin, "a key must be plain text, not \(key.kind)")
                continue
            }
            if let line = lines[name] {
                complain(
                    key.origin, "\(Name.quoted(name)) is given twice; first in line \(line)")
                continue
            }
            if case .file(let line, _) = key.origin { lines[name] = line }
            entries.append(.init(key: name, keyOrigin: key.origin, value: value))
        }
    }

    // MARK: libyaml

    /// What is needed of a `yaml_event_t`, copied out of it.
    private struct Event {
        var type: yaml_event_type_t
        var start: Origin
        var text = ""
        var isPlain = false
        var anchor: String?
        var tag: String?
    }

    private mutating func next() throws(Stop) -> Event {
        var raw = yaml_event_t()
        guard yaml_parser_parse(parser, &raw) == 1 else { throw syntaxError() }
        defer { yaml_event_delete(&raw) }
        var event = Event(type: raw.type, start: Self.origin(raw.start_mark))
        switch raw.type {
        case YAML_SCALAR_EVENT:
            let scalar = raw.data.scalar
            event.text = String(
                decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length),
                as: UTF8.self)
            event.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            event.anchor = Self.string(scalar.anchor)
            event.tag = Self.string(scalar.tag)
        case YAML_SEQUENCE_START_EVENT:
            event.anchor = Self.string(raw.data.sequence_start.anchor)
            event.tag = Self.string(raw.data.sequence_start.tag)
        case YAML_MAPPING_START_EVENT:
            event.anchor = Self.string(raw.data.mapping_start.anchor)
            event.tag = Self.string(raw.data.mapping_start.tag)
        case YAML_ALIAS_EVENT: event.text = Self.string(raw.data.alias.anchor) ?? ""
        default: break
        }
        return event
    }

    private static func string(_ text: UnsafeMutablePointer<yaml_char_t>?) -> String? {
        text.map { String(cString: $0) }
    }

    private static func origin(_ mark: yaml_mark_t) -> Origin {
        .file(line: mark.line + 1, column: mark.column + 1)
    }

    private mutating func complain(_ origin: Origin, _ message: String) {
        issues.add(origin, "", message)
    }

    private mutating func stop(_ origin: Origin, _ message: String) -> Stop {
        complain(origin, message)
        return Stop()
    }

    /// libyaml's own complaint, with what usually causes it.
    private mutating func syntaxError() -> Stop {
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "cannot be read"
        let origin = Self.origin(parser.pointee.problem_mark)
        var message = problem
        if let context = parser.pointee.context {
            let mark = parser.pointee.context_mark
            message += " " + String(cString: context)
            if mark.line != parser.pointee.problem_mark.line {
                message += " that starts in line \(mark.line + 1)"
            }
        }
        if problem.contains("cannot start any token") {
            let character = character(at: parser.pointee.problem_mark)
            message =
                character == "\t"
                ? "a tab cannot be used for indentation; use spaces"
                : "a value cannot start with \(Name.quoted(character)); put it in quotes"
        } else if problem.contains("mapping values are not allowed") {
            message += "; check the indentation, or quote a text that contains \": \""
        } else if problem.contains("did not find expected") {
            message += "; check the indentation and the brackets"
        }
        return stop(origin, message)
    }

    private func character(at mark: yaml_mark_t) -> String {
        let input = parser.pointee.input.string
        guard let start = input.start, let end = input.end else { return "" }
        // The text is valid UTF-8 (see `isReadableText`) and the mark counts its characters.
        let text = UnsafeBufferPointer(start: start, count: end - start)
        let scalars = String(decoding: text, as: UTF8.self).unicodeScalars
        return scalars.dropFirst(mark.index).first.map { String($0) } ?? ""
    }
}
