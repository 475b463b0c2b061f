import Synchronization

/// NVIDIA GPUs of this node: through NVML, or through `nvidia-smi` where there is no library. A driver
/// that hangs (it does when a GPU falls off the bus) costs each caller `limit` and nothing more.
package final class Nvidia: NvidiaSource {
    private let nvml: NVML
    private let program: NvidiaSMI
    private let limit: Duration
    private let worker = TimedWorker(maxHung: 2)
    private let last = Mutex<[NvidiaTemperature]>([])

    package init(
        nvml: NVML = NVML(), program: NvidiaSMI = NvidiaSMI(), limit: Duration = .seconds(3)
    ) {
        self.nvml = nvml
        self.program = program
        self.limit = limit
    }

    package func temperatures() -> [NvidiaTemperature] {
        let answer = ask { $0.temperatures() }
        return last.withLock { last in
            last =
                answer
                ?? last.map { gpu in
                    NvidiaTemperature(
                        uuid: gpu.uuid, name: gpu.name, celsius: .failure(Self.noAnswer))
                }
            return last
        }
    }

    package func powerLimits() -> [NvidiaPowerLimit] { ask { $0.powerLimits() } ?? [] }

    package func powerLimit(uuid: String) throws(NvidiaFailure) -> Int64 {
        let answer = ask { source in
            Result { () throws(NvidiaFailure) in try source.powerLimit(uuid: uuid) }
        }
        guard let answer else { throw Self.noAnswer }
        return try answer.get()
    }

    package func setPowerLimit(uuid: String, milliwatts: Int64) throws(NvidiaFailure) {
        let answer = ask { source in
            Result { () throws(NvidiaFailure) in
                try source.setPowerLimit(uuid: uuid, milliwatts: milliwatts)
            }
        }
        guard let answer else { throw Self.noAnswer }
        try answer.get()
    }

    private static let noAnswer = NvidiaFailure(message: "NVIDIA's driver does not answer")

    private func ask<T: Sendable>(
        _ question: @escaping @Sendable (any NvidiaSource) -> T
    ) -> T? {
        worker.runBlocking(limit: limit) { [nvml, program] in
            // Loading the library may hang as well.
            question(nvml.isPresent ? nvml : program)
        }
    }
}
