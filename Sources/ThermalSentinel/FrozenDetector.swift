package import Protocol

/// Finds sensors whose value never changes: firmware tables with a constant in place of a sensor.
///
/// A value from a firmware (an ACPI zone, a board chip) that is identical for `after` is not believed.
/// A silicon sensor that stands still may be right, such as a processor held at its limit, so it is
/// doubted only when another sensor of its class moved in the meantime. Disks, memory and network
/// chips in a quiet room do stand still for hours.
package struct FrozenDetector: Sendable {
    package static let after: Duration = .seconds(2 * 3600)
    /// And at least this often the same: a node that was asleep has not been watched.
    package static let leastSamples = 60

    private struct Track {
        var celsius: Double
        var since: Timestamp
        var samples: Int
    }

    private var tracks: [String: Track] = [:]

    package init() {}

    /// Takes over one scan and marks the frozen ones in it.
    package mutating func mark(_ observations: [Observation], at now: Timestamp) -> [Observation] {
        var kept: [String: Track] = [:]
        for observation in observations {
            let key = observation.sensor.key
            guard let celsius = observation.reading.celsius else {
                // A failed read says nothing about whether the value moves.
                if let track = tracks[key] { kept[key] = track }
                continue
            }
            if var track = tracks[key], track.celsius == celsius, track.since <= now {
                track.samples += 1
                kept[key] = track
            } else {
                kept[key] = Track(celsius: celsius, since: now, samples: 1)
            }
        }
        tracks = kept
        let moving = Set(
            observations.filter { $0.reading.celsius != nil && !stands($0, at: now) }
                .map(\.sensor.sensorClass))
        return observations.map { observation in
            var observation = observation
            let sensor = observation.sensor
            observation.isFrozen =
                observation.reading.celsius != nil && stands(observation, at: now)
                && (SensorClassifier.isFirmware(sensor.chip)
                    || sensor.sensorClass.isDecisive && moving.contains(sensor.sensorClass))
            return observation
        }
    }

    private func stands(_ observation: Observation, at now: Timestamp) -> Bool {
        guard let track = tracks[observation.sensor.key] else { return false }
        return now - track.since >= Self.after && track.samples >= Self.leastSamples
    }
}

extension SensorClass {
    /// Whether alerts are raised for this class.
    var isDecisive: Bool { self == .cpu || self == .gpu }
}
