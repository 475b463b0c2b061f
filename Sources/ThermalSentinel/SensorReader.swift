import Glibc
package import Platform

/// Reads one sensor from sysfs and judges what it says.
package struct SensorReader: Sendable {
    /// How often a sensor that answers EAGAIN ("not ready") is asked again, and after how long.
    static let retries = 3
    static let retryMicroseconds: UInt32 = 50_000
    /// A temperature is at most 20 digits; anything longer is not one.
    static let valueLimit = 64

    package let files: any FileAccess

    package init(files: any FileAccess) { self.files = files }

    /// One look. May block, sleeps at most `retries` times.
    /// - `failure`: set to the read's failure, when that was the reason.
    package func read(_ sensor: Sensor, failure: inout FileFailure?) -> Reading {
        if let path = sensor.runtimeStatusPath, files.textIfReadable(path) == "suspended" {
            return .asleep
        }
        switch sensor.source {
        case .channel(let channel):
            if let reason = disabled(channel) { return .disabled(reason: reason) }
            if let path = channel.faultPath, let fault = files.integerIfReadable(path), fault != 0 {
                return .unknown(reason: "fault flag set")
            }
            return value(at: channel.inputPath, of: sensor, &failure)
        case .zone(let tempPath, let modePath):
            if let path = modePath, files.textIfReadable(path) == "disabled" {
                return .disabled(reason: "mode is disabled")
            }
            return value(at: tempPath, of: sensor, &failure)
        case .nvidia, .libsensors:
            return .unknown(reason: "not a file")
        }
    }

    private func disabled(_ channel: HwmonChip.Channel) -> String? {
        if channel.type == 0 { return "type is 0" }
        guard let path = channel.enablePath, files.integerIfReadable(path) == 0 else { return nil }
        return "enable is 0"
    }

    private func value(
        at path: String?, of sensor: Sensor, _ failure: inout FileFailure?
    ) -> Reading {
        guard let path else { return .absent(reason: "no value file") }
        for attempt in 0...Self.retries {
            do throws(FileFailure) {
                let content = try files.read(path, limit: Self.valueLimit)
                failure = nil
                return Plausibility.judge(content: content, class: sensor.sensorClass)
            } catch {
                failure = error
                guard error.errno == EAGAIN, attempt < Self.retries else {
                    return Plausibility.judge(failure: error, chip: sensor.chip)
                }
                usleep(Self.retryMicroseconds)
            }
        }
        return .unknown(reason: errnoName(EAGAIN))
    }
}
