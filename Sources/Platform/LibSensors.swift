import CSensors
import Glibc
import Synchronization

/// Temperatures by way of libsensors, for nodes where its configuration knows more than the tree shows.
///
/// The library looks only at the machine's own `/sys`, and is one global state without locks: whoever
/// calls starts it, reads, and cleans up again, one at a time. New chips need a new start anyway.
package enum LibSensors {
    /// One temperature, as the library's configuration computes it.
    package struct Temperature: Sendable, Equatable {
        /// Such as `coretemp-isa-0000`.
        package var chip: String
        /// The driver's name, such as `coretemp`.
        package var prefix: String
        /// The N of `tempN`.
        package var channel: Int
        /// The driver's or the configuration's label; the feature's name where there is none.
        package var label: String
        /// Degrees Celsius, or the library's error number (`-SENSORS_ERR_…`).
        package var celsius: Result<Double, ReadFailure>
        /// The driver says that the diode is broken.
        package var isFaulty: Bool

        package init(
            chip: String, prefix: String, channel: Int, label: String,
            celsius: Result<Double, ReadFailure>, isFaulty: Bool
        ) {
            self.chip = chip
            self.prefix = prefix
            self.channel = channel
            self.label = label
            self.celsius = celsius
            self.isFaulty = isFaulty
        }
    }

    /// The library's answer in place of a value. It does not keep the errno.
    package struct ReadFailure: Error, Equatable {
        package var code: Int32

        package init(code: Int32) { self.code = code }
    }

    static let maxTemperatures = 1024
    private static let chipNameSize = 256
    private static let library = Mutex(())

    /// All temperatures; empty where there are no chips or the library does not start.
    package static func temperatures() -> [Temperature] {
        library.withLock { _ in
            guard sensors_init(nil) == 0 else { return [] }
            defer { sensors_cleanup() }
            var temperatures: [Temperature] = []
            var chipNumber: Int32 = 0
            while let chip = sensors_get_detected_chips(nil, &chipNumber) {
                var featureNumber: Int32 = 0
                while let feature = sensors_get_features(chip, &featureNumber) {
                    guard feature.pointee.type == SENSORS_FEATURE_TEMP,
                        temperatures.count < maxTemperatures
                    else { continue }
                    if let temperature = temperature(chip, feature) {
                        temperatures.append(temperature)
                    }
                }
            }
            return temperatures
        }
    }

    private static func temperature(
        _ chip: UnsafePointer<sensors_chip_name>, _ feature: UnsafePointer<sensors_feature>
    ) -> Temperature? {
        guard let input = sensors_get_subfeature(chip, feature, SENSORS_SUBFEATURE_TEMP_INPUT)
        else { return nil }
        var value = 0.0
        let code = sensors_get_value(chip, input.pointee.number, &value)
        var fault = 0.0
        if let subfeature = sensors_get_subfeature(chip, feature, SENSORS_SUBFEATURE_TEMP_FAULT) {
            _ = sensors_get_value(chip, subfeature.pointee.number, &fault)
        }
        let name = String(cString: feature.pointee.name)
        return Temperature(
            chip: chipName(chip), prefix: cut(String(cString: chip.pointee.prefix)),
            channel: Int(name.dropFirst("temp".count)) ?? 0,
            label: label(chip, feature) ?? name,
            celsius: code == 0 ? .success(value) : .failure(ReadFailure(code: code)),
            isFaulty: fault != 0)
    }

    private static func label(
        _ chip: UnsafePointer<sensors_chip_name>, _ feature: UnsafePointer<sensors_feature>
    ) -> String? {
        guard let text = sensors_get_label(chip, feature) else { return nil }
        defer { free(text) }
        return cut(String(cString: text))
    }

    private static func chipName(_ chip: UnsafePointer<sensors_chip_name>) -> String {
        var buffer = [CChar](repeating: 0, count: chipNameSize)
        guard sensors_snprintf_chip_name(&buffer, buffer.count, chip) > 0 else { return "" }
        return cut(
            String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        )
    }

    private static func cut(_ text: String) -> String {
        String(text.prefix(SensorLimits.maxTextLength))
    }
}
