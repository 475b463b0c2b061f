import Glibc
import Synchronization

/// NVIDIA GPUs by way of the program `nvidia-smi`, for nodes where NVML cannot be loaded into this
/// process. A run takes tens of milliseconds of processor time, so answers are kept for a while.
package final class NvidiaSMI: NvidiaSource {
    /// How long one answer counts.
    static let keepFor: Duration = .seconds(30)
    static let maxGPUs = 64
    static let fields = "uuid,name,temperature.gpu,power.limit,power.min_limit,power.max_limit"

    private struct GPU {
        var uuid: String
        var name: String
        var celsius: Double?
        /// Milliwatts.
        var limit: Int64?
        var least: Int64?
        var most: Int64?
    }

    private let program: String
    private let timeLimit: Duration
    private let cache = Mutex<(time: ContinuousClock.Instant, gpus: [GPU])?>(nil)

    /// - `program`: where it is; nothing is found when it is not there.
    package init(program: String = "/usr/bin/nvidia-smi", timeLimit: Duration = .seconds(5)) {
        self.program = program
        self.timeLimit = timeLimit
    }

    package func temperatures() -> [NvidiaTemperature] {
        query().map { gpu in
            let failure = NvidiaFailure(
                code: NvidiaFailure.notSupported, message: "nvidia-smi says N/A")
            return NvidiaTemperature(
                uuid: gpu.uuid, name: gpu.name,
                celsius: gpu.celsius.map { .success($0) } ?? .failure(failure))
        }
    }

    package func powerLimits() -> [NvidiaPowerLimit] {
        query().compactMap { gpu in
            guard let limit = gpu.limit, let least = gpu.least, let most = gpu.most else {
                return nil
            }
            return NvidiaPowerLimit(
                uuid: gpu.uuid, name: gpu.name, limit: limit, least: least, most: most)
        }
    }

    package func powerLimit(uuid: String) throws(NvidiaFailure) -> Int64 {
        forget()
        guard let gpu = query().first(where: { $0.uuid == uuid }) else {
            throw NvidiaFailure(message: "\(program) shows no GPU \(uuid)", isMissing: true)
        }
        guard let limit = gpu.limit else {
            throw NvidiaFailure(
                code: NvidiaFailure.notSupported, message: "\(uuid) has no power limit")
        }
        return limit
    }

    package func setPowerLimit(uuid: String, milliwatts: Int64) throws(NvidiaFailure) {
        let watts = "\(milliwatts / 1000).\(String(milliwatts % 1000 + 1000).dropFirst())"
        let output: Subprocess.Output
        do throws(Subprocess.Failure) {
            output = try Subprocess(program, ["-i", uuid, "-pl", watts], timeLimit: timeLimit).run()
        } catch { throw NvidiaFailure(message: "\(error)") }
        forget()
        guard output.exitCode == 0 else {
            throw NvidiaFailure(
                code: output.exitCode,
                message:
                    "\(program) -pl \(watts): exit code \(output.exitCode)\(Self.meaning(output.exitCode))"
            )
        }
    }

    private func forget() { cache.withLock { $0 = nil } }

    private func query() -> [GPU] {
        let now = ContinuousClock.now
        if let kept = cache.withLock({ $0 }), now - kept.time < Self.keepFor { return kept.gpus }
        var gpus: [GPU] = []
        if access(program, X_OK) == 0 {
            let arguments = ["--query-gpu=" + Self.fields, "--format=csv,noheader,nounits"]
            let output = try? Subprocess(program, arguments, timeLimit: timeLimit).run()
            if let output, output.exitCode == 0 { gpus = Self.parse(output.output) }
        }
        cache.withLock { $0 = (now, gpus) }
        return gpus
    }

    /// One GPU a line, fields separated by a comma and a space; `[N/A]` is a normal value.
    private static func parse(_ output: [UInt8]) -> [GPU] {
        String(decoding: output, as: UTF8.self).split(separator: "\n").prefix(maxGPUs).compactMap {
            let fields = $0.split(separator: ",", omittingEmptySubsequences: false).map { field in
                String(decoding: Array(field.utf8).trimmingWhiteSpace(), as: UTF8.self)
            }
            // A name may hold a comma; the others cannot, so they are counted from the end.
            guard fields.count >= 6, fields[0].hasPrefix("GPU-") else { return nil }
            let numbers = fields.suffix(4).map { Double($0) }
            func milliwatts(_ watts: Double?) -> Int64? {
                watts.flatMap {
                    $0.isFinite && $0 >= 0 && $0 < 1e6 ? Int64(($0 * 1000).rounded()) : nil
                }
            }
            return GPU(
                uuid: String(fields[0].prefix(SensorLimits.maxTextLength)),
                name: String(
                    fields[1..<(fields.count - 4)].joined(separator: ", ")
                        .prefix(SensorLimits.maxTextLength)),
                celsius: numbers[0], limit: milliwatts(numbers[1]), least: milliwatts(numbers[2]),
                most: milliwatts(numbers[3]))
        }
    }

    private static func meaning(_ exitCode: Int32) -> String {
        switch exitCode {
        case 2: " (a bad argument)"
        case 3: " (not supported by this GPU)"
        case 4: " (no permission)"
        case 9: " (the driver is not loaded)"
        case 12: " (no library)"
        case 15: " (the GPU has fallen off the bus)"
        default: ""
        }
    }
}
