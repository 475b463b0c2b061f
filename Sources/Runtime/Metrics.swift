package import Protocol
import Synchronization

/// Numbers about this process, for Prometheus and `skos status`.
///
/// Taking a series out of the registry costs a lock, so take it once and keep it; counting costs one
/// atomic operation. Asking again for the same name and labels gives the same series.
package final class Metrics: Sendable {
    /// Series of one name. What comes after goes into one whose labels all say `other`, so that names
    /// made up by a hostile peer cannot fill the memory.
    package static let seriesLimit = 256
    /// Bytes of a label's value that are kept.
    package static let labelLimit = 128

    private let families = Mutex<[String: Family]>([:])

    package init() {}

    /// A number that only grows; its name is `skos_…_total`.
    package func counter(_ name: String, _ help: String, labels: [String: String] = [:]) -> Counter
    {
        precondition(name.hasSuffix("_total"), "the counter \(name) must end in _total")
        let series = series(name, help, .counter, labels) { .counter(Counter()) }
        guard case .counter(let counter) = series else { preconditionFailure("checked by series") }
        return counter
    }

    /// A number that goes up and down.
    package func gauge(_ name: String, _ help: String, labels: [String: String] = [:]) -> Gauge {
        let series = series(name, help, .gauge, labels) { .gauge(Gauge()) }
        guard case .gauge(let gauge) = series else { preconditionFailure("checked by series") }
        return gauge
    }

    /// How often values fell below each of some upper bounds, which ascend; one without limit is added.
    package func histogram(
        _ name: String, _ help: String, labels: [String: String] = [:],
        bounds: [Double] = Histogram.secondsBounds
    ) -> Histogram {
        let series = series(name, help, .histogram, labels) {
            .histogram(Histogram(bounds: bounds))
        }
        guard case .histogram(let histogram) = series else {
            preconditionFailure("checked by series")
        }
        return histogram
    }

    /// Everything in Prometheus' text format, version 0.0.4; sorted, so that two texts can be compared.
    package func text() -> String {
        var text = ""
        for (name, family) in sortedFamilies() {
            text +=
                "# HELP \(name) \(Self.escaped(family.help))\n# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, series) in family.sortedSeries() {
                text += series.text(name: name, labels: labels)
            }
        }
        return text
    }

    /// Every number by its name and labels; a histogram as its count and sum.
    package func snapshot() -> JSON.Object {
        var members: [(name: String, value: JSON)] = []
        for (name, family) in sortedFamilies() {
            for (labels, series) in family.sortedSeries() {
                let suffix = labels.isEmpty ? "" : "{\(labels)}"
                switch series {
                case .counter(let counter):
                    members.append((name + suffix, .integer(Int64(clamping: counter.value))))
                case .gauge(let gauge): members.append((name + suffix, .number(gauge.value)))
                case .histogram(let histogram):
                    let count = Int64(clamping: histogram.count)
                    members.append(("\(name)_count\(suffix)", .integer(count)))
                    members.append(("\(name)_sum\(suffix)", .number(histogram.sum)))
                }
            }
        }
        return JSON.Object(uniqueMembers: members)
    }

    private func sortedFamilies() -> [(key: String, value: Family)] {
        families.withLock { $0 }.sorted { $0.key < $1.key }
    }

    private func series(
        _ name: String, _ help: String, _ kind: Kind, _ labels: [String: String],
        make: () -> Series
    ) -> Series {
        precondition(Self.isName(name), "\(name) is not skos_ and [a-z0-9_]")
        precondition(labels.keys.allSatisfy(Self.isLabel), "\(labels.keys) are not all [a-z_]")
        return families.withLock { families in
            var family = families[name] ?? Family(kind: kind, help: help, series: [:])
            precondition(family.kind == kind, "\(name) is a \(family.kind) and cannot be a \(kind)")
            var key = Self.text(labels)
            if let known = family.series[key] { return known }
            if family.series.count >= Self.seriesLimit {
                key = Self.text(labels.mapValues { _ in "other" })
                if let other = family.series[key] { return other }
            }
            let new = make()
            family.series[key] = new
            families[name] = family
            return new
        }
    }

    private static func text(_ labels: [String: String]) -> String {
        labels.sorted { $0.key < $1.key }.map { name, value in
            let short = String(decoding: value.utf8.prefix(labelLimit), as: UTF8.self)
            return "\(name)=\"\(escaped(short, quotes: true))\""
        }.joined(separator: ",")
    }

    private static func isName(_ name: String) -> Bool {
        name.hasPrefix("skos_")
            && name.utf8.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) }
    }

    private static func isLabel(_ name: String) -> Bool {
        !name.isEmpty && name != "le" && name.utf8.allSatisfy(isLetter)
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || byte == UInt8(ascii: "_")
    }

    private static func escaped(_ text: String, quotes: Bool = false) -> String {
        text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(scalar)
            }
        }
    }

    private enum Kind: String {
        case counter, gauge, histogram
    }

    private struct Family {
        var kind: Kind
        var help: String
        /// By the text of the labels.
        var series: [String: Series]

        func sortedSeries() -> [(key: String, value: Series)] { series.sorted { $0.key < $1.key } }
    }

    private enum Series {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)

        func text(name: String, labels: String) -> String {
            let suffix = labels.isEmpty ? "" : "{\(labels)}"
            switch self {
            case .counter(let counter): return "\(name)\(suffix) \(counter.value)\n"
            case .gauge(let gauge): return "\(name)\(suffix) \(number(gauge.value))\n"
            case .histogram(let histogram):
                var text = ""
                let comma = labels.isEmpty ? "" : ","
                // The buckets are read first and the count is their sum, so that the text agrees with
                // itself while others count.
                let cumulative = histogram.cumulativeCounts()
                for (bound, count) in zip(histogram.bounds + [.infinity], cumulative) {
                    text += "\(name)_bucket{\(labels)\(comma)le=\"\(number(bound))\"} \(count)\n"
                }
                text += "\(name)_sum\(suffix) \(number(histogram.sum))\n"
                return text + "\(name)_count\(suffix) \(cumulative.last ?? 0)\n"
            }
        }

        private func number(_ value: Double) -> String {
            if value == .infinity { return "+Inf" }
            if value == -.infinity { return "-Inf" }
            return value.isNaN ? "NaN" : value.description
        }
    }
}
