package import Protocol

/// Foretells when something that fills is full. Pure.
///
/// The speed is the median of the slopes between all pairs of points (Theil and Sen), so that a file
/// that comes or goes once does not count as a trend.
package struct Forecast: Sendable, Equatable {
    /// Time between two points that are kept.
    package static let step: Duration = .seconds(120)
    /// Points that are kept: an hour.
    package static let pointLimit = 30
    package static let leastPoints = 10
    package static let leastSpan: Duration = .seconds(30 * 60)
    /// After somebody has made this much room of what was used, what was before says nothing.
    package static let resetDrop = 0.05

    private struct Point: Equatable {
        var time: Timestamp
        var used: Double
    }

    private var points: [Point] = []
    /// Per second; `nil`: not known yet.
    package private(set) var speed: Double?

    package init() {}

    /// Takes in how much is used. Points that come too soon after the last one are left out.
    package mutating func observe(_ used: Double, at now: Timestamp) {
        if let last = points.last {
            if now < last.time || used < last.used * (1 - Self.resetDrop) {
                points = []
                speed = nil
            } else if now - last.time < Self.step {
                return
            }
        }
        points.append(Point(time: now, used: used))
        if points.count > Self.pointLimit { points.removeFirst() }
        speed = slope()
    }

    /// How long the rest will do; `nil`: not known. What does not fill lasts for ever.
    package func timeLeft(_ rest: Double) -> Duration? {
        guard let speed else { return nil }
        guard speed > 0 else { return Self.forever }
        let seconds = rest / speed
        return seconds < Self.forever.inSeconds ? .seconds(seconds) : Self.forever
    }

    /// Longer than anybody plans.
    static let forever: Duration = .seconds(3_650 * 86_400)

    private func slope() -> Double? {
        guard points.count >= Self.leastPoints, let first = points.first, let last = points.last,
            last.time - first.time >= Self.leastSpan
        else { return nil }
        var slopes: [Double] = []
        slopes.reserveCapacity(points.count * (points.count - 1) / 2)
        for (index, left) in points.enumerated() {
            for right in points[(index + 1)...] {
                slopes.append((right.used - left.used) / (right.time - left.time).inSeconds)
            }
        }
        slopes.sort()
        let middle = slopes.count / 2
        return slopes.count % 2 == 1 ? slopes[middle] : (slopes[middle - 1] + slopes[middle]) / 2
    }
}
