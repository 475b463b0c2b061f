package import Antibody
package import Protocol
import Settings

/// Turns what the sensors said into heartbeat members, metadata and symptoms. Pure.
package struct ThermalReport: Sendable {
    /// At most this many sensors are listed in a heartbeat, the important ones first.
    package static let maxListed = 96
    /// And at most about this many bytes of them: a message holds 64 KiB in all.
    package static let maxListedBytes = 24 * 1024

    /// The hottest trustworthy sensor of a class; of each chip only its best rank counts.
    package static func hottest(
        _ sensorClass: SensorClass, in observations: [Observation]
    ) -> Observation? {
        var best: [String: SensorRank] = [:]
        let candidates = observations.filter {
            $0.sensor.sensorClass == sensorClass && $0.trusted != nil
                && $0.sensor.rank < .informative
        }
        for candidate in candidates {
            let sensor = candidate.sensor
            best[sensor.group] = min(best[sensor.group] ?? sensor.rank, sensor.rank)
        }
        return candidates.filter { $0.sensor.rank == best[$0.sensor.group] }
            .max { ($0.trusted ?? 0) < ($1.trusted ?? 0) }
    }

    /// A chip that was hotter than all that still answer, and now does not: what they say is no
    /// answer for it. `nil` when there is none.
    /// - `last`: the last trusted temperature of each chip of the class; brought up to date.
    /// - `clear`: a chip that was below this is not missed.
    package static func lostChip(
        _ sensorClass: SensorClass, in observations: [Observation], last: inout [String: Double],
        above clear: Double
    ) -> String? {
        var now: [String: Double] = [:]
        var silent: [String: String] = [:]
        for observation in observations where observation.sensor.sensorClass == sensorClass {
            let (group, rank) = (observation.sensor.group, observation.sensor.rank)
            if let celsius = observation.trusted, rank < .informative {
                now[group] = max(now[group] ?? celsius, celsius)
            } else if observation.reading.isFailure {
                silent[group] = observation.sensor.id
            }
        }
        let top = now.values.max() ?? -.infinity
        let lost = silent.keys.sorted().first { group in
            guard now[group] == nil, let before = last[group] else { return false }
            return before >= clear && before > top
        }
        // Chips that were taken out or put to sleep are forgotten, silent ones are not.
        for (group, celsius) in last where silent[group] != nil && now[group] == nil {
            now[group] = celsius
        }
        last = now
        return lost.flatMap { silent[$0] }
    }

    /// The list of all sensors for the heartbeat's metadata.
    package static func listing(_ observations: [Observation]) -> [JSON] {
        let ordered = observations.enumerated().sorted { left, right in
            let (one, other) = (left.element.sensor, right.element.sensor)
            if one.sensorClass != other.sensorClass { return one.sensorClass < other.sensorClass }
            if one.rank != other.rank { return one.rank < other.rank }
            return left.offset < right.offset
        }
        var list: [JSON] = []
        var bytes = 0
        for (_, observation) in ordered.prefix(maxListed) {
            let entry = entry(observation)
            bytes += entry.members.reduce(2) { $0 + $1.name.utf8.count + 6 + weight($1.value) }
            if bytes > maxListedBytes { break }
            list.append(.object(entry))
        }
        return list
    }

    private static func entry(_ observation: Observation) -> JSON.Object {
        let sensor = observation.sensor
        var entry: JSON.Object = ["id": .string(sensor.id), "chip": .string(sensor.chip)]
        if let label = sensor.label { entry["label"] = .string(label) }
        entry["class"] = .string(sensor.sensorClass.rawValue)
        if let celsius = observation.reading.celsius { entry["celsius"] = JSON(celsius) }
        entry["state"] = .string(observation.isFrozen ? "frozen" : observation.reading.state)
        if let reason = observation.reading.reason { entry["reason"] = .string(reason) }
        if let critical = sensor.critical { entry["critical"] = JSON(critical) }
        return entry
    }

    /// About how many bytes a value takes as JSON text; a control character takes six.
    private static func weight(_ value: JSON) -> Int {
        guard case .string(let text) = value else { return 8 }
        return text.utf8.reduce(2) { $0 + ($1 < 0x20 ? 6 : $1 == 0x22 || $1 == 0x5C ? 2 : 1) }
    }

    /// The symptom of one resource.
    /// - `resource`: `cpu` or `gpu`.
    /// - `hottest`: the sensor that decides, or `nil` when none can be trusted now.
    /// - `verdict`: what the detector made of it.
    /// - `lost`: the sensor that was the hottest and does not answer.
    package static func symptom(
        _ resource: String, _ hottest: Observation?, _ verdict: Detector.Verdict,
        lost: String? = nil
    ) -> Symptom {
        let title = resource.uppercased() + " temperature"
        guard let hottest, let celsius = hottest.trusted else {
            let reason = lost.map { "\($0) was hot and does not answer" }
            return Symptom(
                type: "thermal", resource: resource, severity: nil,
                message: "\(title) is not known: \(reason ?? "no sensor of it can be trusted now")")
        }
        var symptom = Symptom(
            type: "thermal", resource: resource, severity: verdict.severity,
            message: message(title, celsius, verdict))
        symptom.value = celsius
        symptom.unit = "celsius"
        symptom.threshold = verdict.threshold
        symptom.details = [
            "sensor": .string(resource), "temperature": JSON(celsius),
            "threshold": JSON(verdict.threshold), "chip": .string(hottest.sensor.chip),
            "sensor_id": .string(hottest.sensor.id),
        ]
        if let label = hottest.sensor.label { symptom.details["label"] = .string(label) }
        return symptom
    }

    private static func message(
        _ title: String, _ celsius: Double, _ verdict: Detector.Verdict
    ) -> String {
        let subject = "\(title) \(oneDecimal(celsius))°C"
        guard let severity = verdict.severity else {
            return "\(subject), waiting for a second sample"
        }
        if severity == .ok { return "\(subject) is below the warning threshold" }
        if celsius >= verdict.threshold {
            return "\(subject) exceeds \(severity.rawValue) threshold"
        }
        return "\(subject) stays \(severity.rawValue): it has not cleared yet"
    }
}

extension JSON {
    /// A number, without a fraction where it has none.
    init(_ value: Double) {
        if let whole = Int64(exactly: value) {
            self = .integer(whole)
        } else {
            self = .number(value)
        }
    }
}

/// A number with one digit after the point, such as `87.5`.
func oneDecimal(_ value: Double) -> String {
    // Values here are temperatures; the bound only keeps the conversion from trapping.
    let tenths = Int64((min(max(value, -1e12), 1e12) * 10).rounded())
    let digits = "\(tenths.magnitude / 10).\(tenths.magnitude % 10)"
    return tenths < 0 ? "-" + digits : digits
}
