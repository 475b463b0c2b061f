import Platform

/// What the node's `tmpfiles.d` says about paths, as far as it keeps a cleaning walk away from them.
///
/// `systemd-tmpfiles` leaves alone what a line of its own names, whatever its type, when it cleans the
/// directory around it: what is there has its own age, or none. So does this; `x` leaves all below alone,
/// too, and `X` the path itself, whose content is cleaned. Lines for the boot only (`!`) count as well,
/// although a running system's `systemd-tmpfiles` passes them over: rather too much is kept than too little.
///
/// What cannot be understood keeps what begins with the part that can.
package struct TmpfilesRules: Sendable, Equatable {
    struct Rule: Sendable, Equatable {
        enum Kind: Sendable {
            /// `x`: the path, and all below.
            case ignore
            /// `X`: the path itself.
            case ignoreItself
            /// Another type: what is below a directory that is cleaned is left to this line.
            case own
        }

        /// A pattern for each name of an absolute path.
        var names: [GlobPattern]
        var kind: Kind
        /// Where it stands, such as `/usr/lib/tmpfiles.d/tmp.conf:12`.
        var place: String
    }

    /// Lines that are kept, of all files together.
    static let ruleLimit = 20_000
    /// Oddities that are told; more are counted.
    static let oddityLimit = 8

    private(set) var rules: [Rule] = []
    /// Lines that made no sense, and what became of them.
    private(set) var oddities: [String] = []
    private(set) var oddityCount = 0

    package init() {}

    /// Takes in the lines of one file.
    ///
    /// - Returns: whether there was room for them.
    mutating func add(_ text: [UInt8], file: String) -> Bool {
        for (index, line) in text.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
        ).enumerated() {
            let line = line.trimmed
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            guard rules.count < Self.ruleLimit else { return false }
            let parsed = TmpfilesLine(line)
            let place = "\(file):\(index + 1)"
            if let names = parsed.names {
                rules.append(Rule(names: names, kind: parsed.kind, place: place))
            }
            guard let oddity = parsed.oddity else { continue }
            oddityCount += 1
            if oddities.count < Self.oddityLimit { oddities.append("\(place): \(oddity)") }
        }
        return true
    }

    /// What a walk below a directory leaves alone.
    enum Verdict: Equatable {
        /// All of it, because of the line at this place.
        case leaveAlone(String)
        case walk(without: [PathExclusion])
    }

    /// What is to be left alone below a directory that the node's own file has cleaned. Only `x` keeps that
    /// directory itself from being cleaned: the age in another line says what systemd does there, and
    /// the node's own file what SKOS does.
    func verdict(on directory: String) -> Verdict {
        let path = directory.split(separator: "/").map { Array($0.utf8) }
        var exclusions: Set<PathExclusion> = []
        var ordered: [PathExclusion] = []
        for rule in rules {
            guard zip(rule.names, path).allSatisfy({ $0.matches($1) }) else { continue }
            guard rule.names.count > path.count else {
                if rule.kind == .ignore { return .leaveAlone(rule.place) }
                continue
            }
            let exclusion = PathExclusion(
                names: Array(rule.names.dropFirst(path.count)),
                extent: rule.kind == .ignoreItself ? .itself : .everything)
            if exclusions.insert(exclusion).inserted { ordered.append(exclusion) }
        }
        return .walk(without: ordered)
    }
}

extension Collection<UInt8> where SubSequence: BidirectionalCollection {
    /// Without blanks at both ends.
    fileprivate var trimmed: ArraySlice<UInt8> {
        var rest = ArraySlice(self)
        while let first = rest.first, TmpfilesLine.isBlank(first) { rest.removeFirst() }
        while let last = rest.last, TmpfilesLine.isBlank(last) { rest.removeLast() }
        return rest
    }
}
