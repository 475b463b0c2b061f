extension Timestamp: CustomStringConvertible {
    /// RFC 3339 in UTC, with as many digits of a fraction (none, 3, 6 or 9) as the value has.
    package var description: String {
        String(unsafeUninitializedCapacity: Self.descriptionLimit) { write(to: $0) }
    }

    /// Appends the description.
    func write(to bytes: inout [UInt8]) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.descriptionLimit) { text in
            bytes.append(contentsOf: text.prefix(write(to: text)))
        }
    }

    /// Bytes of the longest description, and more.
    private static let descriptionLimit = 32

    /// Writes the description and returns how many bytes it has. Digit by digit: every record and message
    /// carries several of these.
    private func write(to text: UnsafeMutableBufferPointer<UInt8>) -> Int {
        let (days, second) = seconds.dividedByDay
        let (year, month, day) = Self.civil(fromDays: days)
        var end = 0
        func put(_ value: Int64, _ digits: Int, after separator: Unicode.Scalar? = nil) {
            if let separator {
                text[end] = UInt8(ascii: separator)
                end += 1
            }
            var rest = value
            for index in stride(from: end + digits - 1, through: end, by: -1) {
                text[index] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
            end += digits
        }
        put(year, 4)
        put(month, 2, after: "-")
        put(day, 2, after: "-")
        put(second / 3600, 2, after: "T")
        put(second / 60 % 60, 2, after: ":")
        put(second % 60, 2, after: ":")
        let fraction = nanoseconds.remainder(modulo: 1_000_000_000)
        if fraction % 1_000_000 == 0 {
            if fraction != 0 { put(fraction / 1_000_000, 3, after: ".") }
        } else if fraction % 1000 == 0 {
            put(fraction / 1000, 6, after: ".")
        } else {
            put(fraction, 9, after: ".")
        }
        text[end] = UInt8(ascii: "Z")
        return end + 1
    }

    /// Rounded down to whole milliseconds, which is what messages carry.
    package var inMilliseconds: Timestamp {
        let past = nanoseconds.remainder(modulo: 1_000_000)
        return Timestamp(nanoseconds: max(nanoseconds, .min + past) - past)
    }

    /// Reads RFC 3339, with `Z` or an offset; `nil` when it is anything else, or outside the range of
    /// 64-bit nanoseconds (1677-09-21 to 2262-04-11). The leap second 60 is taken as the second after 59.
    package init?(_ text: String) {
        guard text.utf8.count <= Self.textLimit else { return nil }
        var scanner = Scanner(text)
        guard let year = scanner.digits(4), scanner.take("-"), let month = scanner.digits(2),
            scanner.take("-"), let day = scanner.digits(2),
            scanner.take("T") || scanner.take("t") || scanner.take(" "),
            let hour = scanner.digits(2), scanner.take(":"), let minute = scanner.digits(2),
            scanner.take(":"), let second = scanner.digits(2),
            let fraction = scanner.fraction(), let offset = scanner.offset(), scanner.isAtEnd,
            (1...12).contains(month),
            (1...Self.daysInMonth(year, month)).contains(day), hour < 24, minute < 60, second <= 60
        else { return nil }
        let days = Self.days(fromCivil: year, month, day)
        let seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
        guard let value = Int64(exactly: Int128(seconds) * 1_000_000_000 + Int128(fraction)) else {
            return nil
        }
        nanoseconds = value
    }

    /// Bytes of the longest text that is looked at; the longest useful one has 35.
    private static let textLimit = 64

    private static func daysInMonth(_ year: Int64, _ month: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    // Days and civil dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
    // days_from_civil and civil_from_days; eras of 400 years that begin on 1 March.

    private static func days(fromCivil year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted.floorDivided(by: 400)
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146097 + dayOfEra - 719468
    }

    private static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719468
        let era = shifted.floorDivided(by: 146097)
        let dayOfEra = shifted - era * 146097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthIndex + 2) / 5 + 1)
    }

    /// Reads the pieces of a timestamp from the front of a text.
    private struct Scanner {
        private let bytes: [UInt8]
        private var position = 0

        init(_ text: String) { bytes = [UInt8](text.utf8) }

        var isAtEnd: Bool { position == bytes.count }

        mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard position < bytes.count, bytes[position] == UInt8(ascii: character) else {
                return false
            }
            position += 1
            return true
        }

        mutating func digit() -> Int64? {
            guard position < bytes.count, (0x30...0x39).contains(bytes[position]) else {
                return nil
            }
            position += 1
            return Int64(bytes[position - 1] - 0x30)
        }

        mutating func digits(_ count: Int) -> Int64? {
            var value: Int64 = 0
            for _ in 0..<count {
                guard let digit = digit() else { return nil }
                value = value * 10 + digit
            }
            return value
        }

        /// Nanoseconds of an optional fraction; digits past the ninth are dropped.
        mutating func fraction() -> Int64? {
            guard take(".") else { return 0 }
            guard var value = digit() else { return nil }
            var count = 1
            while let digit = digit() {
                if count < 9 {
                    value = value * 10 + digit
                    count += 1
                }
            }
            for _ in count..<9 { value *= 10 }
            return value
        }

        /// Seconds east of UTC.
        mutating func offset() -> Int64? {
            if take("Z") || take("z") { return 0 }
            let sign: Int64
            if take("+") { sign = 1 } else if take("-") { sign = -1 } else { return nil }
            guard let hours = digits(2), take(":"), let minutes = digits(2), hours < 24,
                minutes < 60
            else { return nil }
            return sign * (hours * 3600 + minutes * 60)
        }
    }
}

extension Int64 {
    /// Whole days and the seconds of the day, both rounded down.
    fileprivate var dividedByDay: (days: Int64, second: Int64) {
        let days = floorDivided(by: 86400)
        return (days, self - days * 86400)
    }
}
