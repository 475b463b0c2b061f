import Foundation
import Testing

@testable import Protocol

@Suite("Timestamps")
struct TimestampTests {
    /// Text, and nanoseconds since the epoch.
    static let good: [(String, Int64)] = [
        ("1970-01-01T00:00:00Z", 0), ("1970-01-01t00:00:00z", 0), ("1970-01-01 00:00:00Z", 0),
        ("2024-01-01T00:00:00Z", 1_704_067_200_000_000_000),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000_000_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000_000),
        ("1969-12-31T23:59:59.999Z", -1_000_000),
        ("2024-01-01T00:00:00.5Z", 1_704_067_200_500_000_000),
        ("2024-01-01T00:00:00.123456789Z", 1_704_067_200_123_456_789),
        ("2024-01-01T00:00:00.1234567899999Z", 1_704_067_200_123_456_789),
        ("2024-01-01T00:00:00.000000000000000000000000000000000000000Z", 1_704_067_200_000_000_000),
        ("2024-01-01T01:00:00+01:00", 1_704_067_200_000_000_000),
        ("2023-12-31T18:30:00-05:30", 1_704_067_200_000_000_000),
        ("2024-01-01T00:00:00-00:00", 1_704_067_200_000_000_000),
        ("2023-12-31T23:59:60Z", 1_704_067_200_000_000_000),
        ("1677-09-21T00:12:43.145224192Z", .min), ("2262-04-11T23:47:16.854775807Z", .max),
        ("2262-04-12T23:46:16.854775807+23:59", .max),
        ("1677-09-20T00:13:43.145224192-23:59", .min),
    ]

    @Test("reads RFC 3339", arguments: good)
    func reads(text: String, nanoseconds: Int64) {
        #expect(Timestamp(text)?.nanoseconds == nanoseconds)
    }

    static let bad = [
        "", "Z", "2024", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00Z", "1704067200",
        "2024-1-1T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z", "2024-01-32T00:00:00Z", "2024-04-31T00:00:00Z",
        "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z", "2024-01-01T00:00:00ZZ",
        "2024-01-01T00:00:00Z ", " 2024-01-01T00:00:00Z", "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+01:60", "2024-01-01T00:00:00+1:00",
        "+2024-01-01T00:00:00Z", "-2024-01-01T00:00:00Z", "2024-01-01T-1:00:00Z",
        "２０２４-01-01T00:00:00Z", "2024-01-01T00:00:00Zé", "0000-01-01T00:00:00Z",
        "1677-09-21T00:12:43.145224191Z", "2262-04-11T23:47:16.854775808Z",
        "1600-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1677-09-21T00:13:00+00:01",
        // What follows a text of the longest useful length counts, too.
        "2024-01-01T00:00:00." + String(repeating: "0", count: 43) + "Z!",
        "2024-01-01T00:00:00." + String(repeating: "0", count: 43) + "Z" + "2024-01-01T00:00:00Z",
        String(repeating: "2024-01-01T00:00:00Z", count: 10_000),
    ]

    @Test("refuses everything else", arguments: bad)
    func refuses(text: String) { #expect(Timestamp(text) == nil) }

    static let written: [(Int64, String)] = [
        (0, "1970-01-01T00:00:00Z"), (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"), (1_000, "1970-01-01T00:00:00.000001Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"), (120_000_000, "1970-01-01T00:00:00.120Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
        (.min, "1677-09-21T00:12:43.145224192Z"), (.max, "2262-04-11T23:47:16.854775807Z"),
    ]

    @Test("writes UTC with as many digits as needed", arguments: written)
    func writes(nanoseconds: Int64, text: String) {
        #expect(Timestamp(nanoseconds: nanoseconds).description == text)
    }

    @Test("every value is read back from its text")
    func roundTrips() {
        var value = Int64.min
        var count = 0
        while true {
            let time = Timestamp(nanoseconds: value)
            #expect(Timestamp(time.description) == time)
            count += 1
            let (next, overflow) = value.addingReportingOverflow(9_876_543_210_987_654)
            if overflow { break }
            value = next
        }
        #expect(count > 1000)
    }

    @Test("agrees with Foundation's calendar on every day of 400 years")
    func calendar() throws {
        let formatter = ISO8601DateFormatter()
        for day in stride(from: -97_000 as Int64, to: 49_000, by: 1) {
            let seconds = day * 86_400 + 43_210
            let theirs = formatter.string(from: Date(timeIntervalSince1970: Double(seconds)))
            guard Timestamp(seconds: seconds).description == theirs else {
                Issue.record("\(theirs): we say \(Timestamp(seconds: seconds))")
                return
            }
        }
    }

    @Test("milliseconds are rounded down, also before the epoch and at the ends")
    func milliseconds() {
        let pairs: [(Int64, Int64)] = [
            (1_999_999, 1_000_000), (0, 0), (-1, -1_000_000), (.max, .max - 775_807),
            (.min, .min),
        ]
        for (value, rounded) in pairs where value != .min {
            #expect(
                Timestamp(nanoseconds: value).inMilliseconds == Timestamp(nanoseconds: rounded))
        }
        #expect(Timestamp(nanoseconds: .min).inMilliseconds >= Timestamp(nanoseconds: .min))
    }

    @Test("arithmetic saturates instead of trapping")
    func saturation() {
        let end = Timestamp(nanoseconds: .max)
        let start = Timestamp(nanoseconds: .min)
        #expect(end + .seconds(1) == end)
        #expect(start - .seconds(1) == start)
        #expect(end + .seconds(Int64.max) == end)
        #expect(start + .seconds(Int64.min) == start)
        #expect(end - start == .nanoseconds(Int64.max))
        #expect(start - end == .nanoseconds(Int64.min))
        #expect(Timestamp(seconds: 5) - Timestamp(seconds: 7) == .seconds(-2))
        #expect(
            Timestamp(seconds: 5) + .milliseconds(-1500) == Timestamp(nanoseconds: 3_500_000_000))
        #expect(Duration.seconds(Int64.max).wholeNanoseconds == .max)
        #expect(Duration.seconds(Int64.min).wholeNanoseconds == .min)
        #expect(Duration.milliseconds(-1).wholeNanoseconds == -1_000_000)
        #expect(Duration.milliseconds(1500).inSeconds == 1.5)
        #expect(Timestamp(nanoseconds: -1).seconds == -1)
    }

    @Test(
        "seconds beyond the range are its ends",
        arguments: [
            (.max, .max), (.min, .min), (9_223_372_036, 9_223_372_036_000_000_000),
            (9_223_372_037, .max), (-9_223_372_037, .min), (0, 0),
        ] as [(Int64, Int64)])
    func seconds(_ row: (seconds: Int64, nanoseconds: Int64)) {
        let time = Timestamp(seconds: row.seconds)
        #expect(time.nanoseconds == row.nanoseconds)
        _ = (time.description, time - Timestamp(seconds: 1_700_000_000), time.inMilliseconds)
    }
}
