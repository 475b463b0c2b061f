import Synchronization

/// A number that only grows.
package final class Counter: Sendable {
    private let count = Atomic<UInt64>(0)

    init() {}

    package func increment(by amount: UInt64 = 1) { count.wrappingAdd(amount, ordering: .relaxed) }

    package var value: UInt64 { count.load(ordering: .relaxed) }
}

/// A number that goes up and down.
package final class Gauge: Sendable {
    /// The bits of a Double, since floating point has no atomic of its own.
    private let bits = Atomic<UInt64>(0)

    init() {}

    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    /// Adds to the value; a negative amount takes away.
    package func add(_ amount: Double) { bits.addDouble(amount) }

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// How often values fell below each of some bounds.
package final class Histogram: Sendable {
    /// For times in seconds: 0.1 ms to 10 s, three to a decade.
    package static let secondsBounds: [Double] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
        10,
    ]

    /// Upper bounds, ascending.
    package let bounds: [Double]
    private let buckets: [Counter]
    private let total = Atomic<UInt64>(0)

    init(bounds: [Double]) {
        precondition(
            zip(bounds, bounds.dropFirst()).allSatisfy(<) && bounds.allSatisfy(\.isFinite),
            "the bounds of a histogram ascend")
        self.bounds = bounds
        buckets = (0...bounds.count).map { _ in Counter() }
    }

    /// Counts one value; one that is not a number is dropped, since it would spoil the sum for ever.
    package func observe(_ value: Double) {
        guard value.isFinite else { return }
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        buckets[index].increment()
        total.addDouble(value)
    }

    /// Counts a time, in seconds.
    package func observe(_ duration: Duration) {
        observe(
            Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18)
    }

    package var count: UInt64 { buckets.reduce(0) { $0 &+ $1.value } }

    package var sum: Double { Double(bitPattern: total.load(ordering: .relaxed)) }

    /// For each bound, and for no bound, how many values were at or below it.
    func cumulativeCounts() -> [UInt64] {
        var sum: UInt64 = 0
        return buckets.map { bucket in
            sum &+= bucket.value
            return sum
        }
    }
}

extension Atomic where Value == UInt64 {
    /// Adds to a Double kept as bits.
    fileprivate borrowing func addDouble(_ amount: Double) {
        var old = load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, current) = weakCompareExchange(
                expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = current
        }
    }
}
