package import Platform
package import Protocol
import Synchronization

/// NVIDIA's GPUs as sensors.
package final class NvidiaSensors: ExtraSensors {
    private let source: any NvidiaSource
    private let found = Mutex<[Sensor]>([])

    package init(source: any NvidiaSource) { self.source = source }

    package var known: [Sensor] { found.withLock { $0 } }

    package func observations(at now: Timestamp, treeIsEmpty: Bool) -> [Observation] {
        let observations = source.temperatures().map { gpu in
            let sensor = Sensor(nvidia: gpu.uuid, name: gpu.name)
            let reading: Reading =
                switch gpu.celsius {
                case .success(let celsius): Plausibility.judge(celsius: celsius, class: .gpu)
                case .failure(let failure) where failure.code == NvidiaFailure.notSupported:
                    .absent(reason: "not supported")
                case .failure(let failure): .unknown(reason: failure.message)
                }
            return Observation(sensor: sensor, reading: reading)
        }
        found.withLock { $0 = observations.map(\.sensor) }
        return observations
    }
}
