import Protocol

extension StrictDecoder {
    /// Decodes one of the kinds that are written as a single word, number or text.
    mutating func scalar(_ node: YAMLNode, _ kind: Kind, _ path: String) -> Setting.Value? {
        guard case .scalar(let word, let isPlain) = node.content else {
            issues.add(node.origin, path, "\(node.kind) is not \(kind.expectation)")
            return nil
        }
        switch kind {
        case .text(let rule): return text(word, rule, node.origin, path).map(Setting.Value.text)
        case .choice(let choice): return self.choice(word, choice, node, path)
        case .duration(let range): return duration(word, range, node, path)
        case .size(let range): return size(word, range, node, path)
        default: break
        }
        guard isPlain else {
            let what = kind.expectation
            issues.add(
                node.origin, path,
                "\(Name.quoted(word)) in quotes is a text, not \(what); remove the quotes")
            return nil
        }
        switch kind {
        case .flag: return flag(word, node, path)
        case .integer(let range): return integer(word, range, node, path)
        case .number(let range, let unit): return number(word, range, unit, node, path)
        default: preconditionFailure("not a scalar kind")
        }
    }

    private mutating func flag(_ word: String, _ node: YAMLNode, _ path: String) -> Setting.Value? {
        if let flag = parseFlag(word) { return .flag(flag) }
        let meant: String? =
            switch word.lowercased() {
            case "yes", "on", "y": "true"
            case "no", "off", "n": "false"
            default: nil
            }
        let hint = meant.map { "; write \($0)" } ?? ""
        issues.add(node.origin, path, "\(node.kind) is not true or false\(hint)")
        return nil
    }

    private mutating func integer(
        _ word: String, _ range: ClosedRange<Int>, _ node: YAMLNode, _ path: String
    ) -> Setting.Value? {
        guard isNumberSyntax(word), word.utf8.allSatisfy({ $0 == 0x2D || $0 >= 0x30 && $0 <= 0x39 })
        else {
            issues.add(node.origin, path, "\(node.kind) is not a whole number")
            return nil
        }
        guard let value = parseInteger(word), range.contains(value) else {
            let bounds = "\(range.lowerBound) to \(range.upperBound)"
            issues.add(
                node.origin, path,
                shortened(word)
                    + (range.count == 1 ? " is not \(range.lowerBound)" : " is outside \(bounds)"))
            return nil
        }
        return .integer(value)
    }

    private mutating func number(
        _ word: String, _ range: ClosedRange<Double>, _ unit: String, _ node: YAMLNode,
        _ path: String
    ) -> Setting.Value? {
        guard isNumberSyntax(word) else {
            issues.add(
                node.origin, path,
                "\(node.kind) is not \(Kind.number(range, unit: unit).expectation)")
            return nil
        }
        guard let value = parseNumber(word), range.contains(value) else {
            let bounds = "\(numberText(range.lowerBound)) to \(numberText(range.upperBound))"
            issues.add(
                node.origin, path,
                "\(shortened(word)) is outside \(bounds)\(unit.isEmpty ? "" : " \(unit)")")
            return nil
        }
        return .number(value)
    }

    private mutating func duration(
        _ word: String, _ range: ClosedRange<Duration>, _ node: YAMLNode, _ path: String
    ) -> Setting.Value? {
        guard let value = parseDuration(word) else {
            let plain = parseNumber(word)
            let reason =
                plain.map { $0 < 0 ? "a duration is not negative" : "too long" }
                ?? "write one such as 500ms, 30s, 1h30m or 7d, or a plain number of seconds"
            issues.add(
                node.origin, path, "\(Name.quoted(word)) is not a duration; \(reason)")
            return nil
        }
        guard range.contains(value) else {
            issues.add(
                node.origin, path,
                "\(shortened(word)) is outside \(durationText(range.lowerBound)) to "
                    + durationText(range.upperBound))
            return nil
        }
        return .duration(value)
    }

    private mutating func size(
        _ word: String, _ range: ClosedRange<Int64>, _ node: YAMLNode, _ path: String
    ) -> Setting.Value? {
        guard let value = parseSize(word) else {
            let folded = word.uppercased()
            let bare = ["IB", "B"].first(where: folded.hasSuffix).map { folded.dropLast($0.count) }
            let meant = parseSize(String(bare ?? folded[...])).map { sizeText($0) }
            let hint =
                meant.map { "did you mean \($0)?" }
                ?? "write one such as 500M or 1G, or a plain number of bytes"
            issues.add(node.origin, path, "\(Name.quoted(word)) is not a size; \(hint)")
            return nil
        }
        guard range.contains(value) else {
            issues.add(
                node.origin, path,
                "\(shortened(word)) is outside \(sizeText(range.lowerBound)) to "
                    + sizeText(range.upperBound))
            return nil
        }
        return .size(value)
    }

    private mutating func choice(
        _ word: String, _ choice: Choice, _ node: YAMLNode, _ path: String
    ) -> Setting.Value? {
        var word = word
        if case .environment = node.origin {
            // What people put into LOG_LEVEL depends on the language they come from.
            word = word.lowercased()
            word = choice.synonyms[word] ?? word
        }
        if choice.values.contains(word) { return .text(word) }
        let known = choice.values.joined(separator: ", ")
        let folded = word.lowercased()
        let near = choice.synonyms[folded] ?? nearest(to: folded, among: choice.values)
        let hint = near.map { "; did you mean \"\($0)\"?" } ?? ""
        issues.add(node.origin, path, "\(Name.quoted(word)) is not one of \(known)\(hint)")
        return nil
    }

    /// Checks a text, which may also be a key, against its rule.
    mutating func text(
        _ text: String, _ rule: TextRule, _ origin: Origin, _ path: String
    ) -> String? {
        if text.utf8.count <= rule.longest, rule.accepts(text) { return text }
        let hint = rule.suggestion(text).map { "; did you mean \"\($0)\"?" } ?? ""
        let reason = rule.objection(text).map { ": \($0)" } ?? " (\(rule.rule))\(hint)"
        issues.add(origin, path, "\(rule.shown(text)) is not \(rule.what)\(reason)")
        return nil
    }

    /// A number as it was written, unless somebody wrote a very long one.
    private func shortened(_ word: String) -> String {
        word.utf8.count <= 24 ? word : word.prefix(24) + "…"
    }
}
