import Glibc
import Synchronization

/// NVIDIA's management library, loaded when it is first needed. A node without it has no NVIDIA GPU
/// for us, which is no error.
///
/// Symbols are looked up one by one and by their older names too: what a driver does not have is only
/// missing where it is needed. NVML itself may be called from any thread.
package final class NVML: NvidiaSource {
    package static let libraryName = "libnvidia-ml.so.1"
    static let maxGPUs = 64
    /// How long to wait after a failed start (no driver loaded) before the next try.
    static let retryAfter: Duration = .seconds(300)

    private enum State {
        case untried
        /// There is no such library; it is not looked for again.
        case absent
        /// The library is there, its start failed then.
        case failed(ContinuousClock.Instant)
        case ready
    }

    private struct Loaded {
        var state = State.untried
        var library: NVMLLibrary?
    }

    private let libraryName: String
    private let loaded = Mutex(Loaded())

    /// - `libraryName`: what to load; a path in tests.
    package init(libraryName: String = NVML.libraryName) { self.libraryName = libraryName }

    /// Whether the library can be loaded at all. Loads it, so it may block.
    package var isPresent: Bool {
        _ = ready()
        return loaded.withLock { if case .absent = $0.state { false } else { true } }
    }

    package func temperatures() -> [NvidiaTemperature] {
        guard let library = ready() else { return [] }
        return library.devices(max: Self.maxGPUs).map { device in
            NvidiaTemperature(
                uuid: device.uuid, name: device.name, celsius: library.temperature(device.handle))
        }
    }

    package func powerLimits() -> [NvidiaPowerLimit] {
        guard let library = ready() else { return [] }
        return library.devices(max: Self.maxGPUs).compactMap { device in
            guard case .success(let limit) = library.powerLimit(device.handle),
                case .success(let (least, most)) = library.powerLimitRange(device.handle)
            else { return nil }
            return NvidiaPowerLimit(
                uuid: device.uuid, name: device.name, limit: limit, least: least, most: most)
        }
    }

    package func powerLimit(uuid: String) throws(NvidiaFailure) -> Int64 {
        let (library, handle) = try device(uuid)
        return try library.powerLimit(handle).get()
    }

    package func setPowerLimit(uuid: String, milliwatts: Int64) throws(NvidiaFailure) {
        let (library, handle) = try device(uuid)
        guard let limit = UInt32(exactly: milliwatts) else {
            throw NvidiaFailure(message: "\(milliwatts) mW is no power limit")
        }
        if let failure = library.setPowerLimit(handle, limit) { throw failure }
    }

    private func device(_ uuid: String) throws(NvidiaFailure) -> (NVMLLibrary, NVMLDevice) {
        guard let library = ready() else {
            throw NvidiaFailure(
                message: "\(libraryName) cannot be used: no library or no driver", isMissing: true)
        }
        // Handles do not survive a GPU's reset, so they are looked up each time.
        guard let device = library.devices(max: Self.maxGPUs).first(where: { $0.uuid == uuid })
        else { throw NvidiaFailure(message: "there is no GPU \(uuid)", isMissing: true) }
        return (library, device.handle)
    }

    /// The started library, or `nil`.
    private func ready() -> NVMLLibrary? {
        loaded.withLock { loaded in
            switch loaded.state {
            case .ready: return loaded.library
            case .absent: return nil
            case .failed(let time) where ContinuousClock.now - time < Self.retryAfter: return nil
            case .untried, .failed: break
            }
            if loaded.library == nil { loaded.library = NVMLLibrary(libraryName) }
            guard let library = loaded.library else {
                loaded.state = .absent
                return nil
            }
            guard library.start() else {
                loaded.state = .failed(.now)
                return nil
            }
            loaded.state = .ready
            return library
        }
    }
}

/// A device handle of NVML.
typealias NVMLDevice = OpaquePointer

/// The functions of a loaded `libnvidia-ml`.
///
/// `@unchecked`: holds only pointers to the library's code, which is never unloaded.
private struct NVMLLibrary: @unchecked Sendable {
    private typealias Plain = @convention(c) () -> Int32
    private typealias Count = @convention(c) (UnsafeMutablePointer<UInt32>) -> Int32
    private typealias ByIndex =
        @convention(c) (UInt32, UnsafeMutablePointer<NVMLDevice?>) -> Int32
    private typealias Text =
        @convention(c) (NVMLDevice, UnsafeMutablePointer<CChar>, UInt32) -> Int32
    private typealias Temperature =
        @convention(c) (NVMLDevice, Int32, UnsafeMutablePointer<UInt32>) -> Int32
    private typealias Value = @convention(c) (NVMLDevice, UnsafeMutablePointer<UInt32>) -> Int32
    private typealias Range =
        @convention(c) (NVMLDevice, UnsafeMutablePointer<UInt32>, UnsafeMutablePointer<UInt32>) ->
        Int32
    private typealias SetValue = @convention(c) (NVMLDevice, UInt32) -> Int32
    private typealias ErrorText = @convention(c) (Int32) -> UnsafePointer<CChar>?

    /// `NVML_TEMPERATURE_GPU`: the sensor on the die.
    private static let temperatureGPU: Int32 = 0
    /// `NVML_DEVICE_UUID_V2_BUFFER_SIZE` and `NVML_DEVICE_NAME_V2_BUFFER_SIZE`.
    private static let textSize = 96
    /// `NVML_ERROR_FUNCTION_NOT_FOUND`.
    private static let functionNotFound: Int32 = 13

    private let library: UnsafeMutableRawPointer

    init?(_ name: String) {
        guard let library = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { return nil }
        self.library = library
    }

    private func symbol<F>(_ names: String..., as type: F.Type) -> F? {
        for name in names {
            if let pointer = dlsym(library, name) { return unsafeBitCast(pointer, to: type) }
        }
        return nil
    }

    func start() -> Bool { symbol("nvmlInit_v2", "nvmlInit", as: Plain.self)?() == 0 }

    /// All GPUs that answer.
    func devices(max: Int) -> [(uuid: String, name: String, handle: NVMLDevice)] {
        var count: UInt32 = 0
        guard
            let getCount = symbol(
                "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount", as: Count.self),
            let getHandle = symbol(
                "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex", as: ByIndex.self),
            getCount(&count) == 0
        else { return [] }
        return (0..<min(count, UInt32(max))).compactMap { index in
            var handle: NVMLDevice?
            guard getHandle(index, &handle) == 0, let handle else { return nil }
            // Without a UUID it could not be found again: its index may be another one tomorrow.
            guard let uuid = text("nvmlDeviceGetUUID", handle) else { return nil }
            return (uuid, text("nvmlDeviceGetName", handle) ?? "NVIDIA GPU", handle)
        }
    }

    private func text(_ name: String, _ handle: NVMLDevice) -> String? {
        guard let get = symbol(name, as: Text.self) else { return nil }
        var buffer = [CChar](repeating: 0, count: Self.textSize)
        guard get(handle, &buffer, UInt32(Self.textSize - 1)) == 0 else { return nil }
        let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes.prefix(SensorLimits.maxTextLength), as: UTF8.self)
    }

    func temperature(_ handle: NVMLDevice) -> Result<Double, NvidiaFailure> {
        guard let get = symbol("nvmlDeviceGetTemperature", as: Temperature.self) else {
            return .failure(failure(Self.functionNotFound))
        }
        var celsius: UInt32 = 0
        let code = get(handle, Self.temperatureGPU, &celsius)
        return code == 0 ? .success(Double(celsius)) : .failure(failure(code))
    }

    func powerLimit(_ handle: NVMLDevice) -> Result<Int64, NvidiaFailure> {
        guard let get = symbol("nvmlDeviceGetPowerManagementLimit", as: Value.self) else {
            return .failure(failure(Self.functionNotFound))
        }
        var milliwatts: UInt32 = 0
        let code = get(handle, &milliwatts)
        return code == 0 ? .success(Int64(milliwatts)) : .failure(failure(code))
    }

    func powerLimitRange(_ handle: NVMLDevice) -> Result<(Int64, Int64), NvidiaFailure> {
        guard let get = symbol("nvmlDeviceGetPowerManagementLimitConstraints", as: Range.self)
        else { return .failure(failure(Self.functionNotFound)) }
        var (least, most): (UInt32, UInt32) = (0, 0)
        let code = get(handle, &least, &most)
        return code == 0 ? .success((Int64(least), Int64(most))) : .failure(failure(code))
    }

    func setPowerLimit(_ handle: NVMLDevice, _ milliwatts: UInt32) -> NvidiaFailure? {
        guard let set = symbol("nvmlDeviceSetPowerManagementLimit", as: SetValue.self) else {
            return failure(Self.functionNotFound)
        }
        let code = set(handle, milliwatts)
        return code == 0 ? nil : failure(code)
    }

    private func failure(_ code: Int32) -> NvidiaFailure {
        let text = symbol("nvmlErrorString", as: ErrorText.self)?(code).map { String(cString: $0) }
        return NvidiaFailure(code: code, message: "NVML: \(text ?? "error") (\(code))")
    }
}
