import Protocol

/// Thresholds and clear thresholds, by severity from the mildest. What is missing was refused.
struct LevelSettings {
    var thresholds: [Setting?]
    var clears: [Setting?]
}

/// Thresholds of what is measured, and what is wrong with them.
extension Compiler {
    private static var levels: [(name: String, path: WritableKeyPath<Config.Levels, Double>)] {
        [("warning", \.warning), ("critical", \.critical), ("emergency", \.emergency)]
    }

    mutating func thermal(_ section: Values?) -> Config.Thermal {
        var thermal = Config.Thermal()
        guard let section else { return thermal }
        set(&thermal.holdFor, section.duration("for"))
        let levels = levels(section, ("thresholds", "clear")) { $0 - Schema.clearMargin }
        apply(levels.thresholds, to: &thermal.thresholds)
        apply(levels.clears, to: &thermal.clear)
        return thermal
    }

    /// Reads the thresholds of one measure, under these two keys, and checks them.
    ///
    /// `others` hold for a severity of which nothing is said; `fallback` is the clear threshold that
    /// follows from a threshold.
    mutating func levels(
        _ section: Values, _ keys: (thresholds: String, clears: String),
        like others: LevelSettings? = nil, clearFor fallback: (Double) -> Double
    ) -> LevelSettings {
        let names = Self.levels.map(\.name)
        var thresholds = names.map { section.section(keys.thresholds)?[$0] }
        var clears = names.map { section.section(keys.clears)?[$0] }
        for index in names.indices {
            let isOwn = thresholds[index] != nil
            if !isOwn { thresholds[index] = others?.thresholds[index].map(inherited) }
            if let clear = clears[index] {
                if let threshold = thresholds[index] { checkClear(clear, threshold) }
            } else if !isOwn, let other = others?.clears[index] {
                clears[index] = inherited(other)
            } else if let value = thresholds[index].flatMap(number) {
                clears[index] = Setting(
                    value: .number(fallback(value)), origin: .fallback,
                    path: "\(keys.clears).\(names[index])")
            }
        }
        checkAscending(thresholds, names)
        checkClearsAscending(clears, names)
        return LevelSettings(thresholds: thresholds, clears: clears)
    }

    private func inherited(_ setting: Setting) -> Setting {
        Setting(value: setting.value, origin: .fallback, path: setting.path)
    }

    func apply(_ settings: [Setting?], to levels: inout Config.Levels) {
        for (setting, level) in zip(settings, Self.levels) {
            if let value = setting.flatMap(number) { levels[keyPath: level.path] = value }
        }
    }

    private func number(_ setting: Setting) -> Double? {
        if case .number(let value) = setting.value { value } else { nil }
    }

    /// Each threshold must be above the one before.
    private mutating func checkAscending(_ settings: [Setting?], _ names: [String]) {
        check(settings, names, isWrong: >=, above: "not above", below: "not below")
    }

    private mutating func checkClear(_ clear: Setting, _ threshold: Setting) {
        guard let low = number(clear), let high = number(threshold), low >= high else { return }
        issues.add(
            clear.origin, clear.path,
            "\(numberText(low)) is not below its threshold "
                + "(\(numberText(high))\(source(threshold)))")
    }

    /// A node that cools down must leave emergency before critical, and critical before warning.
    private mutating func checkClearsAscending(_ clears: [Setting?], _ names: [String]) {
        check(clears, names, isWrong: >, above: "below that of", below: "above that of")
    }

    /// Compares each with the next; the issue goes to the one that somebody wrote. `above` is what is wrong
    /// with the upper one, `below` with the lower one.
    private mutating func check(
        _ settings: [Setting?], _ names: [String], isWrong: (Double, Double) -> Bool,
        above: String, below: String
    ) {
        for index in 1..<settings.count {
            guard let lower = settings[index - 1], let upper = settings[index],
                let low = number(lower), let high = number(upper), isWrong(low, high)
            else { continue }
            if upper.origin.isGiven {
                issues.add(
                    upper.origin, upper.path,
                    "\(numberText(high)) is \(above) \(names[index - 1]) "
                        + "(\(numberText(low))\(source(lower)))")
            } else if lower.origin.isGiven {
                issues.add(
                    lower.origin, lower.path,
                    "\(numberText(low)) is \(below) \(names[index]) "
                        + "(\(numberText(high))\(source(upper)))")
            }
        }
    }
}
