package import Protocol

/// Texts for a terminal.
package enum Text {
    /// Foreign text without anything that could move a cursor, end a line or turn the direction of what
    /// follows: such characters come out as `\u{…}`.
    package static func safe(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            result +=
                isControl(scalar)
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
    }

    /// A command that people are told to paste into a shell, about something with a foreign name. Backticks
    /// stand around it only where the name has none of its own, nor anything else that a shell reads.
    package static func command(_ verb: String, _ name: String) -> String {
        let name = safe(name)
        let word = Name.shellWord(name)
        return word == name ? "`skos \(verb) \(word)`" : "skos \(verb) \(word)"
    }

    /// Foreign text in quotes, short.
    package static func quoted(_ text: String) -> String { Name.quoted(safe(text)) }

    /// JSON text in which control characters above 0x1F, which JSON allows, are escaped too.
    package static func safeJSON(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { $0 != "\n" && isControl($0) }) else {
            return text
        }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            guard scalar != "\n", isControl(scalar) else {
                result.unicodeScalars.append(scalar)
                return
            }
            // All of them are in the basic plane, and JSON has them only inside strings.
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: true
        default: false
        }
    }

    /// A duration with its two largest units: `1h5m`, `12s`, `350ms`; `-` before negative ones.
    package static func short(_ duration: Duration) -> String {
        let milliseconds = duration.wholeNanoseconds / 1_000_000
        if milliseconds < 0 { return "-" + short(.zero - duration) }
        if milliseconds < 1000 { return "\(milliseconds)ms" }
        var rest = milliseconds / 1000
        var text = ""
        var units = 0
        for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
            as [(String, Int64)]
        {
            let count = rest / seconds
            rest %= seconds
            if units == 2 || (count == 0 && units == 0) { continue }
            units += 1
            if count > 0 { text += "\(count)\(unit)" }
        }
        return text
    }

    /// A time as people read it, in UTC, which the Z says: `2026-11-21 09:07:07Z`.
    package static func time(_ time: Timestamp) -> String {
        String(Timestamp(seconds: time.seconds).description.map { $0 == "T" ? " " : $0 })
    }

    /// The time of the day with milliseconds, in UTC: `09:07:07.123`.
    package static func clock(_ time: Timestamp) -> String {
        let text = time.inMilliseconds.description
        let clock = text.dropFirst(11).dropLast()
        return clock.contains(".") ? String(clock) : clock + ".000"
    }

    /// A number without a fraction where it has none, and with at most two digits of one.
    package static func number(_ value: Double) -> String {
        if let whole = Int64(exactly: value) { return String(whole) }
        guard abs(value) < 1e15 else { return "\(value)" }
        let hundredths = Int64((value * 100).rounded())
        let digits = String(hundredths.magnitude % 100)
        let fraction = digits.count == 1 ? "0" + digits : digits
        let text = "\(hundredths.magnitude / 100).\(fraction)"
        let short = text.hasSuffix("0") ? String(text.dropLast()) : text
        return hundredths < 0 ? "-" + short : short
    }

    /// At most this many bytes of a text, ending in `…` when some were dropped.
    package static func cut(_ text: String, _ limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var short = text.unicodeScalars
        while short.count > 0, String(short).utf8.count > limit - 3 { short.removeLast() }
        return String(short) + "…"
    }

    /// `1 record`, `2 records`.
    package static func count(_ count: Int, _ noun: String) -> String {
        "\(count) \(noun)\(count == 1 ? "" : "s")"
    }
}

extension Text {
    /// What an alert is about: its type and its resource. A mount point has a slash of its own.
    static func symptom(_ type: String, _ resource: String) -> String {
        guard !resource.isEmpty else { return type }
        return type + (resource.hasPrefix("/") ? " " : "/") + resource
    }
}
