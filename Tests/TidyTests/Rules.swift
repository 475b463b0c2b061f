/// The house rules that a text alone can break. Each check says what is wrong, with the line.
enum Rules {
    static let fileLimit = 400
    static let functionLimit = 70
    /// Agents: none may depend on another, nor on the brain.
    static let agents = [
        "ThermalSentinel", "StorageWatcher", "MeshHealer", "LoopBreaker", "ServiceHealer",
    ]

    struct Fault: Equatable, CustomStringConvertible {
        var line: Int
        var reason: String
        var description: String { "\(line): \(reason)" }
    }

    // MARK: Imports

    /// Modules that a text imports, with their lines.
    static func imports(_ source: SourceText) -> [(module: String, line: Int)] {
        source.lines.enumerated().compactMap { index, line in
            let words = line.split(separator: " ")
            guard let place = words.firstIndex(of: "import"), place + 1 < words.count,
                words[..<place].allSatisfy({ $0.hasPrefix("@") || accessLevels.contains($0) })
            else { return nil }
            // `import struct Module.Name`
            let last = words[words.count - 1].split(separator: ".").first ?? ""
            return (String(last), index + 1)
        }
    }

    private static let accessLevels: Set<Substring> = [
        "package", "public", "internal", "private", "fileprivate",
    ]

    static let foundation: Set = ["Foundation", "FoundationEssentials", "FoundationNetworking"]

    static func foundationFaults(_ source: SourceText) -> [Fault] {
        imports(source).filter { foundation.contains($0.module) }.map {
            Fault(
                line: $0.line, reason: "imports \($0.module): the memory budget has no room for it")
        }
    }

    // MARK: Purity

    private static let impureModules: Set = foundation.union([
        "Glibc", "Musl", "Dispatch", "Synchronization", "Threads", "Runtime", "Bus",
    ])
    private static let impureWords = [
        "Task", "async", "await", "Thread", "ContinuousClock", "SuspendingClock",
        "SystemRandomNumberGenerator", "print", "readLine", "nonisolated", "Mutex", "Atomic",
    ]
    private static let impureMembers = [
        ".now", ".randomElement()", ".shuffled()", ".shuffle()", ".random(in:",
    ]

    /// What a decision core must not contain: clocks, tasks, threads, chance, I/O, and loose ends.
    static func purityFaults(_ source: SourceText) -> [Fault] {
        var faults = imports(source).filter { impureModules.contains($0.module) }.map {
            Fault(line: $0.line, reason: "a core imports \($0.module)")
        }
        for word in impureWords {
            for place in source.places(ofWord: word) {
                faults.append(Fault(line: source.line(at: place), reason: "a core uses \(word)"))
            }
        }
        for place in source.places(ofWord: "actor") {
            // A declaration; as a name the word is innocent.
            let rest = source.code[(place + 5)...]
            guard rest.first == 0x20, let next = rest.dropFirst().first,
                (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(next)
            else { continue }
            faults.append(Fault(line: source.line(at: place), reason: "a core declares an actor"))
        }
        for (index, line) in source.lines.enumerated() {
            for member in impureMembers where line.contains(member) {
                let isSeeded = member == ".random(in:" && line.contains("using:")
                let isLonger = member == ".now" && !endsAsWord(line, member)
                guard !isSeeded, !isLonger else { continue }
                faults.append(Fault(line: index + 1, reason: "a core uses \(member)"))
            }
        }
        return faults + looseEnds(source.original)
    }

    private static func endsAsWord(_ line: Substring, _ member: String) -> Bool {
        line.ranges(of: member).contains { range in
            guard range.upperBound < line.endIndex else { return true }
            let next = line[range.upperBound]
            return !next.isLetter && !next.isNumber && next != "_"
        }
    }

    private static func looseEnds(_ text: String) -> [Fault] {
        text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().flatMap {
            index, line in
            ["FIX" + "ME", "TO" + "DO"].filter { line.contains($0) }.map {
                Fault(line: index + 1, reason: "\($0) is left")
            }
        }
    }

    // MARK: Sizes

    static func lengthFaults(_ source: SourceText) -> [Fault] {
        let count = source.lines.count - (source.original.hasSuffix("\n") ? 1 : 0)
        return count > fileLimit
            ? [Fault(line: count, reason: "\(count) lines; at most \(fileLimit)")] : []
    }

    static func functionFaults(_ source: SourceText) -> [Fault] {
        functions(source).filter { $0.lines > functionLimit }.map {
            Fault(
                line: $0.line, reason: "a function of \($0.lines) lines; at most \(functionLimit)")
        }
    }

    /// Line and length of every function that has a body.
    static func functions(_ source: SourceText) -> [(line: Int, lines: Int)] {
        var found: [(line: Int, lines: Int)] = []
        for word in ["func", "init", "deinit", "subscript"] {
            for place in source.places(ofWord: word) {
                let isCall = place > 0 && source.code[place - 1] == UInt8(ascii: ".")
                guard !isCall, let body = body(after: place + word.utf8.count, source),
                    let end = source.end(ofBracketAt: body)
                else { continue }
                let first = source.line(at: place)
                found.append((first, source.line(at: end - 1) - first + 1))
            }
        }
        return found.sorted { $0 < $1 }
    }

    /// Where a function's body opens; `nil` for a requirement of a protocol, which has none.
    private static func body(after start: Int, _ source: SourceText) -> Int? {
        var index = start
        var isInSignature = true
        while index < source.code.count {
            switch source.code[index] {
            case UInt8(ascii: "("), UInt8(ascii: "["):
                guard let end = source.end(ofBracketAt: index) else { return nil }
                index = end
                isInSignature = false
                continue
            case UInt8(ascii: "{"): return index
            case UInt8(ascii: "}"): return nil
            case 0x0A where !isInSignature:
                // What follows on the next line is the rest of the signature, or something else.
                let next = nextWord(after: index, source)
                let goesOn = ["->", "{", "where", "throws", "async", "rethrows"]
                guard goesOn.contains(where: next.hasPrefix) else { return nil }
            default: break
            }
            index += 1
        }
        return nil
    }

    private static func nextWord(after index: Int, _ source: SourceText) -> String {
        let rest = source.code[index...].drop { $0 == 0x0A || $0 == 0x20 }
        return String(decoding: rest.prefix { $0 != 0x0A && $0 != 0x20 }, as: UTF8.self)
    }

    // MARK: Access

    /// `public` means nothing in a package with one executable; `package` is the widest.
    static func accessFaults(_ source: SourceText) -> [Fault] {
        (source.places(ofWord: "public") + source.places(ofWord: "open")).compactMap { place in
            let line = source.lines[source.line(at: place) - 1]
            let words = line.split(separator: " ").drop { $0.hasPrefix("@") }
            guard words.first == "public" || words.first == "open" else { return nil }
            let declares = [
                "func", "var", "let", "class", "struct", "enum", "init", "protocol",
                "extension", "static", "final", "import", "typealias", "actor",
            ]
            guard
                words.dropFirst().contains(where: { word in
                    declares.contains { word == $0 || word.hasPrefix($0 + "(") }
                })
            else { return nil }
            return Fault(line: source.line(at: place), reason: "is public; package is enough")
        }
    }

    /// What switches a check of the compiler off stands beside its reason.
    static func unsafeFaults(_ source: SourceText) -> [Fault] {
        let original = source.original.split(separator: "\n", omittingEmptySubsequences: false)
        var faults: [Fault] = []
        for (index, line) in source.lines.enumerated() {
            for escape in ["@unchecked Sendable", "nonisolated(unsafe)"] where line.contains(escape)
            {
                let near = original[max(0, index - 4)...index]
                guard !near.contains(where: { $0.contains("//") }) else { continue }
                faults.append(Fault(line: index + 1, reason: "\(escape) without its reason"))
            }
        }
        return faults
    }

    // MARK: Arrows

    /// What the manifest and the imports of each target's files say against each other and the rules.
    static func arrowFaults(
        _ manifest: Manifest, imports: [String: Set<String>]
    ) -> [String] {
        var faults: [String] = []
        let own = Set(manifest.targets.map(\.name))
        let libraries = manifest.targets.filter { $0.kind == .library }.map(\.name)
        for target in manifest.targets where target.kind != .library {
            let declared = Set(target.dependencies)
            for module in imports[target.name, default: []].intersection(own).sorted()
            where !declared.contains(module) {
                faults.append("\(target.name) imports \(module) without declaring it")
            }
            for name in target.dependencies where !own.contains(name) {
                faults.append("\(target.name) depends on \(name), which is no target")
            }
            guard target.kind == .code else { continue }
            for name in target.dependencies {
                if let reason = forbidden(target.name, name) { faults.append(reason) }
            }
        }
        for library in libraries {
            let importers = imports.filter { $0.value.contains(library) }.keys.sorted()
            if importers.count != 1 {
                faults.append("\(library) is imported by \(importers); it must be one target")
            }
        }
        return faults
    }

    private static func forbidden(_ from: String, _ to: String) -> String? {
        let reason = "\(from) must not depend on \(to)"
        if from == "Protocol" { return reason }
        if from == "Immunity", to != "Protocol" { return reason }
        let brain = ["Immunity", "Coordinator"]
        if agents.contains(from) || from == "Antibody" {
            // Only the coordinator calls a human, and only it needs what that takes.
            return agents.contains(to) || brain.contains(to) || to == "Notifier" ? reason : nil
        }
        let low = ["Bus", "Settings", "Platform", "Runtime", "Audit", "Notifier"]
        let high = agents + brain + ["Antibody", "Operator", "skos"]
        if low.contains(from), high.contains(to) { return reason }
        if from == "Coordinator", agents.contains(to) || to == "Antibody" { return reason }
        if to == "skos" || to == "TestSupport" { return reason }
        return nil
    }
}
