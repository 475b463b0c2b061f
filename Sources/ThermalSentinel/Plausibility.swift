import Glibc
package import Platform

/// The rules that tell a temperature from the many other things drivers say in its place.
package enum Plausibility {
    /// `THERMAL_TEMP_INVALID` of the kernel's thermal framework.
    static let thermalInvalid: Int64 = -274_000
    /// 0 K: an unset limit, or an NVMe controller without a sensor.
    static let zeroKelvin: Int64 = -273_150
    /// 0xFFFF K: "no limit" of an NVMe disk.
    static let nvmeNoLimit: Int64 = 65_261_850
    /// A register that reads all zeros or all ones: nothing is connected, or the driver is stuck.
    static let stuck: Set<Int64> = [0, 127_000, 128_000, 255_000, 511_000]
    /// Below and above these no sensor in a computer measures anything.
    static let floorMillidegrees: Int64 = -40_000
    static let ceilingMillidegrees: Int64 = 150_000

    /// The temperatures that one class can have in a machine that still answers, in millidegrees.
    /// Processors and graphics chips switch themselves off between 100 and 120 °C.
    static func range(of sensorClass: SensorClass) -> ClosedRange<Int64> {
        switch sensorClass {
        case .cpu, .gpu: -20_000...125_000
        case .disk, .memory: -30_000...110_000
        case .nic, .board, .other: (floorMillidegrees + 1)...ceilingMillidegrees
        }
    }

    /// Judges the content of a `tempN_input` or a zone's `temp`.
    package static func judge(content: [UInt8], class sensorClass: SensorClass) -> Reading {
        guard let value = Int64(sysfs: content) else {
            return .unknown(reason: content.isEmpty ? "empty" : "not a number")
        }
        return judge(millidegrees: value, class: sensorClass)
    }

    /// Judges a raw value. 64 bits, because some board chips report 3,900,000,000.
    package static func judge(millidegrees value: Int64, class sensorClass: SensorClass) -> Reading
    {
        switch value {
        case thermalInvalid: return .unknown(reason: "invalid (-274)")
        case zeroKelvin: return .unknown(reason: "unset (0 K)")
        case nvmeNoLimit: return .unknown(reason: "unset (65535 K)")
        default: break
        }
        if stuck.contains(value) { return .implausible(reason: "stuck at \(value)") }
        guard value > floorMillidegrees, value <= ceilingMillidegrees,
            range(of: sensorClass).contains(value)
        else { return .implausible(reason: "out of range: \(value)") }
        return .ok(celsius: Double(value) / 1000)
    }

    /// Judges a temperature that did not come from sysfs, in degrees Celsius.
    package static func judge(celsius: Double, class sensorClass: SensorClass) -> Reading {
        guard celsius.isFinite, abs(celsius) < 1e12 else {
            return .implausible(reason: "not a finite number")
        }
        return judge(millidegrees: Int64((celsius * 1000).rounded()), class: sensorClass)
    }

    /// What a failed read says about the sensor. Limits and trip points that cannot be read say
    /// nothing; they are not read through this.
    /// - `chip`: the driver's name.
    package static func judge(failure: FileFailure, chip: String) -> Reading {
        guard let code = failure.errno else { return .unknown(reason: failure.shortReason) }
        switch code {
        // amdgpu refuses to wake a suspended GPU, even for root.
        case EPERM where chip == "amdgpu": return .asleep
        // Nothing behind the attribute: an empty slot, a GPU that this model does not have, or a
        // device that has just been taken out.
        case ENXIO, ENODEV, ENOENT: return .absent(reason: errnoName(code))
        default: return .unknown(reason: errnoName(code))
        }
    }

    /// Whether the tree has to be searched again after such a failure: something was plugged or
    /// unplugged.
    package static func asksForSearch(_ failure: FileFailure) -> Bool {
        failure.errno == ENODEV || failure.errno == ENOENT
    }
}
