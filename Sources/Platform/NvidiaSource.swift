/// Where NVIDIA GPUs are read and limited. They are in no hwmon tree with NVIDIA's own driver, so this
/// is NVML, or `nvidia-smi` where the library cannot be loaded. All functions may block.
package protocol NvidiaSource: Sendable {
    /// The GPUs and their temperatures; empty where there is no NVIDIA driver.
    func temperatures() -> [NvidiaTemperature]
    /// The GPUs whose power can be limited, with the limits in force.
    func powerLimits() -> [NvidiaPowerLimit]
    /// The power limit of one GPU, in milliwatts.
    func powerLimit(uuid: String) throws(NvidiaFailure) -> Int64
    /// Sets the power limit of one GPU, in milliwatts.
    func setPowerLimit(uuid: String, milliwatts: Int64) throws(NvidiaFailure)
}

/// One NVIDIA GPU's temperature.
package struct NvidiaTemperature: Sendable, Equatable {
    package var uuid: String
    package var name: String
    /// Degrees Celsius, or why there are none.
    package var celsius: Result<Double, NvidiaFailure>

    package init(uuid: String, name: String, celsius: Result<Double, NvidiaFailure>) {
        self.uuid = uuid
        self.name = name
        self.celsius = celsius
    }
}

/// One NVIDIA GPU's power limit, in milliwatts.
package struct NvidiaPowerLimit: Sendable, Equatable {
    package var uuid: String
    package var name: String
    package var limit: Int64
    package var least: Int64
    package var most: Int64

    package init(uuid: String, name: String, limit: Int64, least: Int64, most: Int64) {
        self.uuid = uuid
        self.name = name
        self.limit = limit
        self.least = least
        self.most = most
    }
}

/// What NVML or `nvidia-smi` answered instead.
package struct NvidiaFailure: Error, Equatable, CustomStringConvertible {
    /// NVML's return code, such as 3 (not supported) and 4 (no permission); `nil` without one.
    package var code: Int32?
    package var message: String
    /// There is no such GPU (any more), and so nothing of ours is left on it.
    package var isMissing: Bool

    package init(code: Int32? = nil, message: String, isMissing: Bool = false) {
        self.code = code
        self.message = message
        self.isMissing = isMissing
    }

    /// `NVML_ERROR_NOT_SUPPORTED`: a normal answer of some models, not a fault.
    package static let notSupported: Int32 = 3
    /// `NVML_ERROR_NO_PERMISSION`.
    package static let noPermission: Int32 = 4

    package var description: String { message }
}
